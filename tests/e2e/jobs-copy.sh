#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# `signpost copy` brings a disk to another server: the same bytes, holes stay holes, with a digest
# by which both copies back each other up at once. What is there already is a conflict, and a server
# with copies=off refuses.
. "$(dirname "$0")/functions.sh"

requires nbdkit nbdcopy nbdinfo jq qemu-img
mkdir -p "$tmp/beta" "$tmp/alpha" "$tmp/closed"
make_raw "$tmp/beta/web/vda.raw" 24M 3
truncate -s 203M "$tmp/beta/web/vda.raw"
make_qcow2 "$tmp/beta/q.qcow2" 9M 4
start_server beta "$tmp/beta"
# Too little to have hashed anything by itself; that it checks what it relays is no hindrance.
start_server alpha "$tmp/alpha" digest-rate=1K verify=require
start_server closed "$tmp/closed" copies=off
wait_published beta web/vda
wait_published beta q

# Nothing is changed by a rehearsal.
signpost copy web/vda --to alpha --dry-run | has '^would copy web/vda to alpha'
[ -z "$(signpost jobs -H)" ] || fail "a rehearsal put a job"

signpost copy web/vda --to alpha --json | jq -e '.state == "done" and .done == .size' ||
    fail "not done"
cmp "$tmp/beta/web/vda.raw" "$tmp/alpha/web/vda.raw"
[ "$(du -k "$tmp/alpha/web/vda.raw" | cut -f 1)" -lt 26000 ] || fail "the copy is not sparse"
signpost info web/vda --json | jq -e '.same_content == [["alpha", "beta"]]' ||
    fail "the copies do not back each other up"
same_bytes "$tmp/beta/web/vda.raw" "$(disk_uri alpha local:web/vda)"
[ -z "$(find "$tmp/alpha/.signpost" -type f)" ] || fail "something is left in .signpost"
[ "$(nbdinfo --size "$(disk_uri alpha digests:web/vda)")" = $((51 * 32)) ] ||
    fail "the copy's own pass has left no chunk digests"

# Other formats become what a guest sees of them.
signpost copy q --to alpha 2>&1 | has 'into a raw image'
[ -f "$tmp/alpha/q.raw" ]
qemu-img compare -f raw -F qcow2 "$tmp/alpha/q.raw" "$tmp/beta/q.qcow2"

# It is there already; there is no such server; a server that takes none.
status=0
signpost copy web/vda --to alpha 2>"$tmp/refused" || status=$?
[ "$status" = 8 ] || fail "status $status: $(cat "$tmp/refused")"
has 'alpha has a copy of web/vda already' <"$tmp/refused"
! signpost copy web/vda --to nobody 2>"$tmp/refused" || fail "copied to nobody"
has 'there is no server nobody' <"$tmp/refused"
! signpost copy web/vda --to closed >"$tmp/refused" 2>&1 || fail "copied to a closed server"
has 'takes no copies: .*copies=off' <"$tmp/refused"
[ ! -e "$tmp/closed/web" ] || fail "a closed server made something"

# A job that waits for a server that is away can be cancelled, by the beginning of its id.
kill_server closed
id=$(signpost copy q --to closed --detach 2>/dev/null)
signpost jobs "${id:0:12}" --json | jq -e '.state == "waiting" and .target == "closed"'
status=0
signpost copy q --to closed --detach 2>/dev/null || status=$?
[ "$status" = 8 ] || fail "a second job for the same: status $status"
signpost jobs cancel "${id:0:12}" | has '^cancelled: copy q to closed'
signpost jobs -H -o id,state | has "^${id}[[:space:]]cancelled$"
