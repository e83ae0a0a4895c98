#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Compiles headers of the tree alone, so that none leans on what its users include before it.

    headers_alone.py ROOT COMPILER FLAG…

Those with which a source begins have been compiled so by the build.
"""

import concurrent.futures
import os
import re
import subprocess
import sys

SKIPPED_FOLDERS = {".git", "build"}


def files(root, ending):
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(f for f in folders if f not in SKIPPED_FOLDERS)
        yield from (os.path.relpath(os.path.join(folder, name), root)
                    for name in sorted(names) if name.endswith(ending))


def begins_with(path):
    """What a source includes before all else; nothing when it has code before."""
    with open(path, encoding="utf-8") as source:
        for line in source:
            if line.strip() and not line.startswith("//"):
                first = re.match(r'#include "(.*)"', line)
                return first and first[1]
    return None


def headers(root):
    shown = {begins_with(os.path.join(root, source)) for source in files(root, ".cc")}
    return [header for header in files(root, ".h") if header not in shown]


def errors_of(root, command, header):
    """What the compiler says of a file that includes the header, twice, and nothing else."""
    source = f'#include "{header}"\n' * 2
    result = subprocess.run(command + ["-I", root, "-fsyntax-only", "-x", "c++", "-"],
                            input=source, capture_output=True, text=True, check=False)
    return result.stderr if result.returncode else ""


def main():
    root, command = sys.argv[1], sys.argv[2:]
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        found = headers(root)
        for header, said in zip(found, pool.map(lambda h: errors_of(root, command, h), found)):
            if said:
                failed += 1
                print(f"{header}:1: does not compile alone:\n{said}")
    print(f"{len(found)} headers, {failed} of them do not compile alone")
    return 1 if failed or not found else 0


if __name__ == "__main__":
    sys.exit(main())
