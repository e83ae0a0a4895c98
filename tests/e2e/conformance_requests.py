# SPDX-License-Identifier: BSD-3-Clause
"""Points 65 to 101: requests, errors, and the end of a session."""

import statistics
import time

import nbd_talk as nbd
from conformance_target import BOTH, MIB, STYLES, point
from nbd_talk import require

SIZES = (1, 512, 4096, 32 * 1024 + 1, 256 * 1024, MIB + 7, 32 * MIB)


@point()
def p065_has_flags(t):
    """HAS_FLAGS is set in every style."""
    for style in STYLES:
        with t.open(style) as client:
            require(client.export.flags & nbd.HAS_FLAGS, "no HAS_FLAGS")


@point()
def p066_df_only_with_structured(t):
    """SEND_DF is offered with structured replies or extended headers only."""
    for style in STYLES:
        with t.open(style) as client:
            offered = bool(client.export.flags & nbd.CAN_DF)
            require(offered == (style != "simple"), f"DF with {style} replies: {offered}")


@point()
def p067_fast_zero_implies_zeroes(t):
    """SEND_FAST_ZERO comes with SEND_WRITE_ZEROES, and neither with READ_ONLY."""
    for target in [t] + ([t.to_writable()] if t.writable else []):
        with target.open() as client:
            flags = client.export.flags
            require(not flags & nbd.CAN_FAST_ZERO or flags & nbd.CAN_ZERO, f"flags {flags:#x}")
            require(not flags & nbd.READ_ONLY or not flags & (nbd.CAN_ZERO | nbd.CAN_TRIM),
                    f"flags {flags:#x}")


@point()
def p068_cookie_is_opaque(t):
    """Any 64 bits come back as they went."""
    for style in STYLES:
        with t.open(style) as client:
            for cookie in (0, 1, 2**63, 2**64 - 1, 0x6744669825609513):
                client.start(nbd.READ, 0, 512, cookie=cookie)
                client.finish(client.under_way[cookie])


@point()
def p069_last_block(t):
    """The last bytes of the disk can be read."""
    for style in STYLES:
        with t.open(style) as client:
            for length in (1, 512, 4096, 300000):
                require(client.read(t.size - length, length) == t.image[-length:], "wrong bytes")


@point()
def p070_unaligned(t):
    """With a minimum block of 1 any offset and length can be read."""
    with t.open("structured") as client:
        if client.export.minimum == 1:
            for offset, length in ((1, 1), (511, 2), (4095, 4098), (65535, 131073), (777, 999999)):
                require(client.read(offset, length) == t.image[offset:offset + length],
                        f"wrong bytes at {offset}+{length}")


@point()
def p071_below_minimum_block(t):
    """Below the minimum block: EINVAL or the bytes, and the session goes on."""
    for target in [t] + ([t.to_writable()] if t.writable else []):
        with target.open() as client:
            request = client.call(nbd.READ, 1, 1, error=(0, nbd.EINVAL))
            require(client.export.minimum > 1 or not request.error, "EINVAL, but the minimum is 1")
            client.call(nbd.READ, 0, 65536, error=0)


@point()
def p072_read_past_the_end(t):
    """EINVAL, and the session goes on."""
    for style in STYLES:
        with t.open(style) as client:
            for offset, length in ((t.size, 1), (t.size - 1, 2), (t.size + 4096, 512),
                                   (t.size - 512, 1 << 20), (0, t.size + 1)):
                if length <= client.export.maximum:
                    client.call(nbd.READ, offset, length, error=nbd.EINVAL)
            client.read(0, 512)
            client.disconnect()


@point()
def p073_no_wrap_at_64_bits(t):
    """Offsets near 2^64 and 2^63: an error, nothing else."""
    for style in STYLES:
        with t.open(style, BOTH) as client:
            for offset in (2**64 - 1, 2**64 - 512, 2**63 - 1, 2**63, 2**63 - 4096):
                for command in (nbd.READ, nbd.CACHE, nbd.STATUS):
                    client.call(command, offset, 1024, error=nbd.EINVAL)
            if style == "extended":
                for length in (2**64 - 1, 2**63, 2**64 - 512):
                    client.call(nbd.CACHE, 512, length, error=nbd.EINVAL)
                    client.call(nbd.STATUS, 512, length, error=nbd.EINVAL)
            client.disconnect()


