#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# `drill` boots a disk that another server holds, sees its sign of life, takes a picture, and keeps
# the history; the disk does not change. A disk with nothing on it is dead, and soon so. `boot` says
# how to boot it for good.
. "$(dirname "$0")/functions.sh"
. "$here/libvirt.inc"

requires qemu-system-x86_64 jq
mkdir -p "$tmp/vault" "$STATE_DIRECTORY"
guest_image "$tmp/vault/web01.raw" 1
truncate -s 64M "$tmp/vault/empty.raw"
sha256sum "$tmp/vault/web01.raw" >"$tmp/sums"
start_signpostd vault "$tmp/vault"
wait_published vault web01
wait_published vault empty
export TMPDIR=$tmp/scratch
mkdir "$TMPDIR"

# The guest's own word, on its serial console, is its sign of life.
signpost drill web01 --expect 'GUEST sums' --sign serial --memory 256 --timeout 240 --accel tcg \
    --json >"$tmp/out" || fail "status $?: $(cat "$tmp/out")"
jq -e '.[0] | .disk == "web01" and .result == "alive" and .sign == "serial" and .accel == "tcg" and
    .seconds > 0' "$tmp/out" >/dev/null || fail "$(cat "$tmp/out")"
picture=$(jq -r '.[0].screenshot' "$tmp/out")
[ "$(head -c 4 "$picture" | tail -c 3)" = PNG ] || fail "$picture is no picture"
sha256sum --check --quiet "$tmp/sums"
[ -z "$(ls -A "$TMPDIR")" ] || fail "left behind: $(ls -A "$TMPDIR")"

# Nothing to boot: the machine gives up by itself, before the time is up.
status=0
signpost drill empty --memory 256 --timeout 240 --accel tcg >"$tmp/out" || status=$?
[ "$status" = 6 ] || fail "status $status: $(cat "$tmp/out")"
grep -q '^DEAD *empty' "$tmp/out" || fail "$(cat "$tmp/out")"

# Both are in the history; so is a disk that nobody has any more.
signpost drill --history --json >"$tmp/out"
[ "$(jq -r '.[] | "\(.disk) \(.result)"' "$tmp/out" | tr '\n' ' ')" = 'web01 alive empty dead ' ] ||
    fail "$(cat "$tmp/out")"
[ "$(signpost drill --history web01 | wc -l)" = 1 ] || fail "$(signpost drill --history web01)"
[ "$(wc -l <"$STATE_DIRECTORY/drills.jsonl")" = 2 ] || fail "$(cat "$STATE_DIRECTORY/drills.jsonl")"
echo 'no record' >>"$STATE_DIRECTORY/drills.jsonl"
[ "$(signpost drill --history --json=lines | wc -l)" = 2 ] || fail "a line that is no record counts"

# What is to be done by hand is what works.
signpost boot web01 --vm again --cow "$tmp" --accel tcg >"$tmp/commands"
bash -c "$(head -n 1 "$tmp/commands")"
qemu-img info --backing-chain "$tmp/again.qcow2" >"$tmp/out"
grep -qF "backing file: ${uri[vault]}/web01" "$tmp/out" || fail "$(cat "$tmp/out")"
tail -n 1 "$tmp/commands" | grep -q "^qemu-system-x86_64 .*$tmp/again.qcow2" ||
    fail "$(cat "$tmp/commands")"
signpost boot web01 --vm again --cow "$tmp" --print-xml >"$tmp/again.xml"
! command -v virt-xml-validate >/dev/null || virt-xml-validate "$tmp/again.xml" domain

stop_server vault
status=0
signpost drill web01 >"$tmp/out" || status=$?
[ "$status" = 6 ] || fail "status $status: $(cat "$tmp/out")"
grep -q 'DEAD *web01 .*cannot be had' "$tmp/out" || fail "$(cat "$tmp/out")"
