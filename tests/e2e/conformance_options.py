# SPDX-License-Identifier: BSD-3-Clause
"""Points 1 to 46 and 59 to 62: greeting, handshake flags, and options but those of metadata and
TLS."""

import socket
import struct
import time

import nbd_talk as nbd
from conformance_target import ABSENT, BOTH, STYLES, point
from nbd_talk import info_data, meta_data, name_data, option, require

NO_SUCH = (nbd.UNKNOWN, nbd.INVALID)


@point()
def p001_greeting_waits_for_nobody(t):
    """NBDMAGIC, IHAVEOPT and flags come although the client is silent."""
    with t.connect(greet=False) as client:
        require(client.receive(18)[:16] == nbd.GREETING, "another greeting")


@point()
def p002_fixed_newstyle_is_set(t):
    """Handshake flag bit 0."""
    with t.connect(tls=False) as client:
        require(client.server_flags & nbd.FIXED_NEWSTYLE, "no FIXED_NEWSTYLE")


@point()
def p003_no_unknown_handshake_flags(t):
    """No bits but 0 and 1."""
    with t.connect(tls=False) as client:
        require(client.server_flags & ~3 == 0, f"flags {client.server_flags:#x}")


@point()
def p004_unknown_client_flag_ends_it(t):
    """An unknown client flag: the connection is dropped, without a word."""
    for flags in (4, 0x80000001, 0xFFFFFFFF):
        with t.connect(flags=flags, tls=False) as client:
            client.expect_end(within=5)


@point()
def p005_bad_option_magic_is_no_option(t):
    """A bad option magic is never taken for an option."""
    for magic in (0, nbd.OPTION_MAGIC ^ 1, nbd.OPTION_REPLY_MAGIC):
        with t.connect() as client:
            client.send(option(nbd.LIST, magic=magic))
            client.expect_end(within=5)


@point()
def p006_no_zeroes_makes_ten_bytes(t):
    """With NO_ZEROES the answer to EXPORT_NAME has 10 bytes, and requests follow."""
    with t.connect() as client:
        client.send(option(nbd.EXPORT_NAME, t.export.encode()))
        size, flags = client.unpack(">QH")
        require(size == t.size and flags & nbd.HAS_FLAGS, f"size {size}, flags {flags:#x}")
        client.expect_silence()
        require(client.read(0, 100) == t.image[:100], "wrong bytes")
        client.disconnect()


def expect_padded_answer(t, flags):
    with t.connect(flags=flags) as client:
        client.send(option(nbd.EXPORT_NAME, t.export.encode()))
        data = client.receive(134)
        require(struct.unpack(">Q", data[:8])[0] == t.size, "another size")
        require(data[10:] == bytes(124), "the padding is not zero")
        require(client.read(4096, 100) == t.image[4096:4196], "wrong bytes")
        client.disconnect()


@point()
def p007_without_no_zeroes_padding(t):
    """Without NO_ZEROES 124 zero bytes follow."""
    expect_padded_answer(t, nbd.FIXED_NEWSTYLE)


@point("plain")
def p008_client_flags_zero(t):
    """A client of plain newstyle, flags 0, is served by EXPORT_NAME."""
    expect_padded_answer(t, 0)


@point()
def p009_bytes_one_at_a_time(t):
    """A whole session that arrives byte by byte is a session."""
    with t.connect(greet=False, tls=False) as client:
        client.receive(18)
        trickle(client, struct.pack(">I", 3))
        if t.tls:
            client.start_tls()
        trickle(client, option(nbd.STRUCTURED))
        client.answer(nbd.STRUCTURED, nbd.ACK)
        trickle(client, option(nbd.GO, info_data(t.export)))
        client.answer(nbd.GO, nbd.ACK)
        client.style = "structured"
        cookie, data = client.enter(nbd.READ, 1000, 3000)
        trickle(client, data)
        request = client.finish(client.under_way[cookie])
        require(request.data == t.image[1000:4000], "wrong bytes")


def trickle(client, data):
    for i in range(len(data)):
        client.send(data[i:i + 1])
        if i % 8 == 0:
            time.sleep(0.001)


