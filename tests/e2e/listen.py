#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Binds a TCP port of 127.0.0.1 and becomes a program that takes it by socket activation.

    listen.py PORT-FILE PROGRAM ARGUMENT…
    listen.py

The port is the one in PORT-FILE when that exists (a server that is started again), else a free one,
which is then written there. It lies below the range from which the kernel takes ports for outgoing
connections, so nobody has it while its server is down. `@PORT@` in an argument becomes the port.
Without arguments it prints a free port.
"""

import os
import random
import socket
import sys
import time

FIRST, LAST = 12000, 32000
FIRST_PASSED_FD = 3  # systemd's rule


def bind(port):
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen(128)
    except OSError:
        listener.close()
        return None
    return listener


def bind_again(port):
    """The old owner was killed a moment ago: its socket may need a moment, too."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        listener = bind(port)
        if listener:
            return listener
        time.sleep(0.02)
    sys.exit(f"listen.py: port {port} is still in use")


def bind_free():
    for _ in range(1000):
        listener = bind(random.randrange(FIRST, LAST))
        if listener:
            return listener
    sys.exit("listen.py: no free port")


def main():
    if len(sys.argv) == 1:
        print(bind_free().getsockname()[1])
        return
    port_file, command = sys.argv[1], sys.argv[2:]
    if os.path.exists(port_file):
        with open(port_file, encoding="ascii") as file:
            listener = bind_again(int(file.read()))
    else:
        listener = bind_free()
    port = str(listener.getsockname()[1])
    with open(port_file, "w", encoding="ascii") as file:
        file.write(port)
    if listener.fileno() != FIRST_PASSED_FD:
        os.dup2(listener.fileno(), FIRST_PASSED_FD)
    os.set_inheritable(FIRST_PASSED_FD, True)
    os.environ["LISTEN_FDS"] = "1"
    os.environ["LISTEN_PID"] = str(os.getpid())
    command = [argument.replace("@PORT@", port) for argument in command]
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
