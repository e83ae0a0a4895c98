#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Random qcow2 images, as qemu-img and qemu-io make them, read through a server and compared with
what qemu-img reads.

    random_qcow2.py SOCKET REPOSITORY [--images N] [--seed S]

The server at SOCKET serves REPOSITORY, where the images come and go. Of each, all bytes must be
those of `qemu-img convert`, also in random pieces; and what is shown as zeroes must be zeroes.
A seed that failed is printed and can be given again with --images 1.
"""

import argparse
import os
import random
import subprocess
import sys

import nbd

SECTOR = 512
MOST = 6 << 20


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: {done.stderr.strip()}")


def size_of(choice):
    size = choice.choice((choice.randrange(1, 64), choice.randrange(1, MOST // SECTOR)))
    return size * SECTOR


def options_of(choice):
    """(creation options, bytes of a cluster)"""
    options = {}
    bits = choice.choice((9, 10, 12, 14, 16, 16, 16, 18, 21))
    if choice.random() < 0.2:
        options["compat"] = "0.10"
    else:
        if choice.random() < 0.4 and bits >= 14:
            options["extended_l2"] = "on"
        if choice.random() < 0.4:
            options["compression_type"] = "zstd"
        if choice.random() < 0.2:
            options["lazy_refcounts"] = "on"
    options["cluster_size"] = str(1 << bits)
    return options, 1 << bits


def qemu_io(choice, path, size, cluster, compresses):
    commands = []
    for number in range(choice.randrange(0, 14)):
        kind = choice.random()
        offset = choice.randrange(0, size)
        length = min(size - offset, choice.choice((choice.randrange(1, 4 * cluster),
                                                   choice.randrange(1, 400_000))))
        pattern = choice.randrange(1, 256)
        if kind < 0.2 and compresses:
            offset -= offset % cluster
            length = min(cluster * choice.randrange(1, 4), size - offset)
            # Only whole clusters, or up to the end of the disk.
            if offset + length < size and length % cluster != 0:
                continue
            commands.append(f"write -c -P {pattern} {offset} {length}")
        elif kind < 0.35:
            commands.append(f"write -z {choice.choice(('', '-u '))}{offset} {length}")
        elif kind < 0.45:
            commands.append(f"discard {offset} {length}")
        else:
            commands.append(f"write -P {pattern} {offset} {length}")
        if number == 5 and choice.random() < 0.2:
            commands.append("flush")
    if commands:
        words = [word for command in commands for word in ("-c", command)]
        # Some of them may fail: a cluster that is there is not written compressed.
        subprocess.run(["qemu-io", "-f", "qcow2", "-d", "unmap", *words, path],
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def fill_raw(choice, path, size):
    with open(path, "wb") as file:
        file.truncate(size)
        for _ in range(choice.randrange(0, 6)):
            offset = choice.randrange(0, size)
            file.seek(offset)
            file.write(choice.randbytes(min(size - offset, choice.randrange(1, 300_000))))


def make(choice, folder):
    """The top image's name."""
    below, below_format = None, None
    for level in range(choice.choice((1, 1, 2, 3, 6))):
        size = size_of(choice)
        if level == 0 and choice.random() < 0.4:
            below, below_format = "base.raw", "raw"
            fill_raw(choice, f"{folder}/base.raw", size)
            continue
        name = f"level{level}.qcow2"
        options, cluster = options_of(choice)
        if below is not None:
            options |= {"backing_file": below, "backing_fmt": below_format}
        elif choice.random() < 0.2 and "extended_l2" not in options:
            options["preallocation"] = choice.choice(("metadata", "falloc", "full"))
        listed = ",".join(f"{key}={value}" for key, value in options.items())
        run("qemu-img", "create", "-q", "-f", "qcow2", "-o", listed, f"{folder}/{name}", str(size))
        qemu_io(choice, f"{folder}/{name}", size, cluster, True)
        if choice.random() < 0.1:
            run("qemu-img", "snapshot", "-c", "one", f"{folder}/{name}")
            qemu_io(choice, f"{folder}/{name}", size, cluster, True)
        below, below_format = name, "qcow2"
    if below_format == "raw":
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", below, "-F", "raw",
            f"{folder}/over.qcow2")
        return "over"
    return below.removesuffix(".qcow2")


def is_marked_corrupt(folder):
    """QEMU 7.2 does that to some images itself, and they are not served."""
    for name in os.listdir(folder):
        with open(f"{folder}/{name}", "rb") as file:
            header = file.read(80)
        if name.endswith(".qcow2") and header[7] == 3 and header[79] & 2:
            return True
    return False


def compare(choice, uri, folder, name):
    """What is wrong, or None."""
    run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", f"{folder}/{name}.qcow2",
        f"{folder}/whole")
    with open(f"{folder}/whole", "rb") as file:
        return difference(choice, uri, file.read())


def difference(choice, uri, expected):
    """What is wrong with the disk at URI, or None."""
    disk = nbd.NBD()
    disk.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
    disk.connect_uri(uri)
    size = disk.get_size()
    if size != len(expected):
        return f"{size} bytes, not {len(expected)}"
    pieces = [(0, size)] + [(offset, choice.randrange(1, size - offset + 1))
                            for offset in (choice.randrange(0, size) for _ in range(8))]
    choice.shuffle(pieces)
    for offset, length in pieces:
        if disk.pread(length, offset) != expected[offset:offset + length]:
            return f"other bytes at {offset}, {length} of them"
    zeroes = []

    def note(_, offset, entries, __):
        for length, flags in zip(entries[::2], entries[1::2]):
            if flags & nbd.STATE_ZERO:
                zeroes.append((offset, length))
            offset += length
        note.end = offset

    note.end = 0
    while note.end < size:
        before = note.end
        disk.block_status(size - before, before, note)
        if note.end == before:
            return "its map does not go on"
    for offset, length in zeroes:
        if any(expected[offset:offset + length]):
            return f"not zero at {offset}, {length} bytes"
    disk.shutdown()
    return None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("socket")
    parser.add_argument("repository")
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    arguments = parser.parse_args()
    compared = 0
    for seed in range(arguments.seed, arguments.seed + arguments.images):
        choice = random.Random(seed)
        folder = f"{arguments.repository}/i{seed}"
        os.mkdir(folder)
        name = make(choice, folder)
        if not is_marked_corrupt(folder):
            wrong = compare(choice, f"nbd+unix:///i{seed}/{name}?socket={arguments.socket}",
                            folder, name)
            if wrong:
                sys.exit(f"seed {seed}, {folder}/{name}.qcow2: {wrong}")
            compared += 1
        for file in os.listdir(folder):
            os.unlink(f"{folder}/{file}")
        os.rmdir(folder)
    print(f"{compared} of {arguments.images} images from seed {arguments.seed} on: all equal")


if __name__ == "__main__":
    main()
