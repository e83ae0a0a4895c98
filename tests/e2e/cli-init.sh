#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# `init` asks for a first configuration, looks at each answer, and writes what signpostd takes; what
# flags say is not asked; a file that is there stays.
. "$(dirname "$0")/functions.sh"

requires nbdinfo jq certtool curl
make_raw "$tmp/images/web01/vda.raw" 1M
catalog_is=sqlite:$tmp/new/catalog.db
mkdir "$tmp/new"
file=$tmp/etc/signpost.toml

# refused STATUS WORD ARGUMENT…: one line on standard error that has the word.
refused() {
    local wanted=$1 word=$2 status=0
    shift 2
    "$SIGNPOST" init "$@" >"$tmp/out" 2>"$tmp/err" </dev/null || status=$?
    [ "$status" = "$wanted" ] || fail "init $*: status $status: $(cat "$tmp/err")"
    grep -q -- "$word" "$tmp/err" || fail "init $*: $(cat "$tmp/err")"
}

# says FILE LINE…: each is a line of it.
says() {
    local line
    for line in "${@:2}"; do
        grep -qxF -- "$line" "$1" || fail "not in $1: $line: $(cat "$1")"
    done
}

serves() {
    spawn "$1" "$SIGNPOSTD" --pid-file="$tmp/$1.pid" --state="$tmp/$1.state" --config "$2"
}

# Where nobody can answer, it wants to be told so.
refused 2 --yes "$file"
[ ! -e "$file" ] || fail "it wrote a file all the same"

# With flags alone. What it writes is served.
"$SIGNPOST" init "$file" --yes --repository "$tmp/images" --server alpha --catalog "$catalog_is" \
    >"$tmp/out" 2>"$tmp/err" || fail "$(cat "$tmp/err")"
says "$tmp/out" "wrote $file" "  signpostd --config $file" \
    "  export SIGNPOST_CATALOG='$catalog_is'" "  signpost ls"
says "$file" "repository = [\"$tmp/images\"]" "catalog = \"$catalog_is\"" 'server = "alpha"'
"$SIGNPOSTD" --config "$file" --check-config
serves alpha "$file"
export SIGNPOST_CATALOG=$catalog_is
at=$("$SIGNPOST" servers --json | jq -r '.[0].uris[0]')
nbdinfo --size "$at/web01/vda" || fail "web01/vda is not served at $at"
[[ $at == *:*:* ]] || at=$at:10809
says "$file" "listen = [\"${at#nbd://}\"]"
console=$(sed -n 's|^and in a browser: ||p' "$tmp/out")
shows_disk() {
    curl -sSf "${console}api/v1/disks" | jq -e '.disks[0].name == "web01/vda"' >/dev/null
}
wait_until shows_disk
"$SIGNPOST" init --dry-run --yes --force --http off "$file" >"$tmp/out" 2>&1
! grep -q ^http "$tmp/out" || fail "a console, although it is off: $(cat "$tmp/out")"

# Its port is taken now: the next configuration has another. A file that is there stays, unless.
refused 8 --force "$file" --yes --server beta
before=$(cat "$file")
"$SIGNPOST" init "$file" --yes --force --server beta >"$tmp/out" 2>"$tmp/err" ||
    fail "$(cat "$tmp/err")"
says "$file" 'server = "beta"'
! grep -qF "${at#nbd://}\"" "$file" || fail "the taken port again: $(cat "$file")"
[ "$(cat "$file.old")" = "$before" ] || fail "the old one was not kept"
[ "$(ls "$tmp/etc")" = "$(printf 'signpost.toml\nsignpost.toml.old')" ] || fail "$(ls "$tmp/etc")"

# Flags that say something wrong.
refused 2 'no directory' "$tmp/x.toml" --yes --repository "$tmp/none"
refused 2 'hidden' "$tmp/x.toml" --yes --server .hidden
refused 2 'server-cert.pem\|ca-cert.pem' "$tmp/x.toml" --yes --tls-certificates "$tmp/images"
refused 5 'postgresql' "$tmp/x.toml" --yes --catalog postgresql://127.0.0.1:1/signpost
truncate -s 1M "$tmp/garbage.db"
printf garbage | dd of="$tmp/garbage.db" conv=notrunc status=none
refused 5 garbage.db "$tmp/x.toml" --yes --catalog "$tmp/garbage.db"
refused 1 'listen' "$tmp/x.toml" --yes --listen nonsense
[ ! -e "$tmp/x.toml" ] || fail "it wrote a file all the same"

# On a terminal it asks, says what is wrong with an answer, and asks again.
typed() {
    "$PYTHON" -B "$here/typed.py" "$SIGNPOST" init "$@" >"$tmp/seen"
}
typed "$tmp/asked.toml" <<TYPED || fail "status $?: $(cat "$tmp/seen")"
Directories with disk images => $tmp/none
is no directory => $tmp/images, $tmp/etc
Name of this server => bad/name
Name of this server => gamma
Address of this server => gamma.example:1234
Directory with TLS certificates => none
Catalog that the servers share => $tmp/garbage.db
Catalog that the servers share =>
TYPED
says "$tmp/asked.toml" "repository = [\"$tmp/images\", \"$tmp/etc\"]" 'server = "gamma"' \
    'uri = "nbd://gamma.example:1234"' 'listen = [":1234"]' "catalog = \"$catalog_is\""
grep -q 'without TLS everybody' "$tmp/seen" || fail "$(cat "$tmp/seen")"
before=$(cat "$tmp/asked.toml")
status=0
typed "$tmp/asked.toml" <<<'Replace it? => n' || status=$?
[ "$status" = 8 ] || fail "status $status: $(cat "$tmp/seen")"
[ "$(cat "$tmp/asked.toml")" = "$before" ] || fail "it was replaced all the same"

# With certificates peers and clients need TLS; --dry-run only prints.
. "$here/pki.inc"
make_authority "$tmp/ca"
make_certificate "$tmp/ca" "$tmp/pki" server localhost
make_certificate "$tmp/ca" "$tmp/pki" client alpha
"$SIGNPOST" init "$tmp/tls.toml" --yes --uri nbd://127.0.0.1 --tls-certificates "$tmp/pki" \
    >"$tmp/out" 2>"$tmp/err" || fail "$(cat "$tmp/err")"
says "$tmp/tls.toml" '[tls]' "certificates = \"$tmp/pki\"" 'mode = "require"'
grep -q '^uri = "nbds://127.0.0.1' "$tmp/tls.toml" || fail "$(cat "$tmp/tls.toml")"
"$SIGNPOST" init "$tmp/dry.toml" --yes --dry-run >"$tmp/out"
[ ! -e "$tmp/dry.toml" ] || fail "--dry-run wrote a file"
says "$tmp/out" "repository = []"
"$SIGNPOST" init "$tmp/dry.toml" --yes --dry-run --json | jq -e '.written == false and .uri' \
    >"$tmp/out" || fail "$(cat "$tmp/out")"
