#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# SIGHUP: new sessions get the new certificate, an open one goes on. When the files cannot be read,
# the old ones stay.
. "$(dirname "$0")/pki.inc"

requires openssl
make_raw "$tmp/repository/a.raw" 4M 1
make_authority "$tmp/ca"
make_certificate "$tmp/ca" "$tmp/pki" server old.example
make_certificate "$tmp/ca" "$tmp/client" client vm1.example
signpostd_options=(--tls-certificates="$tmp/pki" --peer-tls=off)
start_server alpha "$tmp/repository"
address="nbds://127.0.0.1:${port[alpha]}/a?tls-certificates=$tmp/client"
open_session "$address"
expect_read 0 65536 "$tmp/repository/a.raw"

# The common name that the server shows now: NBD's greeting, STARTTLS, and openssl's client behind.
shown_name() {
    "$PYTHON" -B - "${port[alpha]}" <<'PYTHON'
import socket
import ssl
import struct
import subprocess
import sys

plain = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
plain.recv(18, socket.MSG_WAITALL)
plain.sendall(struct.pack(">I", 3) + b"IHAVEOPT" + struct.pack(">II", 5, 0))
plain.recv(20, socket.MSG_WAITALL)
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
certificate = context.wrap_socket(plain).getpeercert(binary_form=True)
print(subprocess.run(["openssl", "x509", "-inform", "DER", "-noout", "-subject"],
                     input=certificate, check=True, capture_output=True).stdout.decode())
PYTHON
}
reloaded() {
    [ "$(grep -c 'read again' "$tmp/alpha.log")" = "$1" ]
}
shown_name | has old.example || fail "the test is wrong: $(shown_name)"
make_certificate "$tmp/ca" "$tmp/pki" server new.example
kill -HUP "${pid[alpha]}"
wait_until reloaded 1
shown_name | has new.example || fail "still the old certificate: $(shown_name)"
expect_read 1048576 65536 "$tmp/repository/a.raw"

echo nonsense >"$tmp/pki/server-cert.pem"
kill -HUP "${pid[alpha]}"
wait_until grep -q 'not reloaded' "$tmp/alpha.log"
grep 'not reloaded' "$tmp/alpha.log" | has 'server-cert.pem' || fail "the file is not named"
shown_name | has new.example || fail "the certificate is lost: $(shown_name)"
expect_read 2097152 65536 "$tmp/repository/a.raw"
