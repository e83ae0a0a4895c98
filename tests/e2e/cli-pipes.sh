#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Pipes and files: a reader that leaves ends the command quietly, a full disk is reported, there is
# no colour, and -H gives tabs.
. "$(dirname "$0")/functions.sh"

requires jq
mkdir "$tmp/repo"
for ((i = 0; i < 3000; i++)); do
    : >"$tmp/repo/disk-with-a-rather-long-name-$i.raw"
done
truncate -s 1M "$tmp"/repo/*
signpost scan "$tmp/repo" --server alpha --uri nbd://127.0.0.1

set +o pipefail
signpost ls 2>"$tmp/err" | head -n 1 | has '^DISK' || fail "no header"
set -o pipefail
[ ! -s "$tmp/err" ] || fail "a reader that left is reported: $(cat "$tmp/err")"
signpost ls >/dev/full 2>"$tmp/err" && fail "a full disk is no error"
grep -q 'No space left' "$tmp/err" || fail "$(cat "$tmp/err")"

[ "$(signpost ls -H | wc -l)" = 3000 ] || fail "not all disks"
[ "$(signpost ls --json | jq length)" = 3000 ] || fail "not all disks in JSON"
[ "$(signpost ls --json=lines | jq -s length)" = 3000 ] || fail "not all disks in lines"
[ "$(signpost ls --limit 7 -H -o disk,size --bytes | cut -f 2 | uniq -c | tr -s ' ')" = \
    " 7 1048576" ] || fail "limit: $(signpost ls --limit 7 -H -o disk,size --bytes)"
[ "$(signpost ls '*-name-29?' -H | wc -l)" = 10 ] || fail "pattern"
[ "$(signpost ls disk-with-a-rather-long-name-29 -H | wc -l)" = 111 ] || fail "prefix"
[ "$(signpost find NAME-2999 -H -o disk)" = disk-with-a-rather-long-name-2999 ] || fail "find"
signpost ls --limit 3 | has $'\x1b' && fail "colour in a pipe"
signpost ls --limit 3 --color always | has $'\x1b' || fail "no colour when told"
exit 0
