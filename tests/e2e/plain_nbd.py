# SPDX-License-Identifier: BSD-3-Clause
"""NBD by hand, for tests that need a client worse, or more of them, than libnbd makes."""

import socket
import struct

READ, WRITE, DISCONNECT = 0, 1, 2
REQUEST = struct.Struct(">IHHQQI")
REPLY = struct.Struct(">IIQ")


def begin(port, receive_buffer=None):
    """A connection that has the greeting behind it: options may be asked."""
    client = socket.socket()
    if receive_buffer:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    client.connect(("127.0.0.1", port))
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    receive(client, 18)
    client.sendall(struct.pack(">I", 3))
    return client


def connect(port, export, receive_buffer=None):
    """A connection in transmission, and the size of the disk. Simple replies."""
    client = begin(port, receive_buffer)
    name = export.encode()
    client.sendall(struct.pack(">8sII", b"IHAVEOPT", 1, len(name)) + name)
    return client, struct.unpack(">QH", receive(client, 10))[0]


def receive(client, length):
    """That many bytes, or an error."""
    data = bytearray()
    while len(data) < length:
        part = client.recv(length - len(data))
        if not part:
            raise ConnectionError("the server has ended the connection")
        data += part
    return bytes(data)


def ask(client, command, offset, length, payload=b"", cookie=0):
    client.sendall(REQUEST.pack(0x25609513, 0, command, cookie, offset, length) + payload)


def answer(client, length=0):
    """The bytes of the next reply."""
    _, error, _ = REPLY.unpack(receive(client, REPLY.size))
    if error:
        raise OSError(error, "the server answers with an error")
    return receive(client, length)


def read(client, offset, length):
    ask(client, READ, offset, length)
    return answer(client, length)
