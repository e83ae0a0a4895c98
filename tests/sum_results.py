#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Adds up ctest's results: what was skipped and why, what failed, and the count in the last line.

    sum_results.py [--broken STAGE]… RESULTS.xml…

A broken stage is one that did not get as far as its tests; it counts as one that failed. Status 1
when anything failed, or nothing was run.
"""

import argparse
import re
import sys
import xml.etree.ElementTree as ElementTree


def outcome(case):
    """ctest's status of a test, in our three words."""
    status = case.get("status")
    if case.find("skipped") is not None or status in ("notrun", "disabled"):
        return "skipped"
    return "passed" if status == "run" else "failed"


def reason(case):
    """Why a test was skipped: its own words, as functions.sh or GoogleTest write them."""
    text = case.findtext("system-out") or ""
    match = re.search(r"^SKIP: (.*)$", text, re.M) or re.search(r": Skipped\n(.*)$", text, re.M)
    return match.group(1) if match else "no reason given"


def read(path, count, lines):
    stage = path.rsplit("/", 1)[-1].removesuffix(".xml")
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        result = outcome(case)
        count[result] += 1
        if result == "skipped":
            lines.append(f"skipped: {case.get('name')} ({stage}): {reason(case)}")
        elif result == "failed":
            lines.append(f"FAILED:  {case.get('name')} ({stage})")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--broken", action="append", default=[])
    parser.add_argument("results", nargs="*")
    arguments = parser.parse_args()

    count = {"passed": 0, "failed": 0, "skipped": 0}
    lines = []
    for path in arguments.results:
        try:
            read(path, count, lines)
        except (OSError, ElementTree.ParseError) as error:
            arguments.broken.append(f"{path}: {error}")
    for stage in arguments.broken:
        count["failed"] += 1
        lines.append(f"FAILED:  {stage}: did not come to an end")
    print("\n".join(lines))
    print(f"{count['passed']} passed, {count['failed']} failed, {count['skipped']} skipped")
    return 1 if count["failed"] or not count["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
