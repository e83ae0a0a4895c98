#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Requests run in parallel, alone and under the filters that the manual says keep it so; those that
# it says serialise do.
. "$(dirname "$0")/functions.sh"

requires nbdkit
model() {
    "${nbdkit_command[@]}" ${1:+--filter="$1"} "$PLUGIN" --dump-plugin |
        sed -n 's/^thread_model=//p'
}
[ "$(model "")" = parallel ] || fail "the plugin itself"
manual=$SOURCE_DIR/nbdkit-plugin/nbdkit-signpost-plugin.pod
section() {
    tr '\n' ' ' <"$manual" | grep -o "$1.*$2" | grep -o 'nbdkit-[a-z0-9]*-filter' |
        sed 's/nbdkit-//; s/-filter//'
}
count=0
for filter in $(section 'These filters keep it so' 'These serialise'); do
    [ "$(model "$filter")" = parallel ] || fail "$filter: $(model "$filter")"
    count=$((count + 1))
done
[ "$count" -ge 10 ] || fail "the manual names $count filters only"
for filter in $(section 'These serialise' 'C<nbdkit --dump-plugin> shows'); do
    [[ $(model "$filter") == serialize_* ]] || fail "$filter: $(model "$filter")"
done
