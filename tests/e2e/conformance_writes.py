# SPDX-License-Identifier: BSD-3-Clause
"""The points of 75 to 98 that need a disk to write to."""

import os
import time

import nbd_talk as nbd
from conformance_target import MIB, STYLES, point
from nbd_talk import require

AREA = 8 * MIB  # where most of them write


@point("writable")
def p075_32_mib_write(t):
    """A write of 32 MiB is taken."""
    with t.open_writable() as client:
        data = bytes(range(256)) * (32 * MIB // 256)
        client.write(16 * MIB, data)
        require(client.read(16 * MIB, 32 * MIB) == data, "wrong bytes")
        client.call(nbd.ZEROES, 16 * MIB, 32 * MIB, error=0)
        client.disconnect()


def on_disk(t, offset, length):
    with open(t.writable_path, "rb") as file:
        file.seek(offset)
        return file.read(length)


@point("writable")
def p082_flush_persists(t):
    """What was acknowledged before a FLUSH is in the image after it."""
    with t.open_writable() as client:
        data = os.urandom(3 * MIB)
        for i in range(3):
            client.start(nbd.WRITE, i * MIB, MIB, payload=data[i * MIB:(i + 1) * MIB])
        while client.under_way:
            require(client.finish().error == 0, "a write failed")
        client.call(nbd.FLUSH, error=0)
        require(on_disk(t, 0, 3 * MIB) == data, "the image has other bytes")
        client.disconnect()


@point("writable")
def p088_write_and_read_back(t):
    """What was written is read, in each style, from each size."""
    for style in STYLES:
        with t.open_writable(style) as client:
            for length in (1, 512, 4096, 33000, MIB + 7):
                data = os.urandom(length)
                client.write(AREA + 333, data)
                require(client.read(AREA + 333, length) == data, f"wrong bytes, {length}")
            client.disconnect()


@point("writable")
def p089_write_past_the_end(t):
    """ENOSPC; nothing is written, and the image does not grow."""
    target = t.to_writable()
    for style in STYLES:
        with target.open(style) as client:
            size = client.export.size
            tail = client.read(size - 4096, 4096)
            for offset, length in ((size, 512), (size - 512, 1024), (2**63, 512),
                                   (2**64 - 512, 512)):
                client.write(offset, b"\xee" * length, error=(nbd.ENOSPC, nbd.EINVAL))
            client.write(size - 512, b"\xee" * 513, error=nbd.ENOSPC)
            require(client.read(size - 4096, 4096) == tail, "something was written")
            require(os.stat(target.image_path).st_size == size, "the image has grown")
            client.disconnect()


@point("writable")
def p090_fua_write_is_durable(t):
    """A write with FUA is in the image when it is answered."""
    with t.open_writable() as client:
        data = os.urandom(65536)
        client.write(AREA, data, flags=nbd.FUA)
        require(on_disk(t, AREA, 65536) == data, "the image has other bytes")


@point("writable")
def p092_client_dies_in_a_write(t):
    """A client that leaves within a payload harms nobody; what it had announced is not written."""
    with t.open_writable() as client:
        before = client.read(AREA, MIB)
        for reset in (False, True):
            with t.open_writable() as victim:
                victim.send(victim.header(nbd.WRITE, 0, AREA, MIB, 7) + b"\xdd" * (MIB // 2))
                victim.vanish(reset)
        time.sleep(0.1)
        require(client.read(AREA, MIB) == before, "half a write was carried out")


@point("writable")
def p093_trim(t):
    """TRIM succeeds, and touches nothing outside of its range."""
    with t.open_writable("structured") as client:
        data = os.urandom(MIB)
        client.write(AREA, data)
        client.call(nbd.TRIM, AREA + 65536, 65536, error=0)
        client.call(nbd.TRIM, AREA + 1, 100, error=0)
        require(client.read(AREA + 131072, MIB - 131072) == data[131072:], "too much was trimmed")
        require(client.read(AREA + 101, 65536 - 101) == data[101:65536], "too much was trimmed")
        client.call(nbd.TRIM, client.export.size - 512, 1024, error=(nbd.ENOSPC, nbd.EINVAL))


@point("writable")
def p094_write_zeroes(t):
    """WRITE_ZEROES reads as zeroes; NO_HOLE keeps space; past the end ENOSPC; it may be longer than
    the maximum payload."""
    with t.open_writable("structured") as client:
        size = client.export.size
        data = os.urandom(MIB)
        for flags in (0, nbd.NO_HOLE, nbd.FUA | nbd.NO_HOLE):
            client.write(AREA, data)
            client.call(nbd.ZEROES, AREA + 1000, 100000, flags=flags, error=0)
            require(client.read(AREA, MIB) == data[:1000] + bytes(100000) + data[101000:],
                    f"wrong bytes, flags {flags}")
        client.call(nbd.ZEROES, AREA, AREA, error=0)
        before = os.stat(t.writable_path).st_blocks
        client.call(nbd.ZEROES, AREA, MIB, flags=nbd.NO_HOLE, error=0)
        grown = (os.stat(t.writable_path).st_blocks - before) * 512
        require(grown >= MIB, f"NO_HOLE has provided {grown} bytes")
        client.call(nbd.ZEROES, size - 512, 1024, error=nbd.ENOSPC)
        client.call(nbd.ZEROES, 2**64 - 512, 1024, error=nbd.ENOSPC)
        client.call(nbd.ZEROES, 0, size, error=0)
        require(client.read(0, MIB) == bytes(MIB), "not zero")
        client.disconnect()


@point("writable")
def p095_fast_zero(t):
    """FAST_ZERO, where advertised: done, or ENOTSUP and nothing changed."""
    with t.open_writable() as client:
        if not client.export.flags & nbd.CAN_FAST_ZERO:
            client.call(nbd.ZEROES, 0, 4096, flags=nbd.FAST_ZERO, error=nbd.EINVAL)
            return
        data = b"\x5a" * 65536
        for flags in (nbd.FAST_ZERO, nbd.FAST_ZERO | nbd.NO_HOLE):
            client.write(AREA, data)
            request = client.call(nbd.ZEROES, AREA, 65536, flags=flags, error=(0, nbd.ENOTSUP))
            require(client.read(AREA, 65536) == (data if request.error else bytes(65536)),
                    "wrong bytes")


@point("writable")
def p098_multi_conn_is_consistent(t):
    """With CAN_MULTI_CONN, what one connection has flushed, or written with FUA, all others
    read."""
    clients = [t.open_writable() for _ in range(3)]
    if not clients[0].export.flags & nbd.MULTI_CONN:
        return
    writer, flusher, reader = clients
    for i in range(5):
        data, more = os.urandom(65536), os.urandom(65536)
        reader.read(AREA, 65536)
        writer.write(AREA, data)
        flusher.call(nbd.FLUSH, error=0)
        writer.write(AREA + MIB, more, flags=nbd.FUA)
        require(reader.read(AREA, 65536) == data, f"old bytes after FLUSH, round {i}")
        require(reader.read(AREA + MIB, 65536) == more, f"old bytes after FUA, round {i}")
    for client in clients:
        client.disconnect()