@point()
def p074_length_zero(t):
    """A length of 0 never ends the session."""
    for target in [t] + ([t.to_writable()] if t.writable else []):
        for style in STYLES:
            with target.open(style, BOTH) as client:
                for offset in (0, 512, t.size, t.size + 1):
                    for command in (nbd.READ, nbd.TRIM, nbd.ZEROES, nbd.STATUS, nbd.CACHE):
                        client.call(command, offset, 0)
                    client.call(nbd.WRITE, offset, 0, payload=b"")
                client.read(0, 512)
                client.disconnect()


@point()
def p075_32_mib_read(t):
    """Reads of every size up to 32 MiB bring the image's bytes, in each style."""
    for style in STYLES:
        with t.open(style) as client:
            for length in SIZES:
                for offset in (0, 12345, t.size - length):
                    require(client.read(offset, length) == t.image[offset:offset + length],
                            f"wrong bytes at {offset}+{length}, {style}")
            client.disconnect()


@point()
def p076_oversize_read(t):
    """A read of more than the maximum payload: an error, or the end."""
    for style in STYLES:
        with t.open(style) as client:
            for length in (client.export.maximum + 1, 2**32 - 1):
                try:
                    client.call(nbd.READ, 0, length, error=(nbd.EINVAL, nbd.EOVERFLOW, nbd.ENOMEM))
                except nbd.Closed:
                    break
    t.still_serves()


@point()
def p076_oversize_write(t):
    """A write of more than the maximum payload: an error once it has come, or the end."""
    target = t.to_writable() if t.writable else t
    for style in STYLES:
        with target.open(style) as client:
            length = client.export.maximum + 4096
            try:
                client.start(nbd.WRITE, 0, length, payload=bytes(length))
                request = client.finish()
                require(request.error in (nbd.EINVAL, nbd.EPERM, nbd.EOVERFLOW, nbd.ENOMEM),
                        f"error {request.error}")
                client.read(0, 512)
            except nbd.Closed:
                pass
    t.still_serves()


@point()
def p077_unknown_command(t):
    """EINVAL, and the session goes on."""
    for style in STYLES:
        with t.open(style) as client:
            for command in (nbd.RESIZE, 9, 100, 0x7FFF, 0xFFFF):
                client.call(command, 0, 512, error=nbd.EINVAL)
            client.read(0, 512)
            client.disconnect()


@point()
def p078_unknown_flag(t):
    """EINVAL for flags that nobody knows."""
    for style in STYLES:
        with t.open(style) as client:
            for flag in range(6 if style == "extended" else 5, 16):
                client.call(nbd.READ, 0, 512, flags=1 << flag, error=nbd.EINVAL)
            client.read(0, 512)
            client.disconnect()


@point()
def p079_fua_on_every_command(t):
    """Where FUA is advertised every command may have it."""
    for target in [t] + ([t.to_writable()] if t.writable else []):
        with target.open("structured", BOTH) as client:
            if not client.export.flags & nbd.CAN_FUA:
                continue
            client.read(0, 512, flags=nbd.FUA)
            client.call(nbd.FLUSH, flags=nbd.FUA, error=0)
            client.call(nbd.STATUS, 0, 65536, flags=nbd.FUA, error=0)
            if client.export.flags & nbd.CAN_CACHE:
                client.call(nbd.CACHE, 0, 4096, flags=nbd.FUA, error=0)
            wanted = nbd.EPERM if client.export.flags & nbd.READ_ONLY else 0
            client.write(4096, bytes(4096), flags=nbd.FUA, error=wanted)
            for command in (nbd.TRIM, nbd.ZEROES):
                client.call(command, 4096, 4096, flags=nbd.FUA, error=wanted)


