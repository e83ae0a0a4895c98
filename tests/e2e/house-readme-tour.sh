#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The README's tour works as it is printed, every command of it; only its ports and its directory
# are replaced by free ones.
. "$(dirname "$0")/functions.sh"

requires nbdkit nbdinfo nbdcopy qemu-img mke2fs debugfs
[ -x "$SOURCE_DIR/build/release/cli/signpost" ] || skip "the tour uses build/release"

awk '/^```sh tour$/ { inside = 1; next } /^```$/ { inside = 0 } inside' "$SOURCE_DIR/README.md" \
    >"$tmp/tour.printed"
[ "$(wc -l <"$tmp/tour.printed")" -gt 20 ] || fail "the README has no tour"

replacements=(-e "s|/tmp/tour|$tmp/tour|g")
for printed in 10811 10812 10813 10814; do
    replacements+=(-e "s|\b$printed\b|$(free_port)|g")
done
sed "${replacements[@]}" "$tmp/tour.printed" >"$tmp/tour.sh"
if grep -E '\b108[0-9]{2}\b' "$tmp/tour.sh"; then
    fail "the tour uses a port that this test does not know"
fi
end_tour() {
    local file
    for file in "$tmp"/tour/*.pid; do
        kill -KILL "$(cat "$file")"
    done
}
cleanup_fn end_tour

cd "$SOURCE_DIR"
# Through a pipe, as to a terminal: nbdcopy would overwrite a file that it has as its output.
timeout 90 bash -eu -o pipefail "$tmp/tour.sh" > >(cat >"$tmp/tour.log") 2>&1 ||
    fail "the tour stops"
for said in 'db01/vda' 'hello from db01' 'web01/vda@2026-11-20' same; do
    wait_until grep "$said" "$tmp/tour.log"
done
[ ! -e "$tmp/tour" ] || fail "the tour leaves something behind"
