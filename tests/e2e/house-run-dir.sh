#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# ./run DIR serves the images below DIR, read-only; wrong arguments are refused in one
# line, with status 2.
. "$(dirname "$0")/functions.sh"

requires nbdcopy nbdinfo
[ "$BUILD_DIR" = "$SOURCE_DIR/build/release" ] || skip "./run builds in build/release"
make_raw "$tmp/images/web01/vda.raw" 4M
at=$(free_port)

"$SOURCE_DIR/run" --port "$at" --catalog "sqlite:$catalog" "$tmp/images" >"$tmp/run.log" 2>&1 &
served=$!
cleanup_fn kill -KILL "$served"
wait_until -t 60 nbdinfo --size "nbd://127.0.0.1:$at/web01/vda"
same_bytes "nbd://127.0.0.1:$at/web01/vda" "$tmp/images/web01/vda.raw"
nbdinfo --is read-only "nbd://127.0.0.1:$at/web01/vda" || fail "served writable"
kill -INT "$served"
has_ended() {
    ! kill -0 "$served"
}
wait_until has_ended

refuses() {
    local status=0
    "$SOURCE_DIR/run" "$@" >"$tmp/out" 2>"$tmp/err" || status=$?
    [ "$status" = 2 ] || fail "run $*: status $status"
    [ "$(wc -l <"$tmp/err")" = 1 ] || fail "run $*: not one line: $(cat "$tmp/err")"
}
refuses --port 0 "$tmp/images"
refuses --port 65536 "$tmp/images"
refuses --port
refuses --port 10809
refuses --unknown
