#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Random sets as virtnbdbackup writes them, by its own module, read through a server.

    random_backups.py SOCKET REPOSITORY [--sets N] [--seed S]
    random_backups.py --make DIRECTORY
    random_backups.py --of DIRECTORY IMAGE...

The server at SOCKET serves REPOSITORY, where the sets come and go. Each restore point must have the
bytes that the disk had then, also in random pieces; and what is shown as zeroes must be zeroes. A
seed that failed is printed and can be given again with --sets 1. With --make it only writes a small
set into DIRECTORY, always the same; with --of one of a disk that was each IMAGE in turn, a day
apart.
"""

import argparse
import datetime
import os
import random
import sys
from argparse import Namespace
from types import SimpleNamespace

from libvirtnbdbackup.common import common
from libvirtnbdbackup.sparsestream import streamer, types
from random_qcow2 import difference

SECTOR = 512
MOST = 3 << 20


class Clock:
    """Of the module: a time for each backup."""

    def __init__(self, choice):
        self.choice = choice
        self.time = datetime.datetime(2026, 11, 20, 2, 0, 0)

    def now(self):
        self.time += datetime.timedelta(seconds=self.choice.randrange(1, 90_000),
                                        microseconds=self.choice.choice((0, 123456)))
        return self.time


class Machine:
    """A disk that is written to and backed up, level by level."""

    def __init__(self, choice, folder):
        self.choice = choice
        self.folder = folder
        self.disk = bytearray(choice.choice((choice.randrange(1, 64),
                                             choice.randrange(1, MOST // SECTOR))) * SECTOR)
        self.clock = Clock(choice)
        self.dirty = set()  # sectors since the last checkpoint
        self.checkpoints = 0
        self.points = []  # (name, bytes)

    def write(self):
        """What the guest does for a while."""
        for _ in range(self.choice.randrange(0, 12)):
            first = self.choice.randrange(0, len(self.disk) // SECTOR)
            length = min(self.choice.choice((1, 8, 128, self.choice.randrange(1, 1500))),
                         len(self.disk) // SECTOR - first)
            fill = self.choice.random()
            content = bytes(length * SECTOR) if fill < 0.2 else \
                self.choice.randbytes(length * SECTOR) if fill < 0.6 else \
                bytes([self.choice.randrange(1, 256)]) * (length * SECTOR)
            self.disk[first * SECTOR:(first + length) * SECTOR] = content
            self.dirty |= set(range(first, first + length))

    def grow(self):
        if self.choice.random() < 0.15:
            self.disk += bytes(self.choice.randrange(1, 400) * SECTOR)

    def extents(self, level):
        """(offset, length, is data), as the program unites them."""
        count = len(self.disk) // SECTOR
        step = self.choice.choice((1, 1, 8, 128))
        if level in ("full", "copy"):
            marks = [any(self.disk[at * SECTOR:(at + 1) * SECTOR]) for at in range(count)]
        else:
            marks = [at in self.dirty for at in range(count)]
        marks = [any(marks[at - at % step:at - at % step + step]) for at in range(count)]
        found = []
        for at, mark in enumerate(marks):
            if found and found[-1][2] == mark:
                found[-1][1] += SECTOR
            else:
                found.append([at * SECTOR, SECTOR, mark])
        return found

    def backup(self, level, compress):
        parent = f"virtnbdbackup.{self.checkpoints - 1}" if level in ("inc", "diff") else ""
        name = f"virtnbdbackup.{self.checkpoints}"
        mark = {"full": "full", "copy": "copy", "inc": f"inc.{name}",
                "diff": f"diff.{1763600000 + len(self.points)}"}[level]
        arguments = Namespace(cpt=Namespace(name=name, parent=parent), compress=compress,
                              level=level)
        self.write_stream(f"{self.folder}/vda.{mark}.data", arguments)
        self.points.append((f"vda@{self.clock.time:%Y-%m-%dT%H:%M:%S}", bytes(self.disk)))
        if level in ("full", "inc"):
            self.checkpoints += 1
            self.dirty = set()

    # As the program's backupDisk() does it, with its own functions where there are any.
    def write_stream(self, path, arguments):
        extents = self.extents(arguments.level)
        streamer.datetime = SimpleNamespace(datetime=self.clock)
        stream = streamer.SparseStream(types)
        kinds = types.SparseStreamTypes()
        disk = self.disk
        connection = SimpleNamespace(
            maxRequestSize=self.choice.choice((4096, 65536, 1 << 20, 32 << 20)),
            nbd=SimpleNamespace(pread=lambda length, offset: bytes(disk[offset:offset + length])))
        with open(path, "wb") as writer:
            header = stream.dumpMetadata(
                arguments, len(disk), sum(length for _, length, data in extents if data),
                SimpleNamespace(target="vda", format="qcow2"))
            stream.writeFrame(writer, kinds.META, 0, len(header))
            writer.write(header + kinds.TERM)
            sizes = []
            for offset, length, data in extents:
                block = SimpleNamespace(offset=offset, length=length)
                if not data:
                    if arguments.level not in ("inc", "diff"):
                        stream.writeFrame(writer, kinds.ZERO, offset, length)
                    continue
                stream.writeFrame(writer, kinds.DATA, offset, length)
                if length >= connection.maxRequestSize:
                    size, parts = common.writeChunk(writer, block, connection, "stream",
                                                    arguments.compress)
                    sizes.append({size: parts})
                else:
                    sizes.append(common.writeBlock(writer, block, connection, "stream",
                                                   arguments.compress))
                writer.write(kinds.TERM)
            stream.writeFrame(writer, kinds.STOP, 0, 0)
            if arguments.compress:
                stream.writeCompressionTrailer(writer, sizes)


def make(choice, folder):
    machine = Machine(choice, folder)
    machine.write()
    compress = choice.choice((False, False, 2, 9))
    if choice.random() < 0.1:
        machine.backup("copy", compress)
        return machine
    machine.backup("full", compress)
    for _ in range(choice.randrange(0, 7)):
        machine.write()
        machine.grow()
        machine.backup(choice.choice(("inc", "inc", "diff")),
                       compress if choice.random() < 0.8 else 2)
    return machine


def make_three(folder):
    """Full, increment and differential of a disk of 8 MiB, a day apart, and what it was then."""
    choice = random.Random(7)
    machine = Machine(choice, folder)
    machine.disk = bytearray(8 << 20)
    machine.clock.now = lambda: machine.clock.time
    for number, (level, start) in enumerate((("full", 0), ("inc", 1 << 20), ("diff", 5 << 20)), 1):
        length = (6 << 20) if level == "full" else 300_032
        machine.disk[start:start + length] = choice.randbytes(length)
        machine.dirty |= set(range(start // SECTOR, (start + length) // SECTOR))
        machine.backup(level, 2 if number == 2 else False)
        with open(f"{folder}/{number}.raw", "wb") as file:
            file.write(machine.disk)
        machine.clock.time += datetime.timedelta(days=1)
    os.rename(f"{folder}/vda.diff.1763600002.data", f"{folder}/vda.diff.1763776800.data")


def make_of(folder, images):
    machine = Machine(random.Random(7), folder)
    machine.clock.now = lambda: machine.clock.time
    for number, image in enumerate(images):
        with open(image, "rb") as file:
            disk = bytearray(file.read())
        machine.dirty = {at // SECTOR for at in range(0, len(disk), SECTOR)
                         if disk[at:at + SECTOR] != machine.disk[at:at + SECTOR]}
        machine.disk = disk
        machine.backup("full" if number == 0 else "inc", 2 if number == 1 else False)
        machine.clock.time += datetime.timedelta(days=1)


def main():
    if sys.argv[1:2] == ["--of"]:
        return make_of(sys.argv[2], sys.argv[3:])
    if sys.argv[1:2] == ["--make"]:
        return make_three(sys.argv[2])
    parser = argparse.ArgumentParser()
    parser.add_argument("socket")
    parser.add_argument("repository")
    parser.add_argument("--sets", type=int, default=40)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    arguments = parser.parse_args()
    compared = 0
    for seed in range(arguments.seed, arguments.seed + arguments.sets):
        choice = random.Random(seed)
        folder = f"{arguments.repository}/s{seed}"
        os.mkdir(folder)
        for name, expected in make(choice, folder).points:
            wrong = difference(choice, f"nbd+unix:///s{seed}/{name}?socket={arguments.socket}",
                               expected)
            if wrong:
                sys.exit(f"seed {seed}, {folder}, {name}: {wrong}")
            compared += 1
        for file in os.listdir(folder):
            os.unlink(f"{folder}/{file}")
        os.rmdir(folder)
    print(f"{arguments.sets} sets from seed {arguments.seed} on: all {compared} points equal")


if __name__ == "__main__":
    main()
