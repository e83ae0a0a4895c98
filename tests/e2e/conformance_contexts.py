# SPDX-License-Identifier: BSD-3-Clause
"""Points 47 to 58: metadata contexts, listed and selected."""

import struct
import time

import nbd_talk as nbd
from conformance_target import ABSENT, BOTH, CHUNKED, point
from nbd_talk import meta_data, name_data, require


@point()
def p047_set_meta_before_structured(t):
    """Metadata contexts need structured replies first: ERR_INVALID."""
    with t.connect() as client:
        for number in (nbd.SET_META, nbd.LIST_META):
            client.refused(number, meta_data(t.export, *BOTH), codes=(nbd.INVALID,))


def contexts_listed(t, *queries):
    with t.connect() as client:
        client.negotiate("structured")
        _, replies = client.ask(nbd.LIST_META, meta_data(t.export, *queries), expect=nbd.ACK)
        return [nbd.check_text(data[4:], "a context") for data in replies]


@point()
def p048_list_meta_without_queries(t):
    """LIST_META_CONTEXT without a query lists all."""
    require(sorted(contexts_listed(t)) == sorted(BOTH), "not both contexts")


@point()
def p049_list_meta_wildcard(t):
    """`base:` stands for all of that namespace in LIST_META_CONTEXT."""
    require(contexts_listed(t, "base:") == [nbd.ALLOCATION], "another list for base:")
    require(contexts_listed(t, "x-signpost:") == [nbd.PLACEMENT], "another list for x-signpost:")
    require(sorted(contexts_listed(t, "base:", "x-signpost:", nbd.ALLOCATION)) == sorted(BOTH),
            "not each once")


@point()
def p050_allocation_is_selected_once(t):
    """base:allocation, asked for twice, is selected once, with an id of its own."""
    for style in CHUNKED:
        with t.connect() as client:
            client.negotiate(style)
            chosen = client.set_meta(t.export, nbd.ALLOCATION, nbd.PLACEMENT, nbd.ALLOCATION)
            require(sorted(chosen.values()) == sorted(BOTH), f"{chosen}")


@point()
def p051_unknown_contexts_are_ignored(t):
    """Unknown namespaces and leaves are ignored."""
    with t.connect() as client:
        client.negotiate("structured")
        chosen = client.set_meta(t.export, "qemu:dirty-bitmap:x", "base:nonsense", "nocolon",
                                 nbd.ALLOCATION, "")
        require(list(chosen.values()) == [nbd.ALLOCATION], f"{chosen}")


@point()
def p052_no_wildcard_in_set_meta(t):
    """`base:` selects nothing in SET_META_CONTEXT."""
    with t.connect() as client:
        client.negotiate("structured")
        require(not client.set_meta(t.export, "base:", "x-signpost:"), "a wildcard selects")


@point()
def p053_no_queries_select_nothing(t):
    """SET_META_CONTEXT without queries selects nothing."""
    with t.connect() as client:
        client.negotiate("structured")
        require(not client.set_meta(t.export), "something is selected")
        client.go(t.export)
        client.call(nbd.STATUS, 0, 4096, error=nbd.EINVAL)


def expect_invalid_meta(t, *datas):
    with t.connect() as client:
        client.negotiate("structured")
        for data in datas:
            for number in (nbd.LIST_META, nbd.SET_META):
                client.refused(number, data, codes=(nbd.INVALID, nbd.TOO_BIG))
        require(client.set_meta(t.export, nbd.ALLOCATION), "out of step")


@point()
def p054_query_longer_than_data(t):
    """Lengths of queries and names that go beyond the option: ERR_INVALID."""
    name = name_data(t.export)
    expect_invalid_meta(t, name + struct.pack(">II", 1, 16) + b"base:allocation",
                        name + struct.pack(">II", 1, 0xFFFFFFFF), name + struct.pack(">I", 1),
                        name, name + b"\0\0", b"", struct.pack(">I", 0xFFFFFFFF) + bytes(8))


@point()
def p055_data_behind_the_queries(t):
    """Data behind the last query: ERR_INVALID, and the next option is found."""
    expect_invalid_meta(t, meta_data(t.export) + b"x",
                        meta_data(t.export, nbd.ALLOCATION) + name_data(nbd.PLACEMENT))


@point()
def p056_absurd_count_of_queries(t):
    """Four billion announced, and 16,000 real queries: both answered in time."""
    start = time.monotonic()
    expect_invalid_meta(t, name_data(t.export) + struct.pack(">I", 0xFFFFFFFF),
                        name_data(t.export) + struct.pack(">I", 0xFFFFFFFF) + bytes(60000))
    with t.connect() as client:
        client.negotiate("structured")
        client.ask(nbd.LIST_META, meta_data(t.export, *[b""] * 16000), expect=nbd.ACK)
    require(time.monotonic() - start < 10, "it took too long")


@point()
def p057_metadata_of_unknown_export(t):
    """Metadata of an unknown export is refused."""
    with t.connect() as client:
        client.negotiate("structured")
        for number in (nbd.LIST_META, nbd.SET_META):
            client.refused(number, meta_data(ABSENT, nbd.ALLOCATION), codes=(nbd.UNKNOWN,))


@point()
def p058_later_set_replaces_earlier(t):
    """A later SET_META_CONTEXT replaces what an earlier one selected, also when it fails."""
    with t.connect() as client:
        client.negotiate("structured")
        client.set_meta(t.export, *BOTH)
        client.set_meta(t.export, nbd.PLACEMENT)
        client.go(t.export)
        require(list(client.status(0, 4096)) == [nbd.PLACEMENT], "not what was selected last")
    for bad in (meta_data(ABSENT, nbd.ALLOCATION), b"x", meta_data(t.export) + b"x", bytes(70000)):
        with t.connect() as client:
            client.negotiate("structured")
            client.set_meta(t.export, *BOTH)
            client.refused(nbd.SET_META, bad)
            client.go(t.export)
            client.call(nbd.STATUS, 0, 4096, error=nbd.EINVAL)
