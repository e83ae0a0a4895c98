#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# --check-config tells each mistake as FILE:LINE:COLUMN and ends with 2, or says that there is none
# and ends with 0; a start with mistakes ends with 2 before it does anything.
. "$(dirname "$0")/functions.sh"

mkdir "$tmp/images"
cat >"$tmp/good.toml" <<'TOML'
repository = ["images"]
catalog = "sqlite:none.db"
listen = "127.0.0.1:0"

[limits]
sessions = 100

[[access]]
uid = 0
right = "read-write"
TOML
status=0
"$SIGNPOSTD" --config "$tmp/good.toml" --check-config >"$tmp/out" 2>"$tmp/err" || status=$?
[ "$status" = 0 ] || fail "status $status for a good file: $(cat "$tmp/err")"
[ ! -e "$tmp/none.db" ] || fail "a catalog was made"

cat >"$tmp/bad.toml" <<'TOML'
repository = [1]
colour = "red"
priority = "high"

[limits]
sessions = 0

[[access]]
cidr = "10.0.0.0/8"
right = "read-only"
TOML
for option in --check-config ""; do
    status=0
    # shellcheck disable=SC2086 # without it, a start
    "$SIGNPOSTD" --config "$tmp/bad.toml" $option >"$tmp/out" 2>"$tmp/err" || status=$?
    [ "$status" = 2 ] || fail "status $status for a bad file"
    for place in 1:15 2:1 3:12 6:1 8:1; do
        grep -q "bad.toml:$place: " "$tmp/err" || fail "nothing of $place in: $(cat "$tmp/err")"
    done
    [ "$(wc -l <"$tmp/err")" = 5 ] || fail "not five mistakes: $(cat "$tmp/err")"
done
printf 'repository = [\n  "images",\n  "missing"]\n' >"$tmp/missing.toml"
"$SIGNPOSTD" --config "$tmp/missing.toml" --check-config 2>"$tmp/err" && fail "missing, but good"
grep -Eq "missing.toml:[123]:[0-9]+: .*$tmp/missing: No such" "$tmp/err" || fail "$(cat "$tmp/err")"
printf 'repository = [\n' >"$tmp/broken.toml"
"$SIGNPOSTD" --config "$tmp/broken.toml" --check-config 2>"$tmp/err" && fail "no TOML, but good"
grep -Eq 'broken.toml:[12]:[0-9]+: ' "$tmp/err" || fail "$(cat "$tmp/err")"
