#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Files come out of encrypted partitions, LUKS1 and LUKS2 with Argon2, through a relay, byte for
# byte: ext4 by the one reader, XFS by the other. Whoever has no passphrase, or another's, is told.

. "$(dirname "$0")/functions.sh"
. "$here/files.inc"
requires cryptsetup qemu-img mkfs.ext4 mkfs.xfs sfdisk

make_tree "$tmp/tree"
repository=$tmp/repository
mkdir -p "$repository"
printf 'correct horse' >"$tmp/key"
printf 'battery staple\n' >"$tmp/other"

# encrypt_1 FROM TO OPTIONS: LUKS1 by QEMU. It measures this machine, and gives up where that is too
# fast for its clock, or another program has the processor.
encrypt_1() {
    rm -f "$2"
    qemu-img convert -f raw -O luks --object "secret,id=key,file=$tmp/key" \
        -o "key-secret=key,iter-time=50,hash-alg=sha512,$3" "$1" "$2" 2>"$tmp/qemu-img.out"
}
# encrypt_2 FROM TO OPTION…: LUKS2 with Argon2, by cryptsetup, in place.
encrypt_2() {
    local from=$1 to=$2
    shift 2
    cp --sparse=always "$from" "$to"
    truncate -s +32M "$to"
    cryptsetup reencrypt --encrypt --type luks2 --reduce-device-size 32M --batch-mode \
        --pbkdf-memory 4096 --pbkdf-force-iterations 4 --key-file "$tmp/key" "$@" "$to" \
        >"$tmp/cryptsetup.out" 2>&1 || fail "$(cat "$tmp/cryptsetup.out")"
}

mkfs.ext4 -q -b 4096 -d "$tmp/tree" "$tmp/ext4.raw" 32M >"$tmp/mkfs.out" 2>&1
wait_until -t 40 encrypt_1 "$tmp/ext4.raw" "$repository/old.raw" cipher-mode=xts
wait_until -t 40 encrypt_1 "$tmp/ext4.raw" "$repository/older.raw" \
    cipher-alg=aes-128,cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha256
wait_until -t 40 encrypt_1 "$tmp/ext4.raw" "$repository/rare.raw" cipher-alg=serpent-256
encrypt_2 "$tmp/ext4.raw" "$repository/new.raw" --pbkdf argon2id --sector-size 512
encrypt_2 "$tmp/ext4.raw" "$tmp/4k.raw" --pbkdf argon2i --sector-size 4096
put_in_table "$repository/laptop.raw" gpt 2 "$tmp/4k.raw"
start_relay "$repository"
for disk in old older rare new laptop; do
    wait_published alpha "$disk"
done

unlocked() { # unlocked PLACE: all of it, by the passphrase
    rm -rf "$tmp/fetched"
    files get -r --key "$tmp/key" "$1" "$tmp/fetched"
    rm -rf "$tmp/fetched/lost+found"
    diff --recursive --no-dereference "$tmp/tree" "$tmp/fetched" || fail "$1"
}
for place in old:/ older:/ new:/ laptop:/ laptop:p2:/; do
    unlocked "$place"
done
files ls laptop: --key "$tmp/key" -H -o part,filesystem | tr '\t' ' ' | has '^p2 ext4$' ||
    fail "$(files ls laptop: --key "$tmp/key")"
# A passphrase may come from another program, and have a line end.
(cat "$tmp/key" && echo) >"$tmp/line"
files cat new:/etc/hosts --key <(cat "$tmp/line") | cmp - "$tmp/tree/etc/hosts"

refused() { # refused PATTERN ARGUMENT…: one line that says so
    local pattern=$1
    shift
    ! files cat "$@" >"$tmp/refused.out" 2>"$tmp/refused.err" || fail "$* can be read"
    grep -q "$pattern" "$tmp/refused.err" || fail "$*: $(cat "$tmp/refused.err")"
    [ "$(wc -l <"$tmp/refused.err")" = 1 ] || fail "$*: $(cat "$tmp/refused.err")"
    [ ! -s "$tmp/refused.out" ] || fail "$*: something came out"
}
refused 'is encrypted; give --key' new:/etc/hosts
refused 'no key slot is opened by this passphrase' new:/etc/hosts --key "$tmp/other"
refused 'No such file or directory' new:/etc/hosts --key "$tmp/nothing"
refused 'serpent-xts-plain64.*guestfish' rare:/etc/hosts --key "$tmp/key"

# A header that means harm: an answer or an error, and nothing of the process is left.
cp "$repository/new.raw" "$tmp/damaged.raw"
start_nbdkit damaged file "$tmp/damaged.raw"
for seed in {1..25}; do
    "$PYTHON" - "$repository/new.raw" "$tmp/damaged.raw" "$seed" <<'PYTHON'
import random, sys
choice = random.Random(int(sys.argv[3]))
with open(sys.argv[1], "rb") as image:
    head = bytearray(image.read(64 << 10))
for _ in range(choice.choice((1, 3, 40))):
    at = choice.randrange(6, choice.choice((600, 6000, len(head))))
    head[at] = choice.randrange(256)
with open(sys.argv[2], "r+b") as image:
    image.write(head)
PYTHON
    status=0
    timeout 60 "$SIGNPOST" files cat "${uri[damaged]}:/etc/hosts" --key "$tmp/key" \
        >"$tmp/damaged.out" 2>"$tmp/damaged.err" || status=$?
    case $status in
    0) cmp "$tmp/damaged.out" "$tmp/tree/etc/hosts" || fail "seed $seed: other bytes" ;;
    1 | 3) [ "$(wc -l <"$tmp/damaged.err")" = 1 ] || fail "seed $seed: $(cat "$tmp/damaged.err")" ;;
    *) fail "seed $seed: status $status: $(cat "$tmp/damaged.err")" ;;
    esac
done

# What lies within may be for GRUB: XFS.
requires_fuse
requires grub-mount grub-fstest
unshare --user --map-root-user true 2>/dev/null || skip "user namespaces are not usable here"
printf '%s\n' / '0 0' 'd--755 0 0' "data ---644 0 0 $tmp/tree/var/lib/app/data.db" '$' \
    >"$tmp/prototype"
truncate -s 320M "$tmp/xfs.raw"
mkfs.xfs -q -p "$tmp/prototype" "$tmp/xfs.raw" >"$tmp/mkfs.out" 2>&1
encrypt_2 "$tmp/xfs.raw" "$tmp/xfs.luks" --pbkdf argon2id --sector-size 512
put_in_table "$repository/redhat.raw" gpt 1 "$tmp/ext4.raw" "$tmp/xfs.luks"
wait_published alpha redhat
files cat redhat:p2:/data --key "$tmp/key" | cmp - "$tmp/tree/var/lib/app/data.db"
files cat redhat:/data --key "$tmp/key" | cmp - "$tmp/tree/var/lib/app/data.db"
refused 'key FILE opens the encrypted one' redhat:/data
