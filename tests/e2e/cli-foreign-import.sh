#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# `servers add --foreign` imports what a plain nbdkit lists; done again, it brings the catalog up to
# date.
. "$(dirname "$0")/functions.sh"

requires nbdkit jq
make_raw "$tmp/vault/old.raw" 1M 1
make_raw "$tmp/vault/web01.qcow2" 2M 2
make_raw "$tmp/vault/plain" 512K 3
start_nbdkit vault -r file dir="$tmp/vault"

disks() {
    signpost ls --json | jq -c '[.[] | [.name, .size, .locations]]'
}

signpost servers add vault "${uri[vault]}" --foreign --site cellar
[ "$(disks)" = '[["old",1048576,1],["plain",524288,1],["web01",2097152,1]]' ] ||
    fail "imported: $(disks)"
location=$(signpost where old --json |
    jq -c '.locations[0] | [.server, .export, .format, .state, .read_only, .digest]')
[ "$location" = '["vault","old.raw","raw","ready",true,null]' ] || fail "location: $location"
[ "$(signpost servers -H -o name,kind,site)" = "$(printf 'vault\tforeign\tcellar')" ] ||
    fail "server: $(signpost servers)"

rm "$tmp/vault/plain"
make_raw "$tmp/vault/new.img" 1M 4
signpost servers add vault "${uri[vault]}" --foreign
[ "$(disks)" = '[["new",1048576,1],["old",1048576,1],["web01",2097152,1]]' ] ||
    fail "refreshed: $(disks)"
[ "$(signpost servers -H -o site)" = cellar ] || fail "the site is forgotten"

# Two exports that give one name are both left out, and said so.
make_raw "$tmp/vault/old.img" 1M 5
signpost servers add vault "${uri[vault]}" --foreign 2>"$tmp/err"
grep -qE 'old.(img|raw) and export old.(img|raw)' "$tmp/err" ||
    fail "no word of the two: $(cat "$tmp/err")"
[ "$(disks)" = '[["new",1048576,1],["web01",2097152,1]]' ] || fail "two of one name: $(disks)"
