#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# An option that is wrong, on the command line or in the environment, ends the start with 2 and one
# line that names it; --version and --help end with 0.
. "$(dirname "$0")/functions.sh"

export SIGNPOST_CATALOG=$tmp/none.db
# refused PATTERN OPTION…
refused() {
    local pattern=$1 status=0
    shift
    "$SIGNPOSTD" "$@" 2>"$tmp/refusal" || status=$?
    [ "$status" = 2 ] || fail "status $status for: $*"
    grep -Eq -e "$pattern" "$tmp/refusal" || fail "for $*: $(cat "$tmp/refusal")"
    [ "$(wc -l <"$tmp/refusal")" = 1 ] || fail "for $*, more than a line: $(cat "$tmp/refusal")"
    [ ! -e "$tmp/none.db" ] || fail "for $*: a catalog was made"
}
refused --colour --colour=red
refused "$tmp/missing" --check-config --repository="$tmp/missing"
refused --listen --listen=nowhere
refused --listen --listen=127.0.0.1:65536
refused --listen "--listen=unix:$(printf '%0200d' 1)"
refused --server --server=../alpha
refused --uri --uri=http://alpha
refused --tls --tls=maybe
refused --tls --tls=require
refused --memory --memory=lots
refused --threads --threads=-1
refused --handshake-timeout --handshake-timeout=0
refused --peer-timeout --peer-timeout=soon
refused --log-format --log-format=xml
refused missing.toml --config="$tmp/missing.toml"
refused 'surplus' surplus
SIGNPOST_PRIORITY=high refused SIGNPOST_PRIORITY
[ "$("$SIGNPOSTD" --version | wc -l)" = 1 ] || fail "$("$SIGNPOSTD" --version)"
"$SIGNPOSTD" --version | has -E '^signpostd [0-9]+\.[0-9]+\.[0-9]+' || fail "--version"
"$SIGNPOSTD" --help | has -- --check-config || fail "--help"
