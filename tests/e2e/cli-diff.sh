#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# signpost diff says where two disks differ, as cmp does: by a server that holds both, by digests,
# or by reading them from two servers.
. "$(dirname "$0")/functions.sh"

requires virtnbdbackup qemu-img qemu-io nbdinfo jq cmp
mkdir -p "$tmp/alpha/web01" "$tmp/beta"
"$PYTHON" -B "$here/random_backups.py" --make "$tmp/alpha/web01"
mkdir "$tmp/raw"
mv "$tmp"/alpha/web01/*.raw "$tmp/raw"
make_raw "$tmp/alpha/base.raw" 12M 3
qemu-img create -q -f qcow2 -b base.raw -F raw "$tmp/alpha/over.qcow2"
qemu-io -f qcow2 -c "write -P 7 1M 4k" -c "write -P 8 5M 128k" "$tmp/alpha/over.qcow2" >/dev/null
qemu-img convert -O raw "$tmp/alpha/over.qcow2" "$tmp/beta/far.raw"
head -c 5000000 "$tmp/beta/far.raw" >"$tmp/beta/short.raw"
start_signpostd alpha digest-rate=1G "$tmp/alpha"
start_server beta digest-rate=1G "$tmp/beta" # by the plugin, too

# expect_ranges FILE FILE: what cmp says, in blocks of 4 KiB.
expected_ranges() {
    "$PYTHON" - "$1" "$2" <<'PYTHON'
import json, sys
one, other = (open(name, "rb").read() for name in sys.argv[1:])
both, block = min(len(one), len(other)), 4096
marks = [(at, min(at + block, both)) for at in range(0, both, block)
         if one[at:min(at + block, both)] != other[at:min(at + block, both)]]
if len(one) != len(other):
    marks.append((both, max(len(one), len(other))))
ranges = []
for begin, end in marks:
    if ranges and ranges[-1]["offset"] + ranges[-1]["length"] == begin:
        ranges[-1]["length"] += end - begin
    else:
        ranges.append({"offset": begin, "length": end - begin})
print(json.dumps(ranges))
PYTHON
}

# differ_as DISK DISK FILE FILE MOST: as the files do; at most MOST bytes of each are read.
differ_as() {
    local said
    said=$(signpost diff "$1" "$2" --json)
    [ "$(jq -c .ranges <<<"$said")" = "$(expected_ranges "$3" "$4" | jq -c .)" ] ||
        fail "$1 and $2: $said, and not $(expected_ranges "$3" "$4")"
    [ "$(jq .bytes_read <<<"$said")" -le "$5" ] || fail "$1 and $2: too much is read: $said"
    [ "$(jq '[.ranges[].length] | add // 0' <<<"$said")" = "$(jq .bytes_changed <<<"$said")" ]
}

points=(web01/vda@2026-11-20T02:00:00 web01/vda@2026-11-21T02:00:00 web01/vda@2026-11-22T02:00:00)
for disk in "${points[@]}" base over; do
    wait_published alpha "$disk"
done
for disk in far short; do
    wait_published beta "$disk"
done

# One server holds both: only what the increments have is read.
differ_as "${points[0]}" "${points[1]}" "$tmp/raw/1.raw" "$tmp/raw/2.raw" 600000
differ_as "${points[1]}" "${points[2]}" "$tmp/raw/2.raw" "$tmp/raw/3.raw" 600000
differ_as "${points[1]}" "${points[1]}" "$tmp/raw/2.raw" "$tmp/raw/2.raw" 0
differ_as over base "$tmp/beta/far.raw" "$tmp/alpha/base.raw" 262144

# Two servers; digests say that the chunk from 4 MiB on differs, and the last does not.
digested() {
    signpost info "$1" --json | jq -e '.locations[0].digest != null'
}
wait_until digested base
wait_until digested far
differ_as base far "$tmp/alpha/base.raw" "$tmp/beta/far.raw" 8388608
differ_as far over "$tmp/beta/far.raw" "$tmp/beta/far.raw" 0
differ_as short base "$tmp/beta/short.raw" "$tmp/alpha/base.raw" 5000000

# As text, and as a context for other programs.
signpost diff over base >"$tmp/out"
grep -Eq '^ +1048576 +4096$' "$tmp/out" || fail "$(cat "$tmp/out")"
grep -q 'over and base differ in .* of 12 MiB, in 2 ranges' "$tmp/out" || fail "$(cat "$tmp/out")"
[ "$(signpost diff over base -H | wc -l)" = 2 ]
[ "$(signpost diff base base)" = "base and base are equal" ]
nbdinfo --map=x-signpost:diff:base "$(disk_uri alpha over)" >"$tmp/map"
[ "$(awk '$3 == 1 { print $1, $2 }' "$tmp/map")" = $'1048576 65536\n5242880 131072' ] ||
    fail "$(cat "$tmp/map")"
# Not where the server does not hold both, or may not show one.
for other in far missing ../alpha; do
    ! nbdinfo --map="x-signpost:diff:$other" "$(disk_uri alpha over)" >/dev/null 2>&1 ||
        fail "compared with $other"
done
status=0
signpost diff over missing 2>"$tmp/err" || status=$?
[ "$status" = 3 ] || fail "status $status: $(cat "$tmp/err")"
stop_server beta
signpost diff far base 2>"$tmp/err" && fail "a server that is away was read" || status=$?
[ "$status" = 4 ] || fail "status $status: $(cat "$tmp/err")"