@point()
def p080_flag_of_another_command(t):
    """EINVAL for a flag that the command does not have."""
    wrong = [(nbd.READ, nbd.NO_HOLE), (nbd.READ, nbd.REQ_ONE), (nbd.READ, nbd.FAST_ZERO),
             (nbd.STATUS, nbd.DF), (nbd.CACHE, nbd.DF), (nbd.FLUSH, nbd.REQ_ONE),
             (nbd.STATUS, nbd.NO_HOLE)]
    with t.open("structured", BOTH) as client:
        for command, flag in wrong:
            length = 0 if command == nbd.FLUSH else 4096
            client.call(command, 0, length, flags=flag, error=nbd.EINVAL)
    if t.writable:
        with t.open_writable("structured") as client:
            for command, flag in ((nbd.TRIM, nbd.NO_HOLE), (nbd.ZEROES, nbd.DF),
                                  (nbd.TRIM, nbd.FAST_ZERO)):
                client.call(command, 0, 4096, flags=flag, error=nbd.EINVAL)
            client.write(0, bytes(4096), flags=nbd.NO_HOLE, error=nbd.EINVAL)
            client.read(0, 512)


@point()
def p081_each_cookie_once(t):
    """200 requests at once, in any order of answers: each is answered once, and right."""
    for style in STYLES:
        with t.open(style) as client:
            wanted = []
            stream = b""
            for i in range(200):
                offset = i * 7919 * 13 % (t.size - 400000)
                length = (1, 512, 4096, 70000, 300000)[i % 5]
                cookie, data = client.enter(nbd.READ, offset, length)
                wanted.append(client.under_way[cookie])
                stream += data
            client.send(stream)
            while client.under_way:
                client.finish()
            for request in wanted:
                require(request.data == t.image[request.offset:request.offset + request.length],
                        f"wrong bytes at {request.offset}")
            client.disconnect()


@point()
def p083_flush_with_offset(t):
    """FLUSH with offset or length: EINVAL or success, and the session goes on."""
    with t.open() as client:
        for offset, length in ((1, 0), (0, 1), (t.size * 2, 5)):
            client.call(nbd.FLUSH, offset, length, error=(0, nbd.EINVAL))
        client.call(nbd.FLUSH, error=0)


@point()
def p084_disc_closes_without_reply(t):
    """DISC: the end, and not a byte; whatever its other fields say."""
    for style in STYLES:
        with t.open(style) as client:
            client.disconnect()
        for flags, length in ((0xFFFF & ~nbd.PAYLOAD_LEN, 0), (nbd.FUA, 12345)):
            with t.open(style) as client:
                client.send(client.header(nbd.DISC, flags, 5, length, 7))
                client.expect_end(within=10)
    with t.open("extended") as client:
        client.send(client.header(nbd.DISC, nbd.PAYLOAD_LEN, 0, 16, 7) + bytes(16))
        client.expect_end(within=10)


@point()
def p085_disc_after_all_is_served(t):
    """What was asked before DISC is answered before the end."""
    for style in STYLES:
        with t.open(style) as client:
            stream = b"".join(client.enter(nbd.READ, i * 50000, 300000)[1] for i in range(100))
            client.send(stream + client.header(nbd.DISC, 0, 0, 0, 7))
            while client.under_way:
                client.finish()
            client.expect_end(within=10)


@point()
def p086_bad_request_magic(t):
    """A bad magic where a request should begin: the end."""
    for style in STYLES:
        for magic in (1, nbd.SIMPLE_MAGIC, nbd.REQUEST_MAGIC ^ 0x100,
                      nbd.REQUEST_MAGIC if style == "extended" else nbd.EXTENDED_REQUEST_MAGIC):
            with t.open(style) as client:
                client.send(client.header(nbd.READ, 0, 0, 512, 7, magic=magic) + bytes(16))
                client.expect_end(within=10)


