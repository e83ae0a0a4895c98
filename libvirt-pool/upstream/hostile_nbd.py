#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""An NBD server that means no good, for proof.sh.

    hostile_nbd.py PORT-FILE silent|drip|endless|flood

It binds a free port of 127.0.0.1, writes it to PORT-FILE and serves one client after the other.
`silent` accepts and never says a word. Two list exports without end, each with a name of its
own: `drip` one in half a second, `endless` as fast as it can. `flood` lists one, and answers a
question about it without end and so fast that there is always something to receive.
"""

import itertools
import os
import socket
import struct
import sys
import time

REPLY_MAGIC = 0x3E889045565A9
LIST, INFO = 3, 6
REPLY_ACK, REPLY_SERVER, REPLY_INFO = 1, 2, 3


def receive(client, length):
    data = b""
    while len(data) < length:
        piece = client.recv(length - len(data))
        if not piece:
            raise ConnectionError
        data += piece
    return data


def reply(option, kind, payload=b""):
    return struct.pack(">QIII", REPLY_MAGIC, option, kind, len(payload)) + payload


def export(number):
    name = b"disk%d" % number
    return reply(LIST, REPLY_SERVER, struct.pack(">I", len(name)) + name)


def list_exports(client, at_once):
    for first in itertools.count(0, at_once):
        client.sendall(b"".join(map(export, range(first, first + at_once))))
        if at_once == 1:
            time.sleep(0.5)


def serve(client, how):
    if how == "silent":
        while client.recv(4096):
            pass
        return
    client.sendall(b"NBDMAGICIHAVEOPT" + struct.pack(">H", 3))
    receive(client, 4)
    while True:
        _, option, length = struct.unpack(">8sII", receive(client, 16))
        receive(client, length)
        if option == INFO:
            flood = reply(INFO, REPLY_INFO, b"\xff\xff") * 10000
            while True:
                client.sendall(flood)
        if option == LIST and how == "flood":
            client.sendall(export(0))
        elif option == LIST:
            list_exports(client, 1000 if how == "endless" else 1)
        client.sendall(reply(option, REPLY_ACK))


def main():
    port_file, how = sys.argv[1:]
    listener = socket.create_server(("127.0.0.1", 0))
    with open(port_file + ".new", "w", encoding="ascii") as file:
        file.write(str(listener.getsockname()[1]))
    os.rename(port_file + ".new", port_file)
    while True:
        client, _ = listener.accept()
        with client:
            try:
                serve(client, how)
            except OSError:
                pass


if __name__ == "__main__":
    main()
