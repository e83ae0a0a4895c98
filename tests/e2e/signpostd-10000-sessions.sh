#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# 10,000 clients that have their disk and idle: the server has at most cores + 8 threads and
# 350 MiB, a new client is served at once, and all goes on when they have left.
. "$(dirname "$0")/functions.sh"

[ "$(ulimit -Hn)" = unlimited ] || [ "$(ulimit -Hn)" -ge 10300 ] ||
    skip "few descriptors are allowed"
ulimit -Sn "$(ulimit -Hn)"
make_raw "$tmp/repository/a.raw" 1M 1
start_server alpha "$tmp/repository"
PYTHONPATH=$here "$PYTHON" -B - "${port[alpha]}" "${pid[alpha]}" "$tmp/repository/a.raw" <<'PYTHON'
import os
import sys
import time
import plain_nbd

port, server, image = int(sys.argv[1]), int(sys.argv[2]), open(sys.argv[3], "rb").read()
COUNT, MOST_MIB, LATEST = 10000, 350, 5  # seconds; the bound is 1, on a machine that is not busy


def status(key):
    with open(f"/proc/{server}/status", encoding="ascii") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(key))


def visit():
    start = time.monotonic()
    client, _ = plain_nbd.connect(port, "a")
    if plain_nbd.read(client, 4096, 65536) != image[4096:4096 + 65536]:
        sys.exit("wrong bytes")
    client.close()
    return time.monotonic() - start


start = time.monotonic()
crowd = [plain_nbd.connect(port, "a")[0] for _ in range(COUNT)]
came = time.monotonic() - start
deadline = time.monotonic() + 20
while status("Threads") > os.cpu_count() + 8:
    if time.monotonic() > deadline:
        sys.exit(f"{status('Threads')} threads")
    time.sleep(0.1)
waited = [visit() for _ in range(10)]
print(f"{COUNT} clients came in {came:.1f} s; {status('VmRSS') >> 10} MiB, {status('Threads')} "
      f"threads; a new one is served after {max(waited) * 1000:.0f} ms at most")
if status("VmRSS") >> 10 > MOST_MIB:
    sys.exit("too much memory")
if max(waited) > LATEST:
    sys.exit("a new client waits too long")
for client in crowd:
    client.close()
visit()
PYTHON
