#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Without writable=true nothing can be written: not here, not through a relay, not by a client that
# ignores what it was told.
. "$(dirname "$0")/functions.sh"

requires nbdkit
make_raw "$tmp/beta/a.raw" 1M 1
start_server beta writable=true "$tmp/beta"
start_server alpha
start_server gamma "$tmp/beta"
wait_published beta a
cp "$tmp/beta/a.raw" "$tmp/expected.raw"
for server in alpha gamma; do
    "$PYTHON" - "$(disk_uri "$server" a)" <<'PYTHON' || fail "$server lets clients write"
import errno
import sys
import nbd
session = nbd.NBD()
session.set_strict_mode(0)  # or the library itself would refuse
session.connect_uri(sys.argv[1])
assert session.is_read_only()
for change in (lambda: session.pwrite(b"x" * 512, 0), lambda: session.zero(512, 0),
               lambda: session.trim(512, 0)):
    try:
        change()
    except nbd.Error as error:
        assert error.errnum in (errno.EPERM, errno.EROFS, errno.EINVAL), error.string
    else:
        sys.exit("a change went through")
PYTHON
done
cmp "$tmp/beta/a.raw" "$tmp/expected.raw"
