#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# `verify` stores the digest that the definition gives; equal copies get one generation, and copies
# that differ by one bit give exit 6.
. "$(dirname "$0")/functions.sh"

requires nbdkit jq
make_raw "$tmp/a/vda.raw" 9M 1
truncate -s +4096 "$tmp/a/vda.raw"
mkdir "$tmp/b" "$tmp/c"
cp --sparse=never "$tmp/a/vda.raw" "$tmp/b/vda.raw"
cp "$tmp/a/vda.raw" "$tmp/c/vda.raw"
printf '\001' | dd of="$tmp/c/vda.raw" bs=1 seek=9437183 conv=notrunc status=none
for name in a b; do
    start_nbdkit $name -r file dir="$tmp/$name"
    signpost servers add $name "${uri[$name]}" --foreign
done

signpost verify vda
wanted=$("$PYTHON" - "$tmp/a/vda.raw" <<'PYTHON'
import hashlib, sys
data = open(sys.argv[1], "rb").read()
root = hashlib.sha256()
for begin in range(0, len(data), 4 << 20):
    chunk = data[begin:begin + (4 << 20)]
    pieces = [chunk[at:at + (32 << 10)] for at in range(0, len(chunk), 32 << 10)]
    of_pieces = b"".join(hashlib.sha256(piece).digest() for piece in pieces)
    root.update(hashlib.sha256(of_pieces).digest())
root.update(len(data).to_bytes(8, "big"))
print("sha256-32k:" + root.hexdigest())
PYTHON
)
[ "$(signpost where vda --json | jq -r '.locations[].digest' | uniq)" = "$wanted" ] ||
    fail "digests: $(signpost where vda --json)"
[ "$(signpost where vda --json | jq '[.locations[].generation] | unique | length')" = 1 ] ||
    fail "equal copies have two generations"
[ "$(signpost info vda --json | jq -c .same_content)" = '[["a","b"]]' ] || fail "not the same"

start_nbdkit c -r file dir="$tmp/c"
signpost servers add c "${uri[c]}" --foreign
status=0
signpost verify vda >"$tmp/out" || status=$?
[ "$status" = 6 ] || fail "copies that differ: status $status: $(cat "$tmp/out")"
grep -q 'differ in content' "$tmp/out" || fail "not said: $(cat "$tmp/out")"
[ "$(signpost info vda --json | jq -c .same_content)" = '[["a","b"],["c"]]' ] || fail "mixed up"
signpost doctor >"$tmp/out" && fail "doctor finds nothing"
grep -q '^FAIL *copies' "$tmp/out" || fail "doctor: $(cat "$tmp/out")"
