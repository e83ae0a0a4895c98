#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# With --max-sessions clients in, the next waits without an answer; it is served when one leaves.
. "$(dirname "$0")/functions.sh"

make_raw "$tmp/repository/a.raw" 1M 1
signpostd_options=(--max-sessions=3)
start_server alpha "$tmp/repository"
"$PYTHON" -B - "$(disk_uri alpha a)" "${port[alpha]}" "$tmp/alpha.log" <<'PYTHON'
import socket
import sys
import nbd

clients = []
for _ in range(3):
    clients.append(nbd.NBD())
    clients[-1].connect_uri(sys.argv[1])
late = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
late.settimeout(0.5)
try:
    sys.exit(f"the fourth got {late.recv(18)}")
except TimeoutError:
    pass
if "--max-sessions" not in open(sys.argv[3]).read():
    sys.exit("the log does not say why nobody gets in")
for client in clients:
    client.pread(4096, 0)
clients[0].shutdown()
late.settimeout(15)
if late.recv(18, socket.MSG_WAITALL)[:8] != b"NBDMAGIC":
    sys.exit("no greeting")
PYTHON
