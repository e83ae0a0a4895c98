#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# --stdio serves the one client that is on standard input and ends when that leaves; a terminal, a
# pipe or a file there is refused with one line.
. "$(dirname "$0")/functions.sh"

requires nbdsh
make_raw "$tmp/repository/a.raw" 4M 1
"$PYTHON" -B - "$tmp/repository/a.raw" "$tmp/pid" \
    "$SIGNPOSTD" --stdio --catalog="$catalog" --server=alpha --repository="$tmp/repository" \
    --pid-file="$tmp/pid" <<'PYTHON'
import os
import sys
import nbd

image = open(sys.argv[1], "rb").read()
session = nbd.NBD()
session.set_export_name("a")
session.connect_command(sys.argv[3:])
server = int(open(sys.argv[2]).read())
# More than a socket holds, so the server has to wait for its client in between.
buffers = [nbd.Buffer(1 << 20) for _ in range(64)]
cookies = [session.aio_pread(buffer, 1 << 20) for buffer in buffers]
for cookie, buffer in zip(cookies, buffers):
    while not session.aio_command_completed(cookie):
        session.poll(-1)
    if buffer.to_bytearray() != image[1 << 20:2 << 20]:
        sys.exit("wrong bytes")
session.shutdown()
del session  # waits for the server
if os.path.exists(f"/proc/{server}"):
    sys.exit("the server is still there")
PYTHON

"$SIGNPOSTD" --stdio --catalog="$catalog" <"$tmp/repository/a.raw" 2>"$tmp/refusal" &&
    fail "serves a file as its client"
[ "$(wc -l <"$tmp/refusal")" = 1 ] || fail "not one line: $(cat "$tmp/refusal")"
grep -q 'socket' "$tmp/refusal" || fail "$(cat "$tmp/refusal")"
