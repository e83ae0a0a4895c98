#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A client that sends the negotiation a byte at a time is cut off at --handshake-timeout, and so is
# one that says nothing; one that has its disk may idle.
. "$(dirname "$0")/functions.sh"

make_raw "$tmp/repository/a.raw" 1M 1
signpostd_options=(--handshake-timeout=1)
start_server alpha "$tmp/repository"
open_session "$(disk_uri alpha a)"
"$PYTHON" -B - "${port[alpha]}" <<'PYTHON'
import socket
import struct
import sys
import time

LIMIT = 5  # seconds, for a timeout of 1
words = struct.pack(">I", 3) + struct.pack(">8sII", b"IHAVEOPT", 7, 4096) * 100
for drips in (True, False):
    client = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    client.recv(18, socket.MSG_WAITALL)
    client.settimeout(0.05)
    start, sent = time.monotonic(), 0
    while time.monotonic() - start < LIMIT:
        try:
            if drips:
                client.send(words[sent:sent + 1])
                sent += 1
            if not client.recv(4096):
                break
        except TimeoutError:
            continue
        except ConnectionError:
            break
    else:
        sys.exit(f"still connected after {LIMIT} s")
    if time.monotonic() - start < 0.9:
        sys.exit("cut off too early")
PYTHON
expect_read 0 65536 "$tmp/repository/a.raw"
