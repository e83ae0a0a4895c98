#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What does not belong at the console's door is refused there, and held up for no longer than said.
# shellcheck source=tests/e2e/functions.sh
. "$(dirname "$0")/functions.sh"
# shellcheck source=tests/e2e/http.inc
. "$here/http.inc"

make_raw "$tmp/repo/vda.raw" 1M
start_console alpha --repository="$tmp/repo" --uri=nbd://127.0.0.1 --http-host=console.example
wait_published alpha vda

# Another site's name that leads here.
expect_status 421 /api/v1/disks -H "Host: evil.example"
expect_status 421 / -H "Host: evil.example:8080"
expect_status 400 / -H "Host:"
expect_status 200 /api/v1/disks -H "Host: console.example:443"
expect_status 200 /api/v1/disks -H "Host: localhost"
expect_status 200 /api/v1/disks -H "Host: [::1]:80"
expect_status 403 /api/v1/disks -H "Sec-Fetch-Site: cross-site"

# Only GET and HEAD.
for method in POST PUT DELETE PATCH OPTIONS TRACE; do
    expect_status 405 /api/v1/disks -X "$method"
done
expect_status 405 "/api/v1/sessions/kill?id=1" -X POST
expect_status 404 "/api/v1/sessions/kill?id=1"
expect_status 200 /api/v1/disks --head

# Nothing but what there is.
expect_status 404 /../../etc/passwd --path-as-is
expect_status 404 /%2e%2e/%2e%2e/etc/passwd --path-as-is
expect_status 404 /api/v1/
expect_status 400 /api/v1/disks%00
expect_status 400 "/api/v1/disks?find=$(printf 'x%.0s' {1..9000})"
large=$(status_of / -H "X-Large: $(printf 'x%.0s' {1..60000})" || true)
[ "$large" = 431 ] || [ "$large" = 413 ] || [ "$large" = 000 ] || fail "a large head: $large"

# What browsers are told.
headers=$(api / --head)
for header in "Content-Security-Policy: default-src 'none'" "X-Content-Type-Options: nosniff" \
    "Referrer-Policy: no-referrer" "X-Frame-Options: DENY" "Cache-Control: no-store"; do
    has -i "^$header" <<<"$headers" || fail "no header $header: $headers"
done
! has -i "unsafe" <<<"$headers" || fail "the policy allows inline scripts: $headers"

# One who says a word now and then does not keep his place; others are served meanwhile.
"$PYTHON" - "$console" <<'PYTHON'
import select, socket, sys, time, urllib.parse
address = urllib.parse.urlsplit(sys.argv[1])
slow = [socket.create_connection((address.hostname, address.port)) for _ in range(8)]
began = time.monotonic()
for one in slow:
    one.sendall(b"GET /api/v1/disks HTTP/1.1\r\nHost: localhost\r\n")
open_ones = set(slow)
while open_ones:
    if time.monotonic() - began > 40:
        sys.exit("FAIL: %d slow clients are still there after 40 s" % len(open_ones))
    ready, _, _ = select.select(open_ones, [], [], 1)
    for one in ready:
        try:
            ended = one.recv(100) == b""
        except ConnectionResetError:
            ended = True
        if ended:
            open_ones.discard(one)
    for one in list(open_ones):
        try:
            one.sendall(b"X")
        except OSError:
            open_ones.discard(one)
PYTHON
expect_status 200 /api/v1/disks

# No more from one address than have room; with these gone others come in again.
"$PYTHON" - "$console" <<'PYTHON'
import socket, sys, urllib.parse
address = urllib.parse.urlsplit(sys.argv[1])
many = [socket.create_connection((address.hostname, address.port)) for _ in range(100)]
refused = 0
for one in many:
    one.settimeout(5)
    try:
        one.sendall(b"GET /api/v1/disks HTTP/1.1\r\nHost: localhost\r\n\r\n")
        refused += one.recv(100) == b""
    except OSError:
        refused += 1
# 16 have room at a time; on a busy machine the first have gone before the last are looked at.
if refused < 50:
    sys.exit("FAIL: only %d of 100 connections of one address were refused" % refused)
PYTHON
wait_until api /api/v1/disks
