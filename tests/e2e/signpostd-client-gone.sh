#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Clients that leave with a reset while their requests are with a peer that hangs, or while they
# wait for their disk: they cost next to no CPU, and are gone when the peer's time is over.
. "$(dirname "$0")/functions.sh"

requires jq
make_raw "$tmp/beta/far.raw" 4M 1
make_raw "$tmp/beta/other.raw" 4M 2
start_server beta "$tmp/beta"
start_server alpha peer-timeout=5
wait_published beta far
wait_published beta other
PYTHONPATH=$here "$PYTHON" -B - "${port[alpha]}" "${pid[alpha]}" "${pid[beta]}" <<'PYTHON'
import os
import signal
import socket
import struct
import sys
import time
import plain_nbd

port, server, peer = (int(word) for word in sys.argv[1:])


def cpu():
    return time.clock_gettime((~server << 3) | 2)


def sockets():
    links = (f"/proc/{server}/fd/{name}" for name in os.listdir(f"/proc/{server}/fd"))
    return sum(os.path.islink(link) and "socket" in os.readlink(link) for link in links)


readers = [plain_nbd.connect(port, "far")[0] for _ in range(4)]
for client in readers:
    plain_nbd.read(client, 0, 4096)
os.kill(peer, signal.SIGSTOP)
for client in readers:
    for number in range(200):  # more than a session takes at a time
        plain_nbd.ask(client, plain_nbd.READ, number * 4096, 4096)
askers = [plain_nbd.begin(port) for _ in range(4)]
for client in askers:
    client.sendall(struct.pack(">8sII", b"IHAVEOPT", 1, 5) + b"other")
with_clients = sockets()
before, start = cpu(), time.monotonic()
for client in readers + askers:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
deadline = start + 3
while time.monotonic() < deadline:
    time.sleep(0.1)
used = cpu() - before
print(f"{used:.2f} s of CPU in 3 s")
if used > 0.3:
    sys.exit(f"{used:.2f} s of CPU in 3 s, for nobody")
deadline = time.monotonic() + 20
while sockets() > with_clients - 8:
    if time.monotonic() > deadline:
        sys.exit(f"{sockets()} sockets, {with_clients} with the clients")
    time.sleep(0.1)
PYTHON
