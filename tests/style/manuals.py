#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The manual pages are clean POD, and name exactly the options that the programs' --help names.

    manuals.py ROOT signpost=PROGRAM plugin=NBDKIT-SIGNPOST-PLUGIN.so signpostd=PROGRAM \
        signpost-pool=PROGRAM

A command's page has to name each verb and each `--option` of the command and its verbs; the
server's each `--option`; the plugin's each `key=` of `nbdkit PLUGIN --help`; none may name one that
is not there.
"""

import os
import re
import subprocess
import sys

SKIPPED_FOLDERS = {".git", "build"}
COMMAND_PAGES = {"signpost": "cli/signpost.pod", "signpost-pool": "libvirt-pool/signpost-pool.pod"}
SERVER_PAGE = "nbd-server/server/signpostd.pod"
PLUGIN_PAGE = "nbdkit-plugin/nbdkit-signpost-plugin.pod"
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
KEY = re.compile(r"^\[?([a-z][-a-z0-9]*)=", re.M)


def pages(root):
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(f for f in folders if f not in SKIPPED_FOLDERS)
        yield from (os.path.relpath(os.path.join(folder, name), root)
                    for name in sorted(names) if name.endswith(".pod"))


def output_of(*command):
    result = subprocess.run(command, capture_output=True, text=True, check=False,
                            stdin=subprocess.DEVNULL)
    if result.returncode:
        raise SystemExit(f"{' '.join(command)}: status {result.returncode}: {result.stderr}")
    return result.stdout


def read(root, page):
    with open(os.path.join(root, page), encoding="utf-8") as file:
        return file.read()


def plain(pod):
    """The text without POD's formatting codes."""
    previous = None
    while previous != pod:
        previous = pod
        pod = re.sub(r"[BCFILS]<<? ?([^<>]*?) ?>?>", r"\1", pod)
    return pod


def items(pod):
    found = re.findall(r"^=item +((?:.+\n)+)", plain(pod), re.M)
    return [" ".join(item.split()) for item in found]


def verbs_of(command):
    """The verbs, of one word or two, in the help text: below a heading, two spaces in."""
    listed = re.compile(r"^(?:verbs|Subcommands):\n((?: +\S.*\n)+)", re.M)
    match = listed.search(output_of(command, "--help"))
    verb = re.compile(r"^  ([a-z]+(?: [a-z]+)?)(?= [ A-Z\[])", re.M)
    return verb.findall(match.group(1)) if match else []


def options_of(command):
    found = set(OPTION.findall(output_of(command, "--help")))
    for verb in verbs_of(command):
        found |= set(OPTION.findall(output_of(command, *verb.split(), "--help")))
    return found


def check_pod(root, page):
    result = subprocess.run(["podchecker", "-warnings", os.path.join(root, page)],
                            capture_output=True, text=True, check=False)
    clean = result.returncode == 0 and "WARNING" not in result.stderr
    return [] if clean else [f"{page}:1: podchecker: {result.stderr.strip()}"]


def compare(page, what, in_help, in_page):
    return ([f"{page}:1: --help has {what} {name}, the page has not"
             for name in sorted(in_help - in_page)] +
            [f"{page}:1: the page has {what} {name}, --help has not"
             for name in sorted(in_page - in_help)])


def check_options(page, pod, command):
    in_page = {option for item in items(pod) for option in OPTION.findall(item)}
    return compare(page, "option", options_of(command) - {"--help", "--version"},
                   in_page - {"--help", "--version"})


def check_command(root, name, command):
    page = COMMAND_PAGES[name]
    pod = read(root, page)
    breaches = check_options(page, pod, command)
    verbs = verbs_of(command)
    if not verbs:
        breaches.append(f"{page}:1: `{name} --help` lists no verbs")
    named = re.findall(r"^=(?:item|head[1-4]) +(.*)$", plain(pod), re.M)
    return breaches + [f"{page}:1: no item or heading begins with the verb {verb}"
                       for verb in verbs
                       if not any(re.match(rf"(?:{name} )?{verb}\b", text) for text in named)]


def check_plugin(root, plugin):
    in_help = set(KEY.findall(output_of("nbdkit", plugin, "--help")))
    in_page = {key for item in items(read(root, PLUGIN_PAGE)) for key in KEY.findall(item)
               if not item.startswith("signpost_")}
    return compare(PLUGIN_PAGE, "parameter", in_help, in_page)


def main():
    root = sys.argv[1]
    programs = dict(argument.split("=", 1) for argument in sys.argv[2:])
    breaches = [breach for page in pages(root) for breach in check_pod(root, page)]
    for name in COMMAND_PAGES:
        breaches += check_command(root, name, programs[name])
    breaches += check_plugin(root, programs["plugin"])
    breaches += check_options(SERVER_PAGE, read(root, SERVER_PAGE), programs["signpostd"])
    print("\n".join(breaches))
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
