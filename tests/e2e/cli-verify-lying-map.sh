#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A foreign server whose allocation map says "all zero" over data does not get the digest of zeroes.
. "$(dirname "$0")/functions.sh"

requires nbdkit jq
requires_nbdkit plugin eval
make_raw "$tmp/data" 8M 1
truncate -s 8M "$tmp/zero"
start_nbdkit liar -r eval get_size="echo 8M" \
    pread="dd if=$tmp/data skip=\$4 count=\$3 iflag=count_bytes,skip_bytes status=none" \
    can_extents="exit 0" extents="echo 0 8M hole,zero"
start_nbdkit data -r file "$tmp/data"
start_nbdkit zero -r file "$tmp/zero"
for name in liar data zero; do
    signpost servers add $name "${uri[$name]}" --foreign
done

digest() {
    signpost verify "$1" ${2:+"$2"} --json | jq -r '.[0].locations[0].digest'
}

[ "$(digest liar)" = "$(digest data)" ] || fail "the map was believed"
[ "$(digest liar --trust-holes)" = "$(digest zero)" ] || fail "--trust-holes reads all the same"
