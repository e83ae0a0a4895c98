#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# 200 clients at once read one relayed disk, each all of it, and each gets its bytes.
. "$(dirname "$0")/functions.sh"

requires nbdkit
make_raw "$tmp/beta/a.raw" 4M 1
start_server beta "$tmp/beta"
start_server alpha --threads=2 --
wait_published beta a
"$PYTHON" - "$(disk_uri alpha a)" "$tmp/beta/a.raw" <<'PYTHON'
import sys
import nbd
with open(sys.argv[2], "rb") as image:
    expected = image.read()
sessions = [nbd.NBD() for _ in range(200)]
for session in sessions:
    session.connect_uri(sys.argv[1])
step = 1 << 20
for offset in range(0, len(expected), step):
    buffers = []
    for session in sessions:
        buffer = nbd.Buffer(step)
        buffers.append((session, buffer, session.aio_pread(buffer, offset)))
    for session, buffer, cookie in buffers:
        while not session.aio_command_completed(cookie):
            session.poll(-1)
        assert buffer.to_bytearray() == expected[offset:offset + step], "other bytes"
PYTHON
