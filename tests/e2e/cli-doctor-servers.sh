#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# `doctor` names what is wrong with servers: none, stopped, hung, another one in its place, a port
# that somebody else has, an address that is never dialled, TLS on one side only, certificates
# of the wrong authority or name, drained, silent, and one that serves other disks than it holds.
. "$(dirname "$0")/functions.sh"
. "$here/doctor.inc"
. "$here/pki.inc"

requires nbdkit sqlite3
signpost catalog init
finds server warn 'no server is registered' 'signpost servers add'

make_raw "$tmp/alpha/web01.raw" 1M
start_signpostd alpha "$tmp/alpha"
wait_published alpha web01
finds_nothing --bytes
finds_nothing --server alpha

signpost servers drain alpha
finds draining warn 'being drained' 'drain alpha --off'
signpost servers drain alpha --off

# Hung: it accepts, and says nothing.
kill -STOP "${pid[alpha]}"
finds server fail 'no NBD greeting' 'it hangs'
kill -CONT "${pid[alpha]}"

# Another server, of other disks, answers at its address.
mkdir "$tmp/other"
start_nbdkit other -r file dir="$tmp/other"
stop_server alpha
finds server fail refused 'systemctl start signpostd'
finds disks fail web01 'where DISK --check'
# As if it had been silent for a while: now the name may be given to another address.
sqlite3 "$catalog" 'UPDATE server SET last_heartbeat = last_heartbeat - 60'
signpost servers add alpha "${uri[other]}"
finds identity warn 'not for a disk that it holds' 'is that server alpha'

# Something else has the port: it speaks another protocol.
"$PYTHON" -c '
import socket, sys, threading
listener = socket.create_server(("127.0.0.1", 0))
open(sys.argv[1] + ".new", "w").write(str(listener.getsockname()[1]))
import os; os.rename(sys.argv[1] + ".new", sys.argv[1])
while True:
    client, _ = listener.accept()
    client.sendall(b"220 mail.example ESMTP ready and waiting for you\r\n" * 8)
' "$tmp/mail.port" &
cleanup_fn kill $!
wait_until test -s "$tmp/mail.port"
signpost servers add alpha "nbd://127.0.0.1:$(cat "$tmp/mail.port")"
finds server fail magic 'something else has its port'

# An address where nobody is ever asked.
signpost servers add alpha nbd://127.0.0.1:99
finds server fail '127.0.0.1:99' ''
signpost servers rm alpha --yes

# TLS on one side only, and certificates that are not right.
make_authority "$tmp/ca"
make_certificate "$tmp/ca" "$tmp/tls" server localhost
make_certificate "$tmp/ca" "$tmp/tls" client doctor
start_nbdkit secret --tls=require --tls-certificates="$tmp/tls" -r file dir="$tmp/alpha"
signpost servers add secret "nbds://localhost:${port[secret]}" --foreign \
    --tls-certificates "$tmp/tls"
finds_nothing --tls-certificates "$tmp/tls"
finds server fail 'TLS server' '--tls-certificates'
make_authority "$tmp/stranger"
make_certificate "$tmp/stranger" "$tmp/stranger" client doctor
finds server fail certificate 'authority' --tls-certificates "$tmp/stranger"
signpost servers rm secret --yes
signpost scan "$tmp/alpha" --server secret --uri "nbd://localhost:${port[secret]}"
finds server fail TLS 'nbds://HOST'
signpost servers add secret "nbds://localhost:${port[other]}"
finds server fail TLS 'nbd://HOST' --tls-certificates "$tmp/tls"
