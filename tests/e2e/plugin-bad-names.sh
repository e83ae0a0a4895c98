#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Export names that are no disk names are refused, one by one, and the server goes on.
. "$(dirname "$0")/functions.sh"

requires nbdkit
make_raw "$tmp/repository/a.raw" 1M
echo secret >"$tmp/secret.raw"
ln -s ../secret.raw "$tmp/repository/link.raw"
mkfifo "$tmp/repository/fifo.raw"
start_server alpha "$tmp/repository"
"$PYTHON" - "${port[alpha]}" <<'PYTHON'
import sys
import nbd
for name in ("../secret", "/a", "a/", "a//b", "./a", "a/../a", "link", "fifo", "a\x01", "x" * 1025,
             "x" * 4096, "a:b", "local:", "local:local:a", "local:../secret", "%2e%2e/secret"):
    session = nbd.NBD()
    session.set_export_name(name)
    try:
        session.connect_tcp("127.0.0.1", sys.argv[1])
    except nbd.Error:
        continue
    sys.exit(f"{name!r} opens")
PYTHON
same_bytes "$(disk_uri alpha a)" "$tmp/repository/a.raw"
