#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# signpost-fleet(7): its lines do to three servers and their disks what the page says.
. "$(dirname "$0")/functions.sh"
. "$here/page.inc"
requires jq

mkdir "$tmp/bin" "$tmp/gamma"
ln -s "$SIGNPOST" "$tmp/bin/signpost"
PATH=$tmp/bin:$PATH
SIGNPOST_CATALOG=$(catalog_url)
export PATH SIGNPOST_CATALOG
make_raw "$tmp/alpha/web01/vda.raw" 8M 1
make_raw "$tmp/beta/db01/vda.raw" 8M 2
for name in alpha beta gamma; do
    start_signpostd "$name" "$tmp/$name"
done
wait_published alpha web01/vda
wait_published beta db01/vda
has_three() {
    [ "$(signpost servers -H -o name | wc -l)" = 3 ]
}
wait_until has_three

cd "$tmp"
page_lines signpost-fleet >"$tmp/page"
[ "$(wc -l <"$tmp/page")" -gt 20 ] || fail "the page has too few lines"
"$BASH" -eux "$tmp/page" >"$tmp/page.log" 2>&1 || fail "the page stops"
[ "$(signpost where web01/vda -H -o server | xargs)" = "alpha gamma" ] || fail "no copy"
[ "$(signpost where db01/vda -H -o server)" = gamma ] || fail "db01/vda has not moved"
[ ! -e "$tmp/beta/db01/vda.raw" ] || fail "beta has kept its image"
signpost sites -H -o from,to,cost | has 'north.*south.*20' || fail "no cost"
[ -s "$tmp/catalog-of-today.jsonl" ] || fail "no export"
