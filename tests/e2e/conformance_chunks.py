# SPDX-License-Identifier: BSD-3-Clause
"""Points 103 to 118: structured and extended replies, block status, many requests at once."""

import random
import socket
import struct
import time

import nbd_talk as nbd
from conformance_target import BLOCK, BOTH, CHUNKED, MIB, STYLES, point
from nbd_talk import require


@point()
def p103_chunks_cover_the_read(t):
    """Chunks lie inside of the read, do not overlap, cover it, and one is the last; holes come as
    holes, and the bytes are right."""
    holes = t.holes()
    for style in CHUNKED:
        with t.open(style) as client:
            for offset, length in ((0, 8 * MIB), (1000, 3 * MIB + 1), (t.size - MIB, MIB)):
                client.read(offset, length)  # which checks it
            for offset, length in holes[:20]:
                begin = max(offset - 5000, 0)
                size = min(length + 10000, t.size - begin)
                request = client.call(nbd.READ, begin, size, error=0)
                require(request.data == t.image[begin:begin + size], "wrong bytes")
                require(request.holes > 0 or length < 2 * BLOCK, f"no hole in {begin}+{size}")
            client.disconnect()


@point()
def p104_read_errors_are_structured(t):
    """A READ that fails gets an error chunk, never a simple reply."""
    for style in CHUNKED:
        with t.open(style) as client:
            client.call(nbd.READ, t.size, 512, error=nbd.EINVAL)  # which checks it
            client.call(nbd.READ, 0, 0)
            client.call(nbd.READ, 0, 512, flags=nbd.FAST_ZERO, error=nbd.EINVAL)


@point()
def p105_same_bytes_in_each_style(t):
    """Simple, structured and extended replies bring the same bytes."""
    clients = [t.open(style) for style in STYLES]
    choice = random.Random(105)
    for _ in range(100):
        length = choice.choice((1, 100, 4096, 40000, 200000))
        offset = choice.randrange(t.size - length)
        expected = t.image[offset:offset + length]
        for client in clients:
            require(client.read(offset, length) == expected, f"wrong bytes at {offset}+{length}")


@point()
def p106_df_is_one_chunk(t):
    """With DF one piece of data; for 64 KiB always."""
    for style in CHUNKED:
        with t.open(style) as client:
            for offset in range(0, min(t.size - BLOCK, 4 * MIB), 50000):
                require(client.read(offset, BLOCK, flags=nbd.DF) == t.image[offset:offset + BLOCK],
                        "wrong bytes")
            for length in (MIB, 32 * MIB):
                request = client.call(nbd.READ, 100, length, flags=nbd.DF,
                                      error=(0, nbd.EOVERFLOW))
                require(request.error or request.data == t.image[100:100 + length], "wrong bytes")
                require(request.holes == 0, "a hole in spite of DF")


@point()
def p107_other_commands_have_no_data(t):
    """Commands without data: a simple reply, NONE, or an error chunk."""
    for style in CHUNKED:
        with t.open(style) as client:
            for command in (nbd.FLUSH, nbd.CACHE, nbd.TRIM, nbd.ZEROES):
                client.call(command, 0, 0 if command == nbd.FLUSH else 4096)  # which checks it
            client.disconnect()


@point()
def p108_error_chunks_are_well_formed(t):
    """Error chunks: lengths that add up, a text for people."""
    for style in CHUNKED:
        with t.open(style) as client:
            texts = [client.call(nbd.READ, t.size, 1, error=nbd.EINVAL).message,
                     client.call(77, 0, 1, error=nbd.EINVAL).message]
            require(all(len(text) > 5 for text in texts), f"{texts} explain nothing")


@point()
def p109_one_status_chunk_per_context(t):
    """BLOCK_STATUS: each selected context once; no empty extent; only the last may go beyond."""
    for style in CHUNKED:
        for contexts in (BOTH, BOTH[:1], BOTH[1:]):
            with t.open(style, contexts) as client:
                for offset, length in ((0, 512), (0, 8 * MIB), (12345, 700000), (0, t.size)):
                    found = client.status(offset, length)
                    require(sorted(found) == sorted(contexts), f"contexts {sorted(found)}")
                client.disconnect()


@point()
def p110_req_one(t):
    """REQ_ONE: one extent, no longer than what was asked for."""
    for style in CHUNKED:
        with t.open(style, BOTH) as client:
            for offset, length in ((0, 512), (0, t.size), (77777, 4 * MIB), (t.size - 1, 1)):
                client.status(offset, length, flags=nbd.REQ_ONE)  # which checks it


