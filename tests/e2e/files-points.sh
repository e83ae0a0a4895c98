#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Files come out of every restore point of a virtnbdbackup set and of a qcow2 chain, through a
# relay, as they were then; and it is found in which of them one still is.

. "$(dirname "$0")/functions.sh"
. "$here/files.inc"
requires mkfs.ext4 debugfs qemu-img virtnbdbackup

make_tree "$tmp/tree"
make_ext4 "$tmp/day-0.raw" "$tmp/tree" 32M
change() { # change DAY: a day later, by what debugfs is told
    cp --sparse=always "$tmp/day-$(($1 - 1)).raw" "$tmp/day-$1.raw"
    debugfs -w "$tmp/day-$1.raw" >"$tmp/debugfs.out" 2>&1
}
echo "second" >"$tmp/version"
change 1 <<DEBUGFS
write $tmp/version etc/version
rm etc/nginx/nginx.conf
DEBUGFS
change 2 <<DEBUGFS
rm etc/version
rm var/lib/app/data.db
DEBUGFS
repository=$tmp/repository
mkdir -p "$repository/set" "$repository/chain"
"$PYTHON" -B "$here/random_backups.py" --of "$repository/set" "$tmp"/day-{0,1,2}.raw

# The chain, as snapshots of libvirt make it: each overlay has what changed since the one before.
chain=$repository/chain
qemu-img convert -f raw -O qcow2 "$tmp/day-0.raw" "$chain/vda.qcow2"
before=vda.qcow2
for day in 1 2; do
    qemu-img convert -f raw -O qcow2 -B "$chain/$before" -F qcow2 "$tmp/day-$day.raw" "$chain/.new"
    qemu-img rebase -q -u -f qcow2 -b "$before" -F qcow2 "$chain/.new"
    mv "$chain/.new" "$chain/vda.day$day"
    before=vda.day$day
done
touch -d 2026-11-20T02:00:00Z "$chain/vda.qcow2"
touch -d 2026-11-21T02:00:00Z "$chain/vda.day1"
start_relay "$repository"
for day in 20 21; do
    wait_published alpha "chain/vda@2026-11-${day}T02:00:00Z"
done
wait_published alpha chain/vda
for day in 20 21 22; do
    wait_published alpha "set/vda@2026-11-${day}T02:00:00"
done

same_tree set/vda@2026-11-20:/ "$tmp/tree"
same_tree chain/vda@2026-11-20:/ "$tmp/tree"
for disk in set/vda@2026-11-21 chain/vda@2026-11-21; do
    files cat "$disk:/etc/version" | cmp - "$tmp/version"
    files cat "$disk:/var/lib/app/data.db" | cmp - "$tmp/tree/var/lib/app/data.db"
done
# A bare name is the newest point.
files ls set/vda:/etc | cmp - <(printf '%s\n' climbs hosts nginx shadow)
found() { # found PLACE: the times of the points that have it; "now" for the disk itself
    files find --all-points "$1" -H -o disk | sed 's/^[^@]*$/now/; s/.*@//; s/T.*//' | xargs
}
found_is() { # found_is PLACE TIMES
    [ "$(found "$1")" = "$2" ] || fail "$1: $(found "$1")"
}
found_is set/vda:/etc/version 2026-11-21
found_is set/vda:/etc/nginx/nginx.conf 2026-11-20
found_is set/vda:/var/lib/app/data.db '2026-11-21 2026-11-20'
found_is set/vda:/etc/hosts '2026-11-22 2026-11-21 2026-11-20'
found_is chain/vda:/etc/version 2026-11-21
found_is chain/vda:/etc/nginx/nginx.conf 2026-11-20
found_is chain/vda:/etc/hosts 'now 2026-11-21 2026-11-20'
