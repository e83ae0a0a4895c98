#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# ./run: the demonstration comes up, every command that it prints works as pasted, and Ctrl-C leaves
# neither a process nor a file behind.
. "$(dirname "$0")/functions.sh"

requires setpriv nbdinfo nbdcopy qemu-img mke2fs debugfs
[ "$BUILD_DIR" = "$SOURCE_DIR/build/release" ] || skip "./run builds in build/release"
mkdir "$tmp/temporary"

# As from a terminal: a process group of its own, to all of which Ctrl-C goes, and which takes it
# (the shell lets what it starts in the background ignore that).
as_from_terminal='import os, signal, sys
os.setsid()
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])'
TMPDIR=$tmp/temporary "$PYTHON" -c "$as_from_terminal" "$SOURCE_DIR/run" >"$tmp/screen" \
    2>"$tmp/run.log" &
leader=$!
cleanup_fn kill -KILL -- "-$leader"
is_ready() {
    kill -0 "$leader" || fail "./run ended: $(cat "$tmp/run.log")"
    grep -q '^Ctrl-C stops' "$tmp/screen"
}
wait_until -t 90 is_ready

grep '^    ' "$tmp/screen" >"$tmp/pasted"
[ "$(wc -l <"$tmp/pasted")" -ge 6 ] || fail "the screen prints too few commands"
while read -r line; do
    bash -eu -o pipefail -c "$line" >>"$tmp/output" 2>&1 </dev/null ||
        fail "$line: $(cat "$tmp/output")"
done <"$tmp/pasted"
for said in web01/vda 'This file was read from the disk of db01' same; do
    grep -q "$said" "$tmp/output" || fail "the commands do not show: $said"
done

demo=$(echo "$tmp"/temporary/signpost-demo.*)
kill -INT -- "-$leader"
has_ended() {
    ! pgrep --full "$demo"
}
wait_until has_ended
wait_until test ! -e "$demo"
[ -z "$(ls "$tmp/temporary")" ] || fail "left behind: $(ls "$tmp/temporary")"
