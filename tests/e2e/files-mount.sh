#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# A disk's files in a directory: read-only, the same bytes, until it is unmounted or told to end.

. "$(dirname "$0")/functions.sh"
. "$here/files.inc"
requires_fuse
requires mkfs.ext4 fusermount3 diff

make_tree "$tmp/tree"
make_strange_names "$tmp/tree"
repository=$tmp/repository
make_ext4 "$repository/web.raw" "$tmp/tree" 64M
start_relay "$repository"
wait_published alpha web
mkdir "$tmp/there"
cleanup_fn fusermount3 -u -z "$tmp/there"

signpost mount web --server gate "$tmp/there" --background
diff --recursive --no-dereference --exclude=lost+found "$tmp/tree" "$tmp/there"
[ "$(stat --format=%a-%Y "$tmp/there/etc/shadow")" = 600-1700000000 ] || fail "attributes"
[ "$(readlink "$tmp/there/bin")" = usr/bin ] || fail "link"
! touch "$tmp/there/new" 2>/dev/null || fail "it can be written"
"$PYTHON" - "$tmp/there/sparse" "$tmp/tree/sparse" <<'PYTHON'
import random, sys
choice = random.Random(3)
with open(sys.argv[1], "rb", buffering=0) as here, open(sys.argv[2], "rb") as there:
    for _ in range(300):
        at, length = choice.randrange(9 << 20), choice.randrange(1, 100000)
        here.seek(at)
        there.seek(at)
        read = b""
        while len(read) < length and (part := here.read(length - len(read))):
            read += part
        assert read == there.read(length), (at, length)
PYTHON
fusermount3 -u "$tmp/there"

# In the foreground, until it is told.
signpost mount web:/ "$tmp/there" 2>/dev/null && fail "a path is no partition"
"$SIGNPOST" --catalog "$(catalog_url)" mount web "$tmp/there" 2>"$tmp/mount.log" &
mounted=$!
wait_until test -e "$tmp/there/etc/hosts"
kill -INT "$mounted"
wait "$mounted" || fail "status $?"
[ ! -e "$tmp/there/etc" ] || fail "it is still mounted"

# What cannot be mounted is said at once, in the background, too.
status=0
signpost mount nothing "$tmp/there" --background 2>"$tmp/nothing.err" || status=$?
[ "$status" = 3 ] || fail "status $status"
[ "$(wc -l <"$tmp/nothing.err")" = 1 ] || fail "$(cat "$tmp/nothing.err")"
