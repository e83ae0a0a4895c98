#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A parameter that is wrong stops the start, with one line that names it; nothing is made.
. "$(dirname "$0")/functions.sh"

requires nbdkit
mkdir "$tmp/repository"
make_raw "$tmp/file.raw" 1M
printf 'nonsense\n' >"$tmp/psk"
# refused PATTERN PARAMETER…
refused() {
    local pattern=$1
    shift
    if "${nbdkit_command[@]}" -U - "$PLUGIN" "catalog=$tmp/none.db" "$@" --run true \
        2>"$tmp/refusal"; then
        fail "accepted: $*"
    fi
    grep -Eq "$pattern" "$tmp/refusal" || fail "for $*: $(cat "$tmp/refusal")"
    [ "$(wc -l <"$tmp/refusal")" = 1 ] || fail "for $*, more than one line: $(cat "$tmp/refusal")"
    [ ! -e "$tmp/none.db" ] || fail "for $*: a catalog was made"
}
refused "unknown parameter 'colour'" colour=red
refused "missing" "$tmp/missing"
refused "file.raw" "$tmp/file.raw"
refused "given twice" "$tmp/repository" "repository=$tmp/repository/."
refused "server" server=../alpha
refused "parameter uri" uri=http://alpha
refused "names an export" uri=nbd://alpha/disk
refused "not an address" uri=nbd://0.0.0.0
refused "peer-timeout=0 " peer-timeout=0
refused "peer-timeout=soon" peer-timeout=soon
refused "peer-timeout=3601" peer-timeout=3601
refused "connections=65" connections=65
refused "priority=-1" priority=-1
refused "writable=perhaps" writable=perhaps
refused "site=" "site="
refused "tls=maybe" tls=maybe
refused "tls=off" tls=off "tls-psk=$tmp/psk"
refused "exclude each other" "tls-psk=$tmp/psk" "tls-certificates=$tmp"
refused "$tmp/psk" tls=require "tls-psk=$tmp/psk"
refused "$tmp/nowhere" tls=require "tls-certificates=$tmp/nowhere"
refused "repository=DIR" block-devices=true
