#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Holes and data are where qemu-img finds them in the image: asked of its own server, and relayed.
. "$(dirname "$0")/functions.sh"

requires nbdkit nbdinfo qemu-img jq
make_raw "$tmp/beta/sparse.raw" 16M 9
make_qcow2 "$tmp/beta/thin.qcow2" 16M 10
start_server beta "$tmp/beta"
start_server alpha
wait_published beta sparse
wait_published beta thin

# Runs of "reads as zeros" or not, merged: START LENGTH ZERO.
merged() {
    jq -r '.[] | "\(.start // .offset) \(.length) \(.zero)"' |
        awk '$3 == kind { length_ += $2; next }
             NR > 1 { print start, length_, kind }
             { start = $1; length_ = $2; kind = $3 }
             END { print start, length_, kind }'
}
of_server() {
    nbdinfo --map --json "$1" | jq '[.[] | . + {zero: ((.type / 2 | floor) % 2 == 1)}]' | merged
}
for disk in sparse.raw thin.qcow2; do
    format=${disk##*.}
    qemu-img map -f "$format" --output=json "$tmp/beta/$disk" | merged >"$tmp/expected"
    [ "$(wc -l <"$tmp/expected")" -gt 10 ] || fail "no holes to look for in $disk"
    of_server "$(disk_uri beta "${disk%.*}")" | diff "$tmp/expected" - || fail "beta, $disk"
    of_server "$(disk_uri alpha "${disk%.*}")" | diff "$tmp/expected" - || fail "alpha, $disk"
done
