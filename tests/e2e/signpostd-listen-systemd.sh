#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A socket that systemd passes is served, by default and by its name; one of a name that was not
# passed is refused with one line.
. "$(dirname "$0")/functions.sh"

requires nbdinfo
make_raw "$tmp/repository/a.raw" 1M
activate() {
    LISTEN_FDNAMES=disks "$PYTHON" -B "$here/listen.py" "$tmp/port" "$SIGNPOSTD" \
        --catalog="$catalog" --server=alpha --repository="$tmp/repository" "$@"
}
for option in "" --listen=systemd --listen=systemd:disks; do
    # shellcheck disable=SC2086 # no option at all is the first case
    spawn alpha env LISTEN_FDNAMES=disks "$PYTHON" -B "$here/listen.py" "$tmp/port" "$SIGNPOSTD" \
        --pid-file="$tmp/alpha.pid" --catalog="$catalog" --server=alpha \
        --repository="$tmp/repository" $option
    same_bytes "nbd://127.0.0.1:$(cat "$tmp/port")/a" "$tmp/repository/a.raw"
    stop_server alpha
done
activate --listen=systemd:other 2>"$tmp/refusal" && fail "serves a socket that was not passed"
[ "$(wc -l <"$tmp/refusal")" = 1 ] || fail "not one line: $(cat "$tmp/refusal")"
grep -q 'systemd:other' "$tmp/refusal" || fail "$(cat "$tmp/refusal")"
