#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# With --max-sessions-per-address one address cannot take all places: its next client is turned
# away, those from elsewhere get in, and it gets in again when one of its own has left.
. "$(dirname "$0")/functions.sh"

make_raw "$tmp/repository/a.raw" 1M 1
signpostd_options=(--max-sessions-per-address=3 "--listen=unix:$tmp/s")
start_server alpha "$tmp/repository"
"$PYTHON" -B - "${port[alpha]}" "$tmp/s" "$tmp/alpha.log" <<'PYTHON'
import socket
import sys
import time


def dial(source="127.0.0.1"):
    client = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 15, (source, 0))
    try:
        return client, client.recv(18, socket.MSG_WAITALL)
    except ConnectionResetError:
        return client, b""


clients = [dial() for _ in range(3)]
if any(len(greeting) != 18 for _, greeting in clients):
    sys.exit("one of the first three is not served")
if dial()[1]:
    sys.exit("the fourth is served")
if "--max-sessions-per-address" not in open(sys.argv[3]).read():
    sys.exit("the log does not say why")
if len(dial("127.0.0.2")[1]) != 18:
    sys.exit("another address is not served")
for _ in range(5):
    local = socket.socket(socket.AF_UNIX)
    local.connect(sys.argv[2])
    if len(local.recv(18, socket.MSG_WAITALL)) != 18:
        sys.exit("a client of the Unix socket is not served")
clients[0][0].close()
deadline = time.monotonic() + 15
while len(dial()[1]) != 18:
    if time.monotonic() > deadline:
        sys.exit("nobody gets in when one has left")
    time.sleep(0.02)
PYTHON
