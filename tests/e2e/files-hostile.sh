#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# File systems and file readers that mean harm: nothing leaves the destination, nothing hangs, and
# whatever happens is one clear error.

. "$(dirname "$0")/functions.sh"
. "$here/files.inc"
requires mkfs.ext4 debugfs

make_tree "$tmp/tree"
mkdir -p "$tmp/tree/sub/below"
echo evil >"$tmp/tree/sub/AA_climbed"
echo evil >"$tmp/tree/sub/AAAslash"
repository=$tmp/repository
make_ext4 "$repository/evil.raw" "$tmp/tree" 64M
debugfs -w "$repository/evil.raw" >"$tmp/debugfs.out" 2>&1 <<'DEBUGFS'
cd etc
mknod null c 1 3
mknod pipe p
cd /
set_inode_field usr/bin/tool mode 0106755
set_inode_field empty size 0x3fffffffffff0000
link sub sub/below/again
DEBUGFS
"$PYTHON" - "$repository/evil.raw" <<'PYTHON'
import sys
with open(sys.argv[1], "r+b") as image:
    content = image.read()
    for name, other in ((b"AA_climbed", b"../climbed"), (b"AAAslash", b"sub/lash")):
        at = content.index(name)
        image.seek(at)
        image.write(other)
PYTHON
start_relay "$repository"
wait_published alpha evil

# Everything that can be fetched is; the rest is said. Nothing climbs.
mkdir "$tmp/out"
! files get -r evil:/ "$tmp/out/all" 2>"$tmp/get.err" || fail "the loop was not noticed"
grep -q 'etc/null: a character-device is left out' "$tmp/get.err" || fail "$(cat "$tmp/get.err")"
grep -q 'etc/pipe: a fifo is left out' "$tmp/get.err" || fail "$(cat "$tmp/get.err")"
grep -q 'again: the directory lies in itself' "$tmp/get.err" || fail "$(cat "$tmp/get.err")"
# Of a size that no file has here.
grep -q 'empty: File too large' "$tmp/get.err" || fail "$(cat "$tmp/get.err")"
[ -z "$(find "$tmp/out" -name '*climbed*' -o -name lash -o -type c -o -type p)" ] ||
    fail "it climbed"
[ -z "$(find "$tmp" -name climbed)" ] || fail "../climbed was made"
cmp "$tmp/tree/var/lib/app/data.db" "$tmp/out/all/var/lib/app/data.db"
[ "$(stat --format=%a "$tmp/out/all/usr/bin/tool")" = 755 ] || fail "setuid came along"

# A link that lies in the destination is not gone through, and what is there is left alone.
mkdir "$tmp/victim" "$tmp/trap"
ln -s "$tmp/victim" "$tmp/trap/etc"
! files get -r --force evil:/etc "$tmp/trap" 2>"$tmp/trap.err" || fail "a link was gone through"
[ -z "$(ls -A "$tmp/victim")" ] || fail "it wrote into the victim"
echo mine >"$tmp/trap/hosts"
status=0
files get evil:/etc/hosts "$tmp/trap/" 2>"$tmp/exists.err" || status=$?
[ "$status" = 8 ] || fail "status $status; $(cat "$tmp/exists.err")"
[ "$(cat "$tmp/trap/hosts")" = mine ] || fail "it was replaced"
files get --force evil:/etc/hosts "$tmp/trap/"
cmp "$tmp/trap/hosts" "$tmp/tree/etc/hosts"

# On a terminal a name is one harmless line; elsewhere it is what it is.
files ls evil:/etc/nope 2>"$tmp/nope.err" && fail "found what is not there"
grep -q 'no such file: /etc/nope' "$tmp/nope.err" || fail "$(cat "$tmp/nope.err")"

# Damage of every kind: an answer or an error, within seconds, and no crash of the command.
for seed in {1..24}; do
    "$PYTHON" - "$repository/evil.raw" "$tmp/damaged-$seed.raw" "$seed" <<'PYTHON'
import random, sys
choice = random.Random(int(sys.argv[3]))
content = bytearray(open(sys.argv[1], "rb").read())
for _ in range(choice.choice((3, 60, 2000))):
    at = choice.randrange(0x400, choice.choice((2 << 20, 2 << 20, len(content))))
    content[at:at + 4] = choice.choice((choice.randbytes(4), b"\xff" * 4, b"\0" * 4))
open(sys.argv[2], "wb").write(content)
PYTHON
done
start_nbdkit damaged file dir="$tmp"
for seed in {1..24}; do
    status=0
    timeout 20 "$SIGNPOST" files get -r "${uri[damaged]}/damaged-$seed.raw:/" "$tmp/damaged-$seed" \
        2>"$tmp/damaged.err" >"$tmp/damaged.out" || status=$?
    case $status in
    0 | 1 | 3 | 8) ;;
    *) fail "seed $seed: status $status: $(tail -3 "$tmp/damaged.err")" ;;
    esac
    ! grep -q 'please report' "$tmp/damaged.err" || fail "seed $seed: $(cat "$tmp/damaged.err")"
    chmod -R u+rwx "$tmp/damaged-$seed" 2>/dev/null && rm -rf "$tmp/damaged-$seed"
done

# A reader that crashes, says nonsense, or says nothing at all and goes.
mkdir "$tmp/bin"
cp "$SIGNPOST" "$tmp/bin/signpost"
# shellcheck disable=SC2016 # for the shell in the script
for reader in 'kill -SEGV $$' 'head -c 1000000 /dev/urandom >&3' 'exit 0' \
    'printf "\377\377\377\377" >&3'; do
    printf '#!/bin/bash\n%s\n' "$reader" >"$tmp/bin/signpost-files"
    chmod +x "$tmp/bin/signpost-files"
    status=0
    timeout 20 "$tmp/bin/signpost" --catalog "$(catalog_url)" files cat --server gate \
        evil:/etc/hosts >"$tmp/crash.out" 2>"$tmp/crash.err" || status=$?
    [ "$status-$(wc -l <"$tmp/crash.err")" = 1-1 ] ||
        fail "$reader: status $status: $(cat "$tmp/crash.err")"
    [ ! -s "$tmp/crash.out" ] || fail "$reader: something came out"
done
