#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A repository full of traps: what leads out of it, is no file, or names other files in its header
# is neither listed nor served; the good image beside it is. Nothing hangs.
. "$(dirname "$0")/functions.sh"

requires nbdkit nbdinfo nbdcopy qemu-img jq
trap_directory=$tmp/alpha
mkdir -p "$trap_directory"
make_raw "$trap_directory/good.raw" 1M 1
make_raw "$tmp/secret.raw" 1M 2

ln -s "$tmp/secret.raw" "$trap_directory/link-out.raw"
ln -s ../secret.raw "$trap_directory/link-up.raw"
ln -s /proc/self/fd "$trap_directory/magic"
ln -s . "$trap_directory/loop"
ln "$trap_directory/good.raw" "$tmp/outside.raw"
mkfifo "$trap_directory/fifo.raw"
[ "$(id -u)" != 0 ] || mknod "$trap_directory/zero.raw" c 1 5
mkdir "$trap_directory/directory.raw"
printf 'x' >"$trap_directory/"$'new\nline.raw'
printf 'x' >"$trap_directory/colon:first.raw"
printf 'x' >"$trap_directory/"$'not-utf8-\xff.raw'
cd "$trap_directory"
qemu-img create -q -f qcow2 -u -b "$tmp/secret.raw" -F raw backing-absolute.qcow2 1M
qemu-img create -q -f qcow2 -u -b ../secret.raw -F raw backing-up.qcow2 1M
qemu-img create -q -f qcow2 -u -b 'json:{"driver":"file","filename":"/etc/passwd"}' \
    -F raw backing-json.qcow2 1M
qemu-img create -q -f qcow2 -u -b nbd://127.0.0.1:9/x -F raw backing-nbd.qcow2 1M
qemu-img create -q -f qcow2 -o "data_file=$tmp/data,data_file_raw=on" data-file.qcow2 1M
head -c 4096 /dev/urandom >garbage.qcow2
: >empty.qcow2
{ printf 'QFI\373\0\0\0\3'; head -c 96 /dev/zero | tr '\0' '\377'; } >huge-numbers.qcow2
cd "$tmp"

start_server alpha "$trap_directory"
wait_published alpha good
nbdinfo --list --json "${uri[alpha]}" | jq -r '.exports[]["export-name"]' >"$tmp/list"
[ "$(cat "$tmp/list")" = good ] || fail "listed: $(cat "$tmp/list")"
same_bytes "$(disk_uri alpha good)" "$trap_directory/good.raw"
for name in link-out link-up magic/0 fifo zero directory colon:first backing-absolute \
    backing-up backing-json backing-nbd data-file garbage empty huge-numbers ../secret \
    %2e%2e/secret /secret good/; do
    status=0
    timeout 10 nbdinfo --size "$(disk_uri alpha "$name")" >"$tmp/size" 2>/dev/null || status=$?
    [ "$status" != 0 ] || fail "$name is served, $(cat "$tmp/size") bytes"
    [ "$status" != 124 ] || fail "opening $name hangs"
done
for word in link-out.raw fifo.raw backing-absolute.qcow2 data-file.qcow2 garbage.qcow2; do
    grep -q "$word" "$tmp/alpha.log" || fail "the log does not say why $word is refused"
done
kill -0 "${pid[alpha]}" || fail "the server is gone"
same_bytes "$(disk_uri alpha good)" "$trap_directory/good.raw"
