#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# `signpost sessions` shows the clients of a server that runs here, and ends one; others may not.
# shellcheck source=tests/e2e/functions.sh
. "$(dirname "$0")/functions.sh"
requires jq

make_raw "$tmp/repo/web01/vda.raw" 4M
status=0
signpost sessions 2>"$tmp/none" || status=$?
[ "$status" = 4 ] || fail "without a server: exit status $status"
has "systemctl start" <"$tmp/none" || fail "no next step: $(cat "$tmp/none")"

spawn_signpostd alpha --listen=127.0.0.1:0 --repository="$tmp/repo"
address=nbd://127.0.0.1:$(free_port_of alpha 127.0.0.1)
[ "$(stat -c %a "$STATE_DIRECTORY/alpha/control")" = 600 ] || fail "others may open the socket"
signpost sessions --json | jq -e '.server == "alpha" and .sessions == []' >/dev/null

open_session "$address/web01/vda"
expect_read 0 1048576 "$tmp/repo/web01/vda.raw"
signpost sessions -H -o disk,route | has -P '^web01/vda\tlocal$' || fail "$(signpost sessions)"
id=$(signpost sessions -H -o id)
signpost sessions --watch -H -o id | head -n 2 >"$tmp/watched"
[ "$(sort -u "$tmp/watched")" = "$id" ] || fail "watched: $(cat "$tmp/watched")"

signpost sessions kill "$id" --dry-run | has "would be ended"
expect_read 65536 4096 "$tmp/repo/web01/vda.raw"
status=0
signpost sessions kill 4711 2>"$tmp/none" || status=$?
[ "$status" = 3 ] || fail "ended a session that there is not: exit status $status"
signpost sessions kill "$id" >/dev/null
no_sessions() {
    signpost sessions --json | jq -e '.sessions == []'
}
wait_until no_sessions
ask read 0 4096
[ "$answer" != ok ] || fail "the session that was ended still reads"

# Another user has no business there.
if [ "$(id -u)" = 0 ]; then
    chmod 755 "$tmp" "$STATE_DIRECTORY" "$STATE_DIRECTORY/alpha"
    chmod 666 "$STATE_DIRECTORY/alpha/control"
    requires curl setpriv
    got=$(setpriv --reuid=65534 --regid=65534 --clear-groups \
        curl -s -o /dev/null -w '%{http_code}' \
        --unix-socket "$STATE_DIRECTORY/alpha/control" http://localhost/api/v1/sessions || true)
    [ "$got" = 403 ] || fail "another user is answered: $got"
fi

# Of two servers one is named.
spawn_signpostd beta --listen=127.0.0.1:0
status=0
signpost --server gamma sessions 2>/dev/null || status=$?
[ "$status" = 4 ] || fail "a server that does not run: exit status $status"
signpost --server beta sessions --json | jq -e '.server == "beta"' >/dev/null
kill_server alpha
status=0
signpost --server alpha sessions 2>"$tmp/none" || status=$?
[ "$status" = 4 ] || fail "a server that was killed: exit status $status"
