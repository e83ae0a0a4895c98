# SPDX-License-Identifier: BSD-3-Clause
"""Points 63 and 119 to 125: a server that requires TLS and its clients' certificates."""

import ssl
import struct

import nbd_talk as nbd
from conformance_target import BOTH, point
from nbd_talk import info_data, meta_data, option, require


@point("tls")
def p063_starttls_forgets(t):
    """What was negotiated before STARTTLS is not in force inside it."""
    with t.connect(tls=False) as client:
        for number in (nbd.STRUCTURED, nbd.EXTENDED):
            client.ask(number)
        client.start_tls()
        client.refused(nbd.SET_META, meta_data(t.export, *BOTH), codes=(nbd.INVALID,))
        client.go(t.export)
        require(not client.export.flags & nbd.CAN_DF, "structured replies are in force")
        require(client.read(0, 512) == t.image[:512], "wrong bytes")
        client.disconnect()


@point("tls")
def p063_plaintext_behind_starttls(t):
    """Plaintext that comes with STARTTLS is never taken for what comes inside TLS."""
    with t.connect(tls=False) as client:
        client.send(option(nbd.STARTTLS) + option(nbd.STRUCTURED))
        try:
            client.reply(nbd.STARTTLS)
            client.sock.settimeout(5)
            client.sock = t.tls_context().wrap_socket(client.sock)
        except (nbd.Closed, OSError):
            return
        client.refused(nbd.SET_META, meta_data(t.export, *BOTH), codes=(nbd.INVALID,))


@point("tls")
def p119_tls_is_required(t):
    """Before TLS: TLS_REQD to everything but STARTTLS and ABORT."""
    with t.connect(tls=False) as client:
        for number, data in ((nbd.LIST, b""), (nbd.INFO, info_data(t.export)),
                             (nbd.GO, info_data(t.export)), (nbd.GO, b"junk"),
                             (nbd.STRUCTURED, b""), (nbd.EXTENDED, b""), (99, b"data"),
                             (nbd.SET_META, meta_data(t.export)), (nbd.INFO, info_data("absent"))):
            client.refused(number, data, codes=(nbd.TLS_REQD,))
        client.ask(nbd.ABORT, expect=nbd.ACK)
        client.expect_end(within=5)


@point("tls")
def p120_export_name_before_tls(t):
    """EXPORT_NAME before TLS: the end, without a byte."""
    with t.connect(tls=False) as client:
        client.send(option(nbd.EXPORT_NAME, t.export.encode()))
        client.expect_end(within=5)


@point("tls")
def p121_second_starttls(t):
    """STARTTLS inside TLS: ERR_INVALID, and the session goes on."""
    with t.connect() as client:
        client.refused(nbd.STARTTLS, codes=(nbd.INVALID,))
        client.go(t.export)
        client.read(0, 512)


@point("tls")
def p122_no_tls_reqd_inside(t):
    """TLS_REQD never comes once TLS is up."""
    with t.connect() as client:
        for number, data in ((nbd.LIST, b""), (nbd.INFO, info_data("absent")), (99, b""),
                             (nbd.GO, b"junk"), (nbd.PEEK, b""), (nbd.STARTTLS, b"x")):
            kind, _ = client.ask(number, data)
            require(kind != nbd.TLS_REQD, f"TLS_REQD to option {number}")


def begin(t):
    client = t.connect(tls=False)
    client.ask(nbd.STARTTLS, expect=nbd.ACK)
    client.sock.settimeout(10)
    return client


def expect_alert_then_end(client):
    """At most an alert (a TLS record of type 21), then the end."""
    try:
        data = b""
        while len(data) < 4096:
            more = client.sock.recv(4096)
            if not more:
                break
            data += more
    except OSError:
        return
    require(not data or data[0] == 21, f"{data[:40]!r} after a failed handshake")


@point("tls")
def p123_failed_handshake_ends_it(t):
    """A TLS handshake that fails ends the session; nothing is served in plaintext after it."""
    plain = option(nbd.STRUCTURED) + option(nbd.GO, info_data(t.export))
    for junk in (plain, b"GET / HTTP/1.0\r\n\r\n", bytes(64), b"\x16\x03\x01\xff\xff" + bytes(300),
                 struct.pack(">BHH", 22, 0x301, 4) + b"\x01\0\0\0" + plain):
        with begin(t) as client:
            client.send(junk + bytes(70000))
            expect_alert_then_end(client)
    with begin(t) as client:
        client.vanish(reset=True)
    t.still_serves()


def is_served(t, context):
    """Whether a client with that context gets into the negotiation inside TLS."""
    with begin(t) as client:
        try:
            client.sock = context.wrap_socket(client.sock)
            client.ask(nbd.LIST)
            return True
        except (nbd.Closed, OSError):
            return False


@point("tls")
def p124_tls_1_2_at_least(t):
    """TLS 1.2 and 1.3 are served; 1.0 and 1.1 are not."""
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = t.tls_context()
        context.minimum_version = context.maximum_version = version
        require(is_served(t, context), f"{version} is not served")
    for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
        context = t.tls_context()
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
        require(not is_served(t, context), f"{version} is served")
    # The same, by hand: a ClientHello of TLS 1.1 with no hint of a later version.
    hello = b"\x03\x02" + bytes(32) + b"\0" + struct.pack(">HHH", 4, 0xC013, 0x002F) + b"\x01\0"
    body = b"\x01" + struct.pack(">I", len(hello))[1:] + hello
    with begin(t) as client:
        client.send(struct.pack(">BHH", 22, 0x301, len(body)) + body)
        expect_alert_then_end(client)


@point("tls")
def p125_client_certificate_is_enforced(t):
    """No certificate, or one of another authority: not served; nor in plaintext after."""
    require(is_served(t, t.tls_context()), "the right certificate is not served")
    require(not is_served(t, t.tls_context(certificate="none")), "served without a certificate")
    require(not is_served(t, t.tls_context(certificate=t.stranger)), "a stranger is served")
    t.still_serves()