@point("plain")
def p010_client_leaves_at_any_byte(t):
    """A client that leaves after any byte, by FIN or RST, harms nobody."""
    request = struct.pack(">IHHQQI", nbd.REQUEST_MAGIC, 0, nbd.READ, 1, 0, 1 << 20)
    write = struct.pack(">IHHQQI", nbd.REQUEST_MAGIC, 0, nbd.WRITE, 1, 0, 64) + bytes(64)
    talk = (struct.pack(">I", 3) + option(nbd.STRUCTURED) +
            option(nbd.SET_META, meta_data(t.export, *BOTH)) + option(nbd.LIST) +
            option(nbd.INFO, info_data(t.export, 1, 2, 3)) + option(nbd.GO, info_data(t.export)) +
            request + write)
    for end in range(len(talk) + 1):
        with t.connect(greet=False) as client:
            client.send(talk[:end])
            client.vanish(reset=end % 2 == 0)
        with t.connect(greet=False) as client:
            client.receive(18)
            client.send(talk[:end])
            client.vanish(reset=end % 2 == 1)
    t.still_serves()


@point()
def p011_storm_of_connections(t):
    """A thousand clients that come and go at once; then a new one is served."""
    for _ in range(10):
        sockets = [socket.create_connection(t.address, timeout=10) for _ in range(100)]
        for one in sockets:
            one.close()
    start = time.monotonic()
    t.still_serves()
    require(time.monotonic() - start < 5, "a new client had to wait")


@point()
def p012_unknown_option_gets_unsup(t):
    """ERR_UNSUP for options that nobody knows."""
    with t.connect() as client:
        for number in (0, 12, 77, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF):
            client.refused(number, codes=(nbd.UNSUP,))


