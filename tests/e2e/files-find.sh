#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Which backup still holds it? Files are found by name, pattern and path, on one disk or all restore
# points of it; deleted ones, too; and a directory comes as a tar archive that tar takes.

. "$(dirname "$0")/functions.sh"
. "$here/files.inc"
requires mkfs.ext4 mkfs.vfat mcopy mdel tar jq diff

make_tree "$tmp/tree"
make_strange_names "$tmp/tree"
repository=$tmp/repository
for day in 18 19 20; do
    echo "day $day" >"$tmp/tree/etc/version"
    [ "$day" != 20 ] || rm "$tmp/tree/etc/hosts"
    make_ext4 "$repository/web/vda@2026-11-${day}T02:00.raw" "$tmp/tree" 32M
done
truncate -s 16M "$repository/stick.raw"
mkfs.vfat "$repository/stick.raw" >"$tmp/mkfs.out"
mcopy -i "$repository/stick.raw" "$tmp/tree/var/lib/app/data.db" "$tmp/tree/etc/version" ::/
mdel -i "$repository/stick.raw" ::/data.db
start_relay "$repository"
for day in 18 19 20; do
    wait_published alpha "web/vda@2026-11-${day}T02:00"
done
wait_published alpha stick

points=$(files find --all-points web/vda:/etc/hosts -H -o disk)
[ "$points" = "web/vda@2026-11-19T02:00
web/vda@2026-11-18T02:00" ] || fail "$points"
[ "$(files cat web/vda@2026-11-19T02:00:/etc/version)" = 'day 19' ] || fail "another day"
status=0
files find --all-points web/vda:/etc/nothing || status=$?
[ "$status" = 3 ] || fail "status $status"

last=web/vda@2026-11-20T02:00
[ "$(files find "$last:/etc" '*.conf' -H -o name)" = /etc/nginx/nginx.conf ] || fail "by name"
[ "$(files find "$last:/etc/*/nginx.c???" -H -o name)" = /etc/nginx/nginx.conf ] || fail "by path"
[ "$(files find "$last:/var" data.db --json | jq -r '.[0] | .size, .type' | xargs)" = \
    "$(stat --format=%s "$tmp/tree/var/lib/app/data.db") file" ] || fail "JSON"
files ls -R "$last:/var" | cmp - <(cd "$tmp/tree" && find /var /var -maxdepth 0 -quit
    printf '%s\n' /var/lib /var/lib/app /var/lib/app/data.db)

# A name that is nearly right is answered with the right one.
! files cat "$last:/etc/versoin" 2>"$tmp/near.err" || fail "found"
grep -q 'there is version' "$tmp/near.err" || fail "$(cat "$tmp/near.err")"

mkdir "$tmp/untarred"
files get --tar "$last:/" | tar -C "$tmp/untarred" -xf - 2>"$tmp/tar.err"
diff --recursive --no-dereference --exclude=lost+found "$tmp/tree" "$tmp/untarred"
[ "$(stat --format=%b "$tmp/untarred/sparse")" -lt 1000 ] || fail "the holes were filled"

# What was deleted from FAT is there until it is written over; only with --deleted.
! files ls stick:/ | has data.db || fail "a deleted file is listed"
files ls stick:/ --deleted | has -i 'ata.db (deleted)' || fail "$(files ls stick:/ --deleted)"
name=$(files ls stick:/ --deleted --json | jq -r '.[] | select(.deleted) | .path')
files get --deleted "stick:/$name" "$tmp/undeleted"
cmp "$tmp/undeleted" "$tmp/tree/var/lib/app/data.db"
