#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Out of descriptors: sessions go on, the log has at most a line a second, next to no CPU is used,
# and new clients are served when others have left.
. "$(dirname "$0")/functions.sh"

make_raw "$tmp/repository/a.raw" 4M 1
ulimit -n 64
start_server alpha "$tmp/repository"
ulimit -n 1024 2>/dev/null || true
"$PYTHON" -B - "$(disk_uri alpha a)" "${port[alpha]}" "${pid[alpha]}" "$tmp" <<'PYTHON'
import socket
import sys
import time
import nbd

uri, port, server, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]


def cpu():
    return time.clock_gettime((~server << 3) | 2)


def lines():
    return open(f"{folder}/alpha.log").read().count("Too many open files")


first = nbd.NBD()
first.connect_uri(uri)
crowd = [socket.create_connection(("127.0.0.1", port)) for _ in range(50)]
deadline = time.monotonic() + 10
while not lines():
    if time.monotonic() > deadline:
        sys.exit("the log says nothing of descriptors")
    first.pread(4096, 0)
before, said, start = cpu(), lines(), time.monotonic()
while time.monotonic() - start < 3:
    first.poll(100)
took = time.monotonic() - start
if cpu() - before > 0.05 * took:
    sys.exit(f"{cpu() - before:.2f} s of CPU in {took:.1f} s")
if lines() - said > took + 1:
    sys.exit(f"{lines() - said} lines in {took:.1f} s")
image = open(f"{folder}/repository/a.raw", "rb").read()
if first.pread(1 << 20, 1 << 20) != image[1 << 20:2 << 20]:
    sys.exit("wrong bytes")
for client in crowd:
    client.close()
last = nbd.NBD()
last.connect_uri(uri)
last.pread(4096, 0)
PYTHON
