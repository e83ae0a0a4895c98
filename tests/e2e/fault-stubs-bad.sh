#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Stubs that are damaged, from a newer release, another server's, or full of hostile rows, and a
# state directory that is full or none: one line each, and own disks are served. No row leads
# anywhere that it must not.
. "$(dirname "$0")/stubs.inc"

requires nbdkit
make_raw "$tmp/beta/a.raw" 1M 1
make_raw "$tmp/alpha/own.raw" 1M 2
mkdir "$tmp/catalog"
catalog=$tmp/catalog/catalog.db
start_server beta "$tmp/beta"
start_server alpha "$tmp/alpha"
wait_published beta a
wait_known alpha a
kill_server alpha
mv "$tmp/catalog" "$tmp/away"
stubs=$STATE_DIRECTORY/alpha
cp -r "$stubs" "$tmp/good"

# start_with NAME: alpha again, without its catalog; what it says goes to $tmp/alpha.log.
start_with() {
    : >"$tmp/alpha.log"
    restart_server alpha
    same_bytes "$(disk_uri alpha own)" "$tmp/alpha/own.raw"
}
says() {
    has "$1" <"$tmp/alpha.log" || fail "it does not say: $1"
}
put_back() {
    kill_server alpha
    rm -rf "$stubs"
    cp -r "$tmp/good" "$stubs"
}

start_with
same_bytes "$(disk_uri alpha a)" "$tmp/beta/a.raw"

put_back # rows that lead elsewhere, or nowhere
sqlite3 "$stubs/stubs.db" "
    UPDATE server_uri SET uri = 'nbd+exec:///?command=touch $tmp/bad' WHERE server_id =
        (SELECT id FROM server WHERE name = 'beta');
    INSERT INTO disk (name) VALUES ('../../etc/passwd');
    UPDATE server SET name = char(27) || '[31m' WHERE name = 'alpha';"
start_with
cannot_read "$(disk_uri alpha a)" 2000
[ ! -e "$tmp/bad" ] || fail "a row has run a program"

put_back # a size that is not beta's
sqlite3 "$stubs/stubs.db" "UPDATE location SET size = 4096"
start_with
cannot_read "$(disk_uri alpha a)" 2000

put_back
dd if=/dev/urandom of="$stubs/stubs.db" bs=4K count=4 conv=notrunc status=none
rm -f "$stubs"/stubs.db-*
start_with
says 'are not used, and moved to'
cannot_read "$(disk_uri alpha a)" 2000

put_back
sqlite3 "$stubs/stubs.db" 'PRAGMA user_version = 999'
start_with
says 'newer release'
[ "$(sqlite3 -readonly "$stubs/stubs.db" 'PRAGMA user_version')" = 999 ] || fail "it was changed"

put_back
sed -i 's/"alpha"/"gamma"/' "$stubs/stubs.json"
start_with
says "they are server gamma's"
cannot_read "$(disk_uri alpha a)" 2000

put_back
rm -rf "$stubs"
touch "$stubs"
start_with
says 'is kept for when it is away'

if [ "$(id -u)" = 0 ] && mount --bind "$tmp/good" "$tmp/good" 2>/dev/null; then
    cleanup_fn umount --lazy "$tmp/good"
    mount -o remount,ro,bind "$tmp/good" # what is there is used, although nothing can be added
    kill_server alpha
    rm "$stubs"
    ln -s "$tmp/good" "$stubs"
    start_with
    same_bytes "$(disk_uri alpha a)" "$tmp/beta/a.raw"
fi