@point()
def p087_read_only_refuses_writers(t):
    """On a read-only disk: EPERM, the payload consumed, the image as it was."""
    for style in STYLES:
        with t.open(style) as client:
            require(client.export.flags & nbd.READ_ONLY, "the disk is not read-only")
            for length in (1, 4096, MIB):
                client.write(0, b"\xa5" * length, error=nbd.EPERM)
            for command in (nbd.TRIM, nbd.ZEROES):
                client.call(command, 0, 4096, error=nbd.EPERM)
            require(client.read(0, MIB) == t.image[:MIB], "the disk has changed")
            client.disconnect()


@point()
def p091_write_header_of_4_gib(t):
    """A write that announces 4 GiB: the end or an error, no memory, no waiting."""
    for style in STYLES:
        with t.open(style) as client:
            flags = nbd.PAYLOAD_LEN if style == "extended" else 0
            client.send(client.header(nbd.WRITE, flags, 0, 2**32 - 1, 7) + bytes(4096))
            client.expect_end(within=5)
    with t.open("extended") as client:
        client.send(client.header(nbd.WRITE, nbd.PAYLOAD_LEN, 0, 2**64 - 1, 7) + bytes(4096))
        client.expect_end(within=5)
    t.still_serves()


@point()
def p096_cache(t):
    """CACHE, where advertised, succeeds; past the end EINVAL."""
    with t.open() as client:
        if client.export.flags & nbd.CAN_CACHE:
            client.call(nbd.CACHE, 0, t.size, error=0)
            client.call(nbd.CACHE, t.size - 100, 101, error=nbd.EINVAL)


@point()
def p097_unadvertised_commands(t):
    """Commands that were not advertised: EINVAL or EPERM, and the session goes on."""
    of = {nbd.FLUSH: nbd.CAN_FLUSH, nbd.TRIM: nbd.CAN_TRIM, nbd.CACHE: nbd.CAN_CACHE,
          nbd.ZEROES: nbd.CAN_ZERO, nbd.RESIZE: nbd.CAN_RESIZE}
    with t.open() as client:
        for command, flag in of.items():
            if not client.export.flags & flag:
                client.call(command, 0, 512, error=(nbd.EINVAL, nbd.EPERM))
        client.read(0, 512)


@point()
def p099_split_header(t):
    """Headers that arrive in pieces, also behind whole ones."""
    for style in STYLES:
        with t.open(style) as client:
            stream = b"".join(client.enter(nbd.READ, i * 5000, 5000)[1] for i in range(20))
            for begin in range(0, len(stream), 17):
                client.send(stream[begin:begin + 17])
                time.sleep(0.001)
            while client.under_way:
                request = client.finish()
                require(request.data == t.image[request.offset:request.offset + 5000],
                        "wrong bytes")


def median_of_reads(t, style, length):
    with t.open(style) as client:
        times = []
        for i in range(40):
            start = time.monotonic()
            client.read(i * 65536, length)
            times.append(time.monotonic() - start)
    return statistics.median(times)


@point()
def p100_no_nagle(t):
    """One small read after the other: none waits for the client's delayed acknowledgement."""
    for style in STYLES:
        for length in (512, 50000):
            # A machine that is busy with others may be slow once or twice.
            times = (median_of_reads(t, style, length) for _ in range(4))
            require(any(median < 0.03 for median in times), f"30 ms and more, {style}, {length}")


@point()
def p101_only_known_errors(t):
    """Whatever is asked, the errors are among the eight; no ENOMEM, and EOVERFLOW and ENOTSUP only
    where they belong."""
    seen = set()
    for style in STYLES:
        with t.open(style, BOTH) as client:
            for command in range(10):
                for flags in (0, nbd.FUA, nbd.DF, nbd.FAST_ZERO):
                    if command in (nbd.WRITE, nbd.DISC):
                        continue
                    for offset, length in ((0, 512), (t.size, 512), (0, 0), (2**64 - 1, 2**32 - 1)):
                        seen.add(client.call(command, offset, length, flags=flags).error)
            client.disconnect()
    require(seen <= {0, nbd.EPERM, nbd.EINVAL, nbd.EOVERFLOW}, f"errors {sorted(seen)}")