@point()
def p111_status_without_context(t):
    """BLOCK_STATUS when nothing was selected: EINVAL."""
    for style in STYLES:
        with t.open(style) as client:
            client.call(nbd.STATUS, 0, 4096, error=nbd.EINVAL)
            client.read(0, 512)


@point()
def p112_status_past_the_end(t):
    """BLOCK_STATUS past the end: EINVAL."""
    for style in CHUNKED:
        with t.open(style, BOTH) as client:
            for offset, length in ((t.size, 1), (t.size - 1, 2), (0, t.size + 1), (2**63, 512)):
                client.call(nbd.STATUS, offset, length, error=nbd.EINVAL)


@point()
def p113_status_of_4_gib(t):
    """BLOCK_STATUS of 4 GiB - 1, and at huge offsets: an error, nothing else."""
    for style in CHUNKED:
        with t.open(style, BOTH) as client:
            for offset in (0, 1, 2**32 - 1, 2**63 - 1, 2**64 - 2**32 + 1, 2**64 - 1):
                client.call(nbd.STATUS, offset, 2**32 - 1, error=nbd.EINVAL)
            client.status(0, t.size)
            client.disconnect()


def walk(client, size, step):
    """All extents of base:allocation, asked for STEP at a time."""
    at, extents = 0, []
    while at < size:
        found = client.status(at, min(step, size - at))[nbd.ALLOCATION]
        for length, flags in found:
            extents.append((at, min(length, size - at), flags))
            at += length
        require(len(extents) < 100000, "no progress")
    require(at >= size, "not to the end")
    return extents


@point()
def p114_walk_to_the_end(t):
    """A walk from extent to extent reaches the end of the disk."""
    for style in CHUNKED:
        with t.open(style, BOTH) as client:
            for step in (512 * 1024, 5 * MIB + 512, t.size):
                walk(client, t.size, step)


@point()
def p115_zero_extents_are_zero(t):
    """What is called zero reads as zeroes; and of the holes some are found."""
    with t.open("structured", (nbd.ALLOCATION,)) as client:
        zeroes = 0
        for offset, length, flags in walk(client, t.size, t.size):
            if flags & 2:
                zeroes += length
                require(t.image[offset:offset + length].count(0) == length,
                        f"{offset}+{length} is called zero, and is not")
        require(zeroes > 0 or not t.holes(), "no zeroes were found")


@point()
def p116_extents_and_reserved_bits(t):
    """At most 2^20 extents in a reply, reserved bits 0."""
    for style in CHUNKED:
        with t.open(style, BOTH) as client:
            client.status(0, t.size)  # which checks it


@point()
def p117_inapplicable_flag(t):
    """BLOCK_STATUS with a flag of another command: EINVAL; with a payload's flag, where payloads
    are offered, its filter."""
    with t.open("structured", BOTH) as client:
        for flag in (nbd.NO_HOLE, nbd.DF, nbd.FAST_ZERO, nbd.PAYLOAD_LEN):
            client.call(nbd.STATUS, 0, 4096, flags=flag, error=nbd.EINVAL)


@point()
def p117_status_with_filter(t):
    """Extended headers: the payload of BLOCK_STATUS names the contexts to report; a malformed one
    is EINVAL, and the session goes on."""
    with t.open("extended", BOTH) as client:
        if not client.export.flags & nbd.STATUS_PAYLOAD:
            return
        for number, name in client.contexts.items():
            request = ask_filtered(client, 4096, struct.pack(">QI", MIB, number), MIB)
            require(request.error == 0 and list(request.extents) == [number], f"not only {name}")
        both = struct.pack(">QII", MIB, *client.contexts)
        require(len(ask_filtered(client, 0, both, MIB).extents) == 2, "not both")
        one = next(iter(client.contexts))
        for payload in (b"", bytes(4), struct.pack(">Q", MIB), struct.pack(">QI", MIB, 4711),
                        struct.pack(">QII", MIB, one, one), struct.pack(">QI", MIB, one) + b"x",
                        struct.pack(">QI", t.size + 1, one), struct.pack(">QI", 2**64 - 1, one),
                        struct.pack(">QI", 0, one), bytes(5000)):
            request = ask_filtered(client, 512, payload, MIB)
            require(request.error == nbd.EINVAL, f"{payload[:20]!r} got {request.error}")
        client.status(0, MIB)
        client.disconnect()


def ask_filtered(client, offset, payload, length):
    cookie = client.start(nbd.STATUS, offset, length, payload=payload)
    return client.finish(client.under_way[cookie])