@point()
def p013_unknown_options_data_is_skipped(t):
    """The data of an unknown option is skipped, and the next option found behind it."""
    with t.connect() as client:
        for length in (1, 16, 4096, 65536, 65537, 500000):
            client.send(option(99, option(nbd.ABORT) * (length // 16) + bytes(length % 16)) +
                        option(nbd.STRUCTURED))
            client.answer(99, nbd.UNSUP)
            client.answer(nbd.STRUCTURED, nbd.ACK)


@point()
def p014_replies_echo_the_option(t):
    """Each reply has the reply magic and the option's number."""
    with t.connect() as client:
        for number in (nbd.STRUCTURED, nbd.PEEK, 1234567, nbd.LIST):
            client.ask(number)  # which checks it


@point()
def p015_abort_is_acknowledged(t):
    """ABORT: ACK, then the end."""
    with t.connect() as client:
        client.ask(nbd.ABORT, expect=nbd.ACK)
        client.expect_end(within=5)


@point()
def p016_data_of_abort_is_ignored(t):
    """ABORT with data: the same."""
    for length in (5, 70000):
        with t.connect() as client:
            client.ask(nbd.ABORT, bytes(length), expect=nbd.ACK)
            client.expect_end(within=5)


def listed(t):
    with t.connect() as client:
        kind, entries = client.ask(nbd.LIST)
        require(kind in (nbd.ACK, nbd.POLICY), f"LIST got {kind:#x}")
        return entries


@point()
def p017_list_ends_with_ack(t):
    """LIST: a SERVER reply for each export, then ACK."""
    names = [data[4:4 + struct.unpack(">I", data[:4])[0]] for data in listed(t)]
    require(t.export.encode() in names, f"{t.export} is not among {names}")
    require(len(names) == len(set(names)), "a name twice")


@point()
def p018_list_entries_are_well_formed(t):
    """Names and descriptions: at most 4096 bytes, UTF-8, no NUL."""
    for data in listed(t):
        require(len(data) >= 4, "a SERVER reply without a name")
        (length,) = struct.unpack(">I", data[:4])
        require(length <= len(data) - 4, "a name beyond the reply")
        nbd.check_text(data[4:4 + length], "a name")
        nbd.check_text(data[4 + length:], "a description")


@point()
def p019_list_with_data_is_invalid(t):
    """LIST with data: ERR_INVALID."""
    with t.connect() as client:
        client.refused(nbd.LIST, b"x", codes=(nbd.INVALID,))


@point()
def p020_info_gives_the_export(t):
    """INFO: a 12-byte INFO_EXPORT, then ACK."""
    with t.connect() as client:
        require(client.info(t.export).size == t.size, "another size")


@point()
def p021_unknown_export_is_refused(t):
    """INFO of an unknown export: ERR_UNKNOWN, and no INFO before it."""
    with t.connect() as client:
        client.refused(nbd.INFO, info_data(ABSENT), codes=(nbd.UNKNOWN,))


@point()
def p022_failed_go_keeps_haggling(t):
    """After a failed GO the client may ask for another export."""
    with t.connect() as client:
        client.refused(nbd.GO, info_data(ABSENT), codes=(nbd.UNKNOWN,))
        client.go(t.export)
        require(client.read(0, 512) == t.image[:512], "wrong bytes")
        client.disconnect()


@point("plain")
def p023_go_has_no_padding(t):
    """GO is never followed by zeroes, with or without NO_ZEROES."""
    for flags in (nbd.FIXED_NEWSTYLE, nbd.FIXED_NEWSTYLE | nbd.NO_ZEROES):
        with t.connect(flags=flags) as client:
            client.go(t.export)
            client.expect_silence()
            require(client.read(5, 5) == t.image[5:10], "wrong bytes")


@point()
def p024_info_and_go_agree(t):
    """INFO, then GO: the same answer."""
    for style in STYLES:
        with t.connect() as client:
            client.negotiate(style)
            before = client.info(t.export, nbd.INFO_BLOCK_SIZE)
            require(before.facts() == client.go(t.export).facts(), "INFO and GO differ")


@point()
def p025_unknown_info_requests_are_ignored(t):
    """Unknown information requests are ignored."""
    with t.connect() as client:
        export = client.info(t.export, 0x1234, nbd.INFO_BLOCK_SIZE, 0xFFFF)
        require(export.size == t.size and export.tells_sizes, "the known ones are not answered")


@point()
def p026_block_sizes_are_sane(t):
    """Minimum <= preferred <= maximum; powers of two, the minimum at most 64 KiB."""
    with t.connect() as client:
        export = client.info(t.export, nbd.INFO_BLOCK_SIZE)
        least, usual, most = export.minimum, export.preferred, export.maximum
        require(least & (least - 1) == 0 and 1 <= least <= 65536, f"minimum {least}")
        require(usual & (usual - 1) == 0 and max(least, 512) <= usual, f"preferred {usual}")
        require(most == 0xFFFFFFFF or most >= usual and most % least == 0, f"maximum {most}")


@point()
def p027_size_and_maximum_payload(t):
    """The size is a multiple of the minimum block; payloads of 1 MiB are possible."""
    with t.connect() as client:
        export = client.info(t.export, nbd.INFO_BLOCK_SIZE)
        require(export.size % export.minimum == 0, "a size that is no multiple")
        require(export.maximum >= 1 << 20, f"maximum payload {export.maximum}")


@point()
def p028_block_size_need_not_be_asked(t):
    """Where the defaults do, GO without INFO_BLOCK_SIZE is served."""
    with t.connect() as client:
        if client.info(t.export, nbd.INFO_BLOCK_SIZE).minimum <= 512:
            client.info(t.export, number=nbd.GO)


@point()
def p029_name_and_description(t):
    """INFO_NAME and INFO_DESCRIPTION, when they come, are texts."""
    with t.connect() as client:
        export = client.info(t.export, nbd.INFO_NAME, nbd.INFO_DESCRIPTION)
        require(export.name in (None, t.export), f"the name {export.name}")


def expect_invalid_info(t, *datas, codes=(nbd.INVALID, nbd.TOO_BIG)):
    """Both INFO and GO refuse DATAS, and the session goes on behind each."""
    with t.connect() as client:
        for data in datas:
            for number in (nbd.INFO, nbd.GO):
                client.refused(number, data, codes=codes)
        require(client.info(t.export).size == t.size, "out of step")


@point()
def p030_name_longer_than_data(t):
    """A name that is longer than the option: ERR_INVALID."""
    name = t.export.encode()
    expect_invalid_info(t, struct.pack(">I", len(name) + 3) + name + b"\0\0",
                        struct.pack(">I", 100) + name + b"\0\0")


@point()
def p031_name_of_4_gib(t):
    """A name of 0xffffffff bytes, in an option that has few."""
    expect_invalid_info(t, struct.pack(">I", 0xFFFFFFFF) + b"disk\0\0",
                        struct.pack(">I", 0x80000000) + b"\0\0")


@point()
def p032_counts_beyond_data(t):
    """More information requests than there is data; options too short for their fields."""
    name = name_data(t.export)
    expect_invalid_info(t, name + struct.pack(">H", 3) + b"\0\1", name + struct.pack(">H", 65535),
                        b"", b"\0", b"\0\0\0", name, name + b"\0", b"\0\0\0\0\0")


@point()
def p033_trailing_garbage(t):
    """Data behind the last information request: ERR_INVALID."""
    expect_invalid_info(t, info_data(t.export) + b"x", info_data(t.export, 3) + b"\0\3")


@point()
def p034_name_of_4096_bytes(t):
    """The longest name is unknown; the error's text is no longer than 4096 bytes."""
    expect_invalid_info(t, info_data("n" * 4096), info_data("ä" * 2048), codes=NO_SUCH)


@point()
def p035_name_of_4097_bytes(t):
    """One byte more: refused, and the session goes on."""
    expect_invalid_info(t, info_data("n" * 4097), info_data("n" * 60000),
                        codes=(nbd.INVALID, nbd.TOO_BIG, nbd.UNKNOWN))


@point()
def p036_name_with_nul_or_no_utf8(t):
    """Names with NUL or invalid UTF-8 are refused."""
    export = t.export.encode()
    expect_invalid_info(t, info_data(export + b"\0"), info_data(b"\0"), info_data(b"\xff\xfe"),
                        info_data(b"\xc0\xae\xc0\xae/x"), info_data(b"\xed\xa0\x80"),
                        codes=NO_SUCH)


def expect_export_name_ends(t, data, length=None):
    with t.connect() as client:
        try:
            client.send(option(nbd.EXPORT_NAME, data, length=length))
        except nbd.Closed:
            return  # before it had taken all of that
        client.expect_end(within=5)


@point()
def p037_unknown_export_name_ends_it(t):
    """EXPORT_NAME has no error: the session ends, without a byte."""
    expect_export_name_ends(t, ABSENT.encode())


@point()
def p038_long_export_name(t):
    """EXPORT_NAME of 4096, 4097 and 70000 bytes, and of bytes that are no name."""
    for data in (b"n" * 4096, b"n" * 4097, b"n" * 70000, b"\0", b"\xff", b"../../etc/passwd"):
        expect_export_name_ends(t, data)


@point()
def p039_export_name_of_4_gib(t):
    """EXPORT_NAME that announces 4 GiB: ended at once."""
    expect_export_name_ends(t, b"disk", length=0xFFFFFFFF)


@point()
def p040_option_of_4_gib(t):
    """An option that announces 4 GiB is cut off: an error, or the end, without waiting for it."""
    for number in (nbd.LIST, nbd.INFO, nbd.SET_META, 99):
        with t.connect() as client:
            client.send(option(number, b"1234", length=0xFFFFFFFF))
            try:
                kind, _ = client.reply(number)
            except nbd.Closed:
                continue
            require(kind in (nbd.TOO_BIG, nbd.INVALID, nbd.UNSUP), f"reply {kind:#x}")


@point()
def p041_structured_reply(t):
    """STRUCTURED_REPLY: ACK, or an error."""
    with t.connect() as client:
        client.ask(nbd.STRUCTURED, expect=nbd.ACK)


@point()
def p042_structured_reply_with_data(t):
    """With data: ERR_INVALID, and not in force."""
    with t.connect() as client:
        client.refused(nbd.STRUCTURED, b"\0", codes=(nbd.INVALID,))
        client.go(t.export)
        require(not client.export.flags & nbd.CAN_DF, "DF without structured replies")
        client.read(0, 512)


@point()
def p043_structured_reply_twice(t):
    """Twice: ACK or ERR_INVALID; in force either way."""
    with t.connect() as client:
        client.ask(nbd.STRUCTURED, expect=nbd.ACK)
        kind, _ = client.ask(nbd.STRUCTURED)
        require(kind in (nbd.ACK, nbd.INVALID), f"{kind:#x}")
        client.style = "structured"
        client.go(t.export)
        client.read(0, 512)


@point()
def p044_extended_headers(t):
    """EXTENDED_HEADERS: ACK or error; with data ERR_INVALID; STRUCTURED_REPLY then EXT_HEADER_REQD
    or ACK, and the replies stay extended."""
    with t.connect() as client:
        client.refused(nbd.EXTENDED, b"x", codes=(nbd.INVALID,))
        client.negotiate("extended")
        kind, _ = client.ask(nbd.STRUCTURED)
        require(kind in (nbd.ACK, nbd.EXT_REQD, nbd.INVALID), f"{kind:#x}")
        client.go(t.export)
        require(client.read(0, 512) == t.image[:512], "wrong bytes")
        client.disconnect()


@point()
def p045_peek_export(t):
    """PEEK_EXPORT, which was withdrawn: ERR_UNSUP."""
    with t.connect() as client:
        client.refused(nbd.PEEK, codes=(nbd.UNSUP,))


@point("plain")
def p046_starttls_without_tls(t):
    """STARTTLS where there is no TLS: UNSUP or POLICY; the session goes on in plaintext."""
    with t.connect() as client:
        client.refused(nbd.STARTTLS, codes=(nbd.UNSUP, nbd.POLICY))
        client.refused(nbd.STARTTLS, b"x", codes=(nbd.UNSUP, nbd.POLICY, nbd.INVALID))
        client.go(t.export)


@point()
def p059_flood_of_options(t):
    """Options without end are cut off, or answered; the server lives."""
    with t.connect() as client:
        client.sock.settimeout(5)
        answers = 0
        try:
            client.send(option(nbd.STRUCTURED) * 5000)
            while answers < 5000:
                client.reply(nbd.STRUCTURED)
                answers += 1
        except nbd.Closed:
            pass
        require(answers > 0, "not one answer")
    t.still_serves()


@point()
def p060_glued_options(t):
    """All of a session in one piece: each is answered, in order."""
    with t.connect() as client:
        cookie, read = client.enter(nbd.READ, 12345, 54321)
        client.send(option(nbd.STRUCTURED) + option(nbd.LIST) + option(123, b"data") +
                    option(nbd.SET_META, meta_data(t.export, nbd.ALLOCATION)) +
                    option(nbd.INFO, info_data(ABSENT)) + option(nbd.GO, info_data(t.export)) +
                    read)
        client.answer(nbd.STRUCTURED, nbd.ACK)
        client.answer(nbd.LIST)
        client.answer(123, nbd.UNSUP)
        client.answer(nbd.SET_META, nbd.ACK)
        client.answer(nbd.INFO, nbd.UNKNOWN)
        client.answer(nbd.GO, nbd.ACK)
        client.style = "structured"
        request = client.finish(client.under_way[cookie])
        require(request.data == t.image[12345:12345 + 54321], "wrong bytes")


@point()
def p061_empty_name(t):
    """The empty name is the default export, or unknown; never more."""
    with t.connect() as client:
        kind, _ = client.ask(nbd.INFO, info_data(""))
        require(kind in (nbd.ACK, nbd.UNKNOWN), f"{kind:#x}")
        require(client.info(t.export).size == t.size, "out of step")


@point()
def p062_names_like_paths(t):
    """Names that look like paths out of the repository are refused, all alike."""
    names = ["../" + t.export, "/etc/passwd", "../../../etc/passwd", t.export + "/..",
             "./" + t.export, t.export + "/", "//" + t.export, "a/../" + t.export, "..", ".", "/",
             t.export + ".raw", "-" + t.export, "local:../x", "file:///etc/passwd", "C:\\x",
             "%2e%2e", "$HOME", "`id`", "a b", " ", "\n", "\u202edisk"]
    expect_invalid_info(t, *(info_data(name) for name in names[:12]), codes=NO_SUCH)
    expect_invalid_info(t, *(info_data(name) for name in names[12:]), codes=NO_SUCH)
