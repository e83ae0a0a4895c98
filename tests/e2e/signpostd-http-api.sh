#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The console says what the command says: disks, a disk, servers, status, sessions.
# shellcheck source=tests/e2e/functions.sh
. "$(dirname "$0")/functions.sh"
# shellcheck source=tests/e2e/http.inc
. "$here/http.inc"

make_raw "$tmp/repo/web01/vda.raw" 8M
make_raw "$tmp/repo/web01/vda@2026-11-20T02:00.raw" 4M
make_raw "$tmp/repo/db 'one'.raw" 2M
start_console alpha --repository="$tmp/repo" --uri=nbd://127.0.0.1:10809
wait_published alpha web01/vda
wait_published alpha web01/vda@2026-11-20T02:00
wait_published alpha "db 'one'"

api "/api/v1/disks" | jq -e '[.disks[].name] | length == 3' >/dev/null ||
    fail "disks: $(api /api/v1/disks)"
diff <(api "/api/v1/disks" | jq -S '.disks') <(signpost ls --json | jq -S .)
api "/api/v1/disks?find=VDA" | jq -e '.disks | length == 2' >/dev/null
api "/api/v1/disks?prefix=db" | jq -e '.disks[0].name == "db '"'one'"'"' >/dev/null

# Page by page.
first=$(api "/api/v1/disks?limit=1")
next=$(jq -r .next <<<"$first")
second=$(api "/api/v1/disks?limit=1" --get --data-urlencode "after=$next")
[ "$(jq -r '.disks[0].name' <<<"$second")" = web01/vda ] || fail "the second page: $second"
api "/api/v1/disks?after=zzz" | jq -e '.next == null and .disks == []' >/dev/null

# One disk, with its points and what to paste.
disk=$(api "/api/v1/disk?name=web01/vda")
jq -e '.locations[0].server == "alpha" and .points == ["web01/vda@2026-11-20T02:00"] and
    .uri == "nbd://127.0.0.1/web01/vda" and (.lines["qemu-img"] | contains(" nbd://127.0.0.1/"))
    ' <<<"$disk" >/dev/null || fail "disk: $disk"
# The command asks the servers itself; but for what they answer both say the same.
of_now='del(.locations[] | .live, .reachable, .answered, .latency_ms, .error)'
signpost info web01/vda --json | jq -S "$of_now" >"$tmp/command"
jq -S "del(.uri, .lines) | $of_now" <<<"$disk" >"$tmp/console"
diff "$tmp/command" "$tmp/console"
line=$(api "/api/v1/disk" --get --data-urlencode "name=db 'one'" | jq -r .lines.where)
words=()
eval "words=(${line})"
[ "${words[3]}" = "db 'one'" ] || fail "not quoted for a shell: $line"
expect_status 404 "/api/v1/disk?name=none"
expect_status 400 "/api/v1/disk?name=/"
expect_status 400 "/api/v1/disks?limit=0"

api "/api/v1/servers" | jq -e '.[0].name == "alpha"' >/dev/null
api "/api/v1/status" | jq -e '.server == "alpha" and .disks == 3 and .live_sessions == 0' >/dev/null
api "/api/v1/explain?name=web01/vda" | jq -e '.own_image == "ready"' >/dev/null
api "/api/v1/doctor" | jq -e '.findings | length > 0' >/dev/null

# A client that reads is seen, with what it has read.
open_session "nbd://127.0.0.1:$(free_port_of alpha 127.0.0.1)/web01/vda"
expect_read 0 1048576 "$tmp/repo/web01/vda.raw"
api "/api/v1/sessions" | jq -e '.sessions | length == 1 and .[0].disk == "web01/vda" and
    .[0].route == "local" and .[0].read_bytes > 100000' >/dev/null ||
    fail "sessions: $(api /api/v1/sessions)"

api / | has "<title>Signpost"

# Whatever a disk is called: in JSON it is ASCII, and nothing that a page or a terminal acts on.
hostile=$'web/<script>alert(1)<\xc2\xa7>"\'&\xe2\x80\xaegpj.exe'
make_raw "$tmp/repo/$hostile.raw" 1M
wait_published alpha "$hostile"
api "/api/v1/disks?prefix=web/" >"$tmp/hostile"
! LC_ALL=C grep -q $'[^\x01-\x7e]' "$tmp/hostile" || fail "not ASCII: $(cat "$tmp/hostile")"
has -F '\u202e' <"$tmp/hostile" || fail "$(cat "$tmp/hostile")"
[ "$(jq -r '.disks[0].name' "$tmp/hostile")" = "$hostile" ] || fail "another name"
api /api/v1/disk --get --data-urlencode "name=$hostile" | jq -e '.lines["attach-xml"]' >/dev/null