def mixed_requests(t, client, choice):
    """Bytes of 200 requests of all kinds, with what to expect of each."""
    stream = b""
    chunked = client.style != "simple"
    for i in range(200):
        command = choice.choice((nbd.READ,) * 6 + (nbd.STATUS, nbd.CACHE, nbd.FLUSH, nbd.WRITE, 99))
        length = choice.choice((1, 512, 4096, 33000, 256 * 1024, 700000))
        if command == nbd.WRITE:
            length = min(length, 4096)  # who sends much and reads nothing may wait for ever
        offset = choice.randrange(t.size - length)
        flags = choice.choice((0, nbd.DF)) if command == nbd.READ and chunked else 0
        if command == nbd.FLUSH:
            offset = length = 0
        if i % 17 == 0:
            offset = t.size
        payload = bytes(length) if command == nbd.WRITE else None
        stream += client.enter(command, offset, length, payload, flags)[1]
    return stream


@point()
def p118_interleaved_pipelining(t):
    """200 mixed requests at once: chunks of several replies may interleave, each reply is whole."""
    for style in STYLES:
        choice = random.Random(118)
        with t.open(style, BOTH) as client:
            for _ in range(3):
                client.send(mixed_requests(t, client, choice))
                while client.under_way:
                    check_mixed(t, client.finish(), style)
            client.disconnect()


def check_mixed(t, request, style):
    if request.command == 99 or request.offset == t.size:
        wanted = nbd.EPERM if request.command == nbd.WRITE else nbd.EINVAL
    else:
        wanted = {nbd.WRITE: nbd.EPERM, nbd.STATUS: nbd.EINVAL if style == "simple" else 0}.get(
            request.command, 0)
    require(request.error == wanted,
            f"command {request.command} at {request.offset}+{request.length}: {request.error}")
    if request.command == nbd.READ and not request.error:
        require(request.data == t.image[request.offset:request.offset + request.length],
                f"wrong bytes at {request.offset}+{request.length}")


@point("writable")
def p118_mixed_writers(t):
    """Reads and writes of every kind at once, on areas of their own: the bytes are right after."""
    for style in STYLES:
        choice = random.Random(style)
        with t.open_writable(style) as client:
            expected = bytearray(client.read(0, 8 * MIB))
            for begin in range(0, 8 * MIB, BLOCK):
                length = choice.randrange(1, BLOCK)
                kind = choice.choice((nbd.WRITE, nbd.WRITE, nbd.ZEROES, nbd.READ))
                data = choice.randbytes(length) if kind == nbd.WRITE else None
                client.start(kind, begin, length, payload=data)
                if kind != nbd.READ:
                    expected[begin:begin + length] = data or bytes(length)
            while client.under_way:
                require(client.finish().error == 0, "a request failed")
            require(client.read(0, 8 * MIB) == expected, "wrong bytes")
            client.disconnect()


def memory_of(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        for line in file:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    return 0


@point("has_pid")
def p200_client_that_does_not_read(t):
    """Clients that ask for much and read nothing: the server's memory stays bounded, and others are
    served. (F25 of PROTOCOL.md section 3.)"""
    before = memory_of(t.pid)
    sleepers = []
    for i in range(24):
        client = t.open(STYLES[i % 3], BOTH)
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sock.settimeout(0.2)
        kind = (nbd.READ, nbd.READ, nbd.STATUS, 99)[i % 4]
        length = (32 * MIB, 4096, MIB, 512)[i % 4]
        try:
            for _ in range(30):
                client.send(b"".join(client.enter(kind, 0, length)[1] for _ in range(200)))
                client.under_way.clear()
        except (nbd.Closed, socket.timeout):
            pass
        sleepers.append(client)
    start = time.monotonic()
    t.still_serves()
    require(time.monotonic() - start < 5, "a new client had to wait")
    grown = memory_of(t.pid) - before
    require(grown < 700 * MIB, f"the server has grown by {grown // MIB} MiB")
    for i, client in enumerate(sleepers):
        client.vanish(reset=i % 2 == 0)
    t.still_serves()


@point()
def p201_client_that_only_closes_its_half(t):
    """A client that ends its half of the connection still gets what it asked for."""
    if t.tls:
        return
    for style in STYLES:
        with t.open(style) as client:
            stream = b"".join(client.enter(nbd.READ, i * 60000, 100000)[1] for i in range(60))
            client.send(stream)
            client.sock.shutdown(socket.SHUT_WR)
            while client.under_way:
                client.finish()
            client.expect_end(within=5)


@point()
def p202_slow_reader(t):
    """A client that reads its replies drop by drop gets all of them, right."""
    for style in STYLES:
        with t.open(style) as client:
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            client.send(b"".join(client.enter(nbd.READ, i * 30000, 300000)[1] for i in range(20)))
            while client.under_way:
                request = client.finish()
                require(request.data == t.image[request.offset:request.offset + 300000],
                        "wrong bytes")
                time.sleep(0.002)
            client.disconnect()
