# SPDX-License-Identifier: BSD-3-Clause
"""Points 64 and 102: a server that is told to stop. Each ends it."""

import os
import time

import nbd_talk as nbd
from conformance_target import MIB, STYLES, point, wait_until
from nbd_talk import require


@point("has_pid")
def p102_shutdown_serves_what_is_under_way(t):
    """SIGTERM: each request before it is served or gets ESHUTDOWN, the connection ends, and the
    process is gone within 10 s. It is the server's last point."""
    clients = [t.open(style) for style in STYLES]
    for client in clients:
        stream = b"".join(client.enter(nbd.READ, i * 65536, MIB)[1] for i in range(24))
        client.send(stream)
    for client in clients:
        client.take_reply()
    os.kill(t.pid, 15)
    start = time.monotonic()
    for client in clients:
        served = stopped = 0
        try:
            while client.under_way:
                request = client.finish()
                require(request.error in (0, nbd.ESHUTDOWN), f"error {request.error}")
                expected = t.image[request.offset:request.offset + request.length]
                require(request.error or request.data == expected, "wrong bytes")
                served += request.error == 0
                stopped += request.error != 0
        except nbd.Closed as error:
            raise nbd.Violation(f"{len(client.under_way)} requests without an answer") from error
        client.expect_end(within=5)
    wait_until(lambda: is_gone(t.pid), 10, "the process has ended")
    require(time.monotonic() - start < 10, "more than 10 s")


def is_gone(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):  # the latter: it ended while it was read
        return True


@point("has_pid")
def p064_shutdown_refuses_new_options(t):
    """SIGTERM: options that the server has not answered yet get ERR_SHUTDOWN or the end; a client
    that negotiates does not keep the process. It is the server's last point."""
    clients = [t.connect() for _ in range(20)]
    for client in clients[10:]:
        client.send(nbd.option(nbd.INFO, nbd.info_data(t.export))[:-1])
    os.kill(t.pid, 15)
    said = set()
    for client in clients[:10]:
        try:
            for _ in range(50):
                kind, _ = client.ask(nbd.INFO, nbd.info_data(t.export))
                said.add(kind)
        except nbd.Closed:
            pass
    require(said <= {nbd.ACK, nbd.SHUTDOWN}, f"replies {said}")
    for client in clients:
        try:
            client.expect_end(within=5)
        except nbd.Closed:
            pass
    wait_until(lambda: is_gone(t.pid), 10, "the process has ended")
