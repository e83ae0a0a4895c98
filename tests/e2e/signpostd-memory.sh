#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# 64 clients ask for 32 MiB each and take nothing, of a disk that is not in the page cache and of
# one that is relayed: the server stays within --memory and 64 MiB, and serves others meanwhile.
. "$(dirname "$0")/functions.sh"

requires jq
make_raw "$tmp/alpha/own.raw" 64M 1
make_raw "$tmp/beta/far.raw" 64M 2
start_server beta "$tmp/beta"
signpostd_options=(--memory=64M)
start_server alpha "$tmp/alpha"
wait_published beta far
PYTHONPATH=$here "$PYTHON" -B - "${port[alpha]}" "${pid[alpha]}" "$tmp" <<'PYTHON'
import os
import sys
import time
import plain_nbd

port, server, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
LIMIT = 128  # MiB: --memory and 64 more
MIB = 1 << 20


def forget(path):
    """Out of the page cache."""
    file = os.open(path, os.O_RDONLY)
    os.fsync(file)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(file)


def most():
    with open(f"/proc/{server}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) >> 10


def look(disk, path):
    image = open(path, "rb").read()
    forget(path)
    crowd = [plain_nbd.connect(port, disk, 4096)[0] for _ in range(64)]
    for number, client in enumerate(crowd):
        plain_nbd.ask(client, plain_nbd.READ, number % 32 * MIB, 32 * MIB)
    other, _ = plain_nbd.connect(port, disk)
    other.settimeout(20)
    slowest = 0
    for number in range(50):
        forget(path)
        offset = 32 * MIB + number * 65536
        start = time.monotonic()
        if plain_nbd.read(other, offset, 4096) != image[offset:offset + 4096]:
            sys.exit(f"{disk}: wrong bytes")
        slowest = max(slowest, time.monotonic() - start)
    print(f"{disk}: at most {most()} MiB; the slowest of another client's reads {slowest:.2f} s")
    if most() > LIMIT:
        sys.exit(f"{disk}: {most()} MiB of memory")
    # When the others have left, the one that takes what it asked for gets it.
    for client in crowd[1:]:
        client.close()
    crowd[0].settimeout(20)
    if plain_nbd.answer(crowd[0], 32 * MIB) != image[:32 * MIB]:
        sys.exit(f"{disk}: wrong bytes for the crowd")
    crowd[0].close()

look("own", f"{folder}/alpha/own.raw")
look("far", f"{folder}/beta/far.raw")
PYTHON
