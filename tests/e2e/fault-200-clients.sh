#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# 200 clients at once, half of a local disk and half of a relayed one: each reads the right bytes.
. "$(dirname "$0")/functions.sh"

requires nbdkit jq
make_raw "$tmp/alpha/own.raw" 4M 1
make_raw "$tmp/beta/other.raw" 4M 2
start_server alpha "$tmp/alpha"
start_server beta "$tmp/beta"
wait_published beta other

"$PYTHON" -B - "${uri[alpha]}" own "$tmp/alpha/own.raw" other "$tmp/beta/other.raw" <<'PYTHON'
import random
import sys
import nbd

base, *pairs = sys.argv[1:]
disks = [(name, open(path, "rb").read()) for name, path in zip(pairs[::2], pairs[1::2])]
choice = random.Random(11)
clients = []
for number in range(200):
    name, image = disks[number % 2]
    session = nbd.NBD()
    session.connect_uri(f"{base}/{name}")
    clients.append((session, image, []))

for session, image, reads in clients:
    for _ in range(8):
        length = choice.randrange(1, 65536)
        offset = choice.randrange(0, len(image) - length)
        buffer = nbd.Buffer(length)
        reads.append((session.aio_pread(buffer, offset), offset, length, buffer))

for session, image, reads in clients:
    for cookie, offset, length, buffer in reads:
        while not session.aio_command_completed(cookie):
            session.poll(-1)
        if buffer.to_bytearray() != image[offset:offset + length]:
            sys.exit(f"wrong bytes at {offset}")
    session.shutdown()
print(f"{len(clients)} clients, 8 reads each: all right")
PYTHON
