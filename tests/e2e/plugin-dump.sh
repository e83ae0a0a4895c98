#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# --dump-plugin says what is inside; the library shows plugin_init and nothing else.
. "$(dirname "$0")/functions.sh"

requires nbdkit nm
"${nbdkit_command[@]}" --dump-plugin "$PLUGIN" >"$tmp/dump"
for line in 'name=signpost' 'magic_config_key=repository' 'thread_model=parallel' \
    'signpost_version=[0-9]+[.][0-9]+[.][0-9]+' 'signpost_schema=[1-9][0-9]*' \
    'signpost_sqlite_version=3[.][0-9.]+' 'signpost_gnutls_version=3[.][0-9.]+'; do
    grep -Eqx "$line" "$tmp/dump" || fail "no $line in: $(cat "$tmp/dump")"
done
shown=$(nm -D --defined-only "$PLUGIN" | awk '{ print $3 }' | grep -v '^_*asan\|^_*ubsan\|^_*tsan')
[ "$shown" = plugin_init ] || fail "the library also shows: $shown"
