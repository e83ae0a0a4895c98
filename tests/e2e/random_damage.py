#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Damages images of file systems at random, and reads each by `signpost files`, the real way.

    random_damage.py SIGNPOST URI DIRECTORY [--rounds N] [--seed S] [--patience SECONDS]

The server at URI serves the images of DIRECTORY by name. Each round damages one of them in place,
reads all of it, judges, and makes it whole again. Whatever a file system says, the command ends in
time, with files or with lines that say what is wrong; nothing is written outside of where it was
told to, and no process and no mount is left. The seed of a round that failed is printed; with
--seed S --rounds 1 it is played again.
"""

import argparse
import collections
import ctypes
import os
import random
import re
import shutil
import subprocess
import sys
import time

PR_SET_CHILD_SUBREAPER = 36
GOOD = (0, 1, 3, 8)
HEAD = 128 << 10


def data_ranges(file):
    """(offset, length) of what is written of it."""
    size = os.fstat(file).st_size
    at, ranges = 0, []
    while at < size:
        try:
            begin = os.lseek(file, at, os.SEEK_DATA)
        except OSError:  # a hole to the end
            break
        at = os.lseek(file, begin, os.SEEK_HOLE)
        ranges.append((begin, at - begin))
    return ranges


def place(choice, ranges):
    begin, length = choice.choice(ranges)
    if choice.random() < 0.5:
        begin, length = ranges[0][0], min(ranges[0][1], HEAD)
    return begin + choice.randrange(max(1, length - 4)) // 2 * 2


def damage(choice, file, ranges):
    """What stood there before, the last first."""
    before = []
    for _ in range(choice.choice((1, 3, 30, 600))):
        at = place(choice, ranges)
        old = os.pread(file, 4, at)
        new = choice.choice((choice.randbytes(4), b"\xff" * 4, bytes(4),
                             bytes([(old[0] + 1) % 256]) + old[1:],
                             os.pread(file, 4, place(choice, ranges))))
        os.pwrite(file, new[:len(old)], at)
        before.insert(0, (at, old))
    return before


def no_children(patience):
    """Orphans of the command are ours (we are their reaper); they have to end by themselves."""
    end = time.monotonic() + patience
    while True:
        try:
            while os.waitpid(-1, os.WNOHANG)[0] != 0:
                pass
        except ChildProcessError:
            return True
        if time.monotonic() > end:
            return False
        time.sleep(0.01)


class Round:
    def __init__(self, arguments, seed):
        self.arguments, self.seed = arguments, seed
        self.choice = random.Random(seed)
        images = sorted(name for name in os.listdir(arguments.directory))
        self.image = images[seed % len(images)]
        self.target = os.path.join(arguments.work, "target")

    def words(self):
        disk = f"{self.arguments.uri}/{self.image}:"
        return self.choice.choice((["ls", disk], ["ls", "-R", disk + "/"],
                                   ["ls", "-lR", disk + "/"],
                                   ["get", "-r", disk + "/", self.target],
                                   ["find", disk + "/", "*.conf"], ["cat", disk + "/etc/hosts"]))

    def play(self):
        file = os.open(os.path.join(self.arguments.directory, self.image), os.O_RDWR)
        before = damage(self.choice, file, data_ranges(file))
        try:
            return self.judge(self.words())
        finally:
            for at, old in before:
                os.pwrite(file, old, at)
            os.close(file)
            subprocess.run(["chmod", "-R", "u+rwx", self.target], stderr=subprocess.DEVNULL)
            shutil.rmtree(self.target, ignore_errors=True)

    def judge(self, words):
        process = subprocess.Popen(
            [self.arguments.signpost, "files", *words], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, errors="replace")
        try:
            said = process.communicate(timeout=self.arguments.patience)[1]
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return f"{words} does not end within {self.arguments.patience} s", ""
        lines = said.splitlines()
        stray = [line for line in lines if not line.startswith("signpost: ")]
        if process.returncode not in GOOD:
            return f"{words}: status {process.returncode}: {said}", ""
        if (process.returncode != 0 and not lines and words[0] != "find") or stray:
            return f"{words}: status {process.returncode}, and it says: {stray or said!r}", ""
        if not no_children(10):
            return f"{words}: a process is left", ""
        if [name for name in os.listdir(self.arguments.work) if name != "target"]:
            return f"{words}: wrote beside its destination", ""
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as mounts:
            if self.arguments.work in mounts.read():
                return f"{words}: a mount is left", ""
        return "", "read" if process.returncode == 0 else kind_of(said)


def kind_of(said):
    ended = re.search(r"file reader ended \(([^)]*)\)", said)
    return ended.group(1) if ended else "refused"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("signpost")
    parser.add_argument("uri")
    parser.add_argument("directory")
    parser.add_argument("--rounds", type=int, default=int(os.environ.get("SIGNPOST_ROUNDS", 0)))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--patience", type=int, default=100)
    arguments = parser.parse_args()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    arguments.work = arguments.directory.rstrip("/") + ".work"
    os.makedirs(arguments.work)
    ends = collections.Counter()
    for seed in range(arguments.seed, arguments.seed + arguments.rounds):
        each = Round(arguments, seed)
        wrong, end = each.play()
        if wrong:
            sys.exit(f"seed {seed}, {each.image}: {wrong}")
        ends[f"{each.image}: {end}"] += 1
    os.rmdir(arguments.work)
    for end, count in sorted(ends.items()):
        print(f"{count:5} {end}")
    # Most damage hits what nobody looks at: where little can be read, the reader is broken.
    if sum(count for end, count in ends.items() if end.endswith(": read")) < arguments.rounds / 3:
        sys.exit("hardly anything was read")


if __name__ == "__main__":
    main()
