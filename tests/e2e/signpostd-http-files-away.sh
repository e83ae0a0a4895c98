#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# What reads files for the console is bounded: it ends with the browser that asked and with the
# server, few run at once, and a listing has an end.
# shellcheck source=tests/e2e/functions.sh
. "$(dirname "$0")/functions.sh"
# shellcheck source=tests/e2e/files.inc
. "$here/files.inc"
# shellcheck source=tests/e2e/http.inc
. "$here/http.inc"
requires htpasswd mkfs.ext4 pgrep

mkdir -p "$tmp/tree/many"
(cd "$tmp/tree/many" && seq -f 'file%05g' 10001 | xargs touch)
truncate -s 1G "$tmp/tree/large"
make_ext4 "$tmp/repo/vda.raw" "$tmp/tree" 128M
htpasswd -Bbc -C 5 "$tmp/users" ann secret1 2>/dev/null
htpasswd -Bb -C 5 "$tmp/users" bob secret2 2>/dev/null
start_server alpha "$tmp/repo"
start_console gate --http-users="$tmp/users"
wait_published alpha vda
for user in ann:secret1 bob:secret2; do
    api /api/v1/login -u "$user" -c "$tmp/${user%:*}" >/dev/null
done

# The commands that the server has started, and what they have.
commands() {
    local child
    for child in $(pgrep -P "${pid[gate]}"); do
        echo "$child"
        pgrep -P "$child" || true
    done
}
# shellcheck disable=SC2317 # wait_until calls it
no_commands() {
    [ -z "$(commands)" ]
}
# shellcheck disable=SC2317 # wait_until calls it
run_commands() {
    [ "$(commands | wc -l)" = "$1" ]
}
# shellcheck disable=SC2317 # wait_until calls it
gone() {
    ! kill -0 "$@" 2>/dev/null
}
# shellcheck disable=SC2317 # wait_until calls it
no_longer_grows() {
    local before=${size:-0}
    size=$(stat --format=%s "$1")
    [ "$size" = "$before" ]
}
# begin_download NAME RATE: slow, by ann, into $tmp/NAME; $client is the process.
begin_download() {
    curl --silent --limit-rate "$2" -o "$tmp/$1" -b "$tmp/ann" \
        "${console%/}/api/v1/file?disk=vda&path=/large" &
    client=$!
    cleanup_fn kill "$client"
    wait_until test -s "$tmp/$1"
}
expect_commands_gone() {
    wait_until -t 5 no_commands
    local process
    for process in "$@"; do
        wait_until -t 5 gone "$process"
    done
}

# A listing has 10,000 entries and says that there are more.
api "/api/v1/files?disk=vda&path=/many" -b "$tmp/ann" |
    jq -e '(.files | length) == 10000 and .more' >/dev/null || fail "the listing has no end"
expect_commands_gone

# The browser goes away in the middle of a download; and when nothing comes any more.
begin_download first 64K
wait_until run_commands 2
mapfile -t processes < <(commands)
kill "$client"
expect_commands_gone "${processes[@]}"
begin_download silent 20M
mapfile -t processes < <(commands)
kill -STOP "${processes[@]}"
wait_until no_longer_grows "$tmp/silent"
kill "$client"
expect_commands_gone "${processes[@]}"

# A head is all that is read of a file when no more is asked for.
curl --silent --head -b "$tmp/ann" "${console%/}/api/v1/file?disk=vda&path=/large" |
    has -i '^content-length: 1073741824' || fail "HEAD"

# Two for one person, and others are served.
begin_download second 64K
begin_download third 64K
wait_until run_commands 4
expect_status 503 "/api/v1/files?disk=vda&path=/" -b "$tmp/ann"
expect_status 200 "/api/v1/files?disk=vda&path=/" -b "$tmp/bob"

# They end with the server, which does not wait for who is slow.
mapfile -t processes < <(commands)
kill -TERM "${pid[gate]}"
wait_until -t 3 gone "${pid[gate]}"
for process in "${processes[@]}"; do
    wait_until -t 5 gone "$process"
done
exit 0
