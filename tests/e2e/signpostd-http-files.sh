#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Who has signed in at the console sees the files of a disk and downloads them byte for byte,
# through a relay too; who has not, or may not by the rules, does not.
# shellcheck source=tests/e2e/functions.sh
. "$(dirname "$0")/functions.sh"
# shellcheck source=tests/e2e/files.inc
. "$here/files.inc"
# shellcheck source=tests/e2e/http.inc
. "$here/http.inc"
requires htpasswd mkfs.ext4 sfdisk

make_tree "$tmp/tree"
make_strange_names "$tmp/tree"
make_ext4 "$tmp/repo/web/plain.raw" "$tmp/tree" 64M
put_in_table "$tmp/repo/web/vda.raw" gpt 2 "$tmp/repo/web/plain.raw"
cp "$tmp/repo/web/plain.raw" "$tmp/repo/web/odd ü&x=1.raw"
mkdir -p "$tmp/repo/db"
cp "$tmp/repo/web/plain.raw" "$tmp/repo/db/vda.raw"
htpasswd -Bbc -C 5 "$tmp/users" ann secret1 2>/dev/null
htpasswd -Bb -C 5 "$tmp/users" bob secret2 2>/dev/null
cat >"$tmp/signpost.toml" <<TOML
http-users = "users"
[[access]]
user = "ann"
disk = "web/*"
right = "read-only"
TOML
start_server alpha "$tmp/repo"
start_console gate --config "$tmp/signpost.toml" --audit-log="$tmp/audit"
for disk in web/plain web/vda db/vda; do
    wait_published alpha "$disk"
done
api /api/v1/login -u ann:secret1 -c "$tmp/ann" >/dev/null
api /api/v1/login -u bob:secret2 -c "$tmp/bob" >/dev/null

# get WHAT DISK PATH CURL-OPTION…: as ann; names go as they are, and curl writes them for the URL.
get() {
    local what=$1 disk=$2 path=$3
    shift 3
    api "/api/v1/$what" -G --data-urlencode "disk=$disk" --data-urlencode "path=$path" \
        -b "$tmp/ann" "$@"
}
# refused NUMBER WHAT DISK PATH CURL-OPTION…: $who is whose cookies are sent.
who=ann
refused() {
    local number=$1 what=$2 disk=$3 path=$4
    shift 4
    expect_status "$number" "/api/v1/$what" -G --data-urlencode "disk=$disk" \
        --data-urlencode "path=$path" -b "$tmp/$who" "$@"
    jq -e '.error | length > 0' "$tmp/answer" >/dev/null || fail "no sentence: $*"
}

# As the command has it.
get files web/plain / | jq -S .files >"$tmp/console.json"
signpost --server alpha files ls --json web/plain:/ | jq -S . >"$tmp/command.json"
cmp "$tmp/console.json" "$tmp/command.json"
get files web/vda '' | jq -e '.parts | map(.part) == ["p1", "p2"]' >/dev/null || fail "parts"
get files web/vda /etc -d part=p2 | jq -e '.more == false and (.files | map(.path) |
    index("hosts") != null)' >/dev/null || fail "/etc of p2"

for file in etc/hosts var/lib/app/data.db empty sparse 'name with spaces ü' $'two\nlines' \
    $'latin-\xe9' -rf 'back\slash'; do
    get file web/vda "/$file" -o "$tmp/got" -D "$tmp/headers"
    cmp "$tmp/got" "$tmp/tree/$file"
    has -i "^content-length: $(stat --format=%s "$tmp/tree/$file")" <"$tmp/headers" ||
        fail "$file: $(cat "$tmp/headers")"
done
cmp <(get file 'web/odd ü&x=1' /etc/hosts) "$tmp/tree/etc/hosts"
get file web/vda '/name with spaces ü' -D "$tmp/headers" >/dev/null
disposition="attachment; filename=\"name_with_spaces___\"; "
disposition+="filename\*=UTF-8''name%20with%20spaces%20%C3%BC"
has -i "^content-disposition: $disposition" <"$tmp/headers" || fail "$(cat "$tmp/headers")"
has -i '^content-type: application/octet-stream' <"$tmp/headers" || fail "$(cat "$tmp/headers")"
has -i '^x-content-type-options: nosniff' <"$tmp/headers" || fail "$(cat "$tmp/headers")"
get file web/vda $'/two\nlines' -D "$tmp/headers" >/dev/null
has -i "filename\*=UTF-8''two_lines" <"$tmp/headers" || fail "$(cat "$tmp/headers")"

# Links and `..` stay on the disk.
cmp <(get file web/plain /etc/climbs) "$tmp/tree/etc/hosts"
cmp <(get file web/plain /../../../etc/hosts) "$tmp/tree/etc/hosts"
refused 404 file web/plain /etc/no-such
refused 400 file web/plain /etc
refused 400 file web/plain etc/hosts
refused 400 file web/plain ''
refused 400 files ../etc /
refused 404 file web/vda /etc/hosts -d part=7
refused 400 file web/vda /etc/hosts -d part=p2:/etc
refused 400 files 'nbd://127.0.0.1/x' /
refused 404 files web/none /

# What cannot be read is said in a sentence that says what can.
truncate -s 1M "$tmp/blank.new" && mv "$tmp/blank.new" "$tmp/repo/web/blank.raw"
wait_published alpha web/blank
refused 500 files web/blank /
jq -e '.error | contains("no file system that can be read here") and
    contains("run from a shell")' "$tmp/answer" >/dev/null || fail "$(cat "$tmp/answer")"

# Who may not: nobody without sign-in, and by the rules not this disk, in the words for one that is
# not there.
refused 404 files db/vda /
sed 's/db.vda/DISK/g' "$tmp/answer" >"$tmp/hidden"
refused 404 files db/none /
sed 's/db.none/DISK/g' "$tmp/answer" | cmp - "$tmp/hidden"
who=bob
refused 404 file web/plain /etc/hosts
who=nobody
refused 401 files web/plain /
refused 401 file web/plain /etc/hosts
for op in files file deny; do
    has "\"op\":\"$op\".*\"user\":\"\(ann\|bob\)\"" <"$tmp/audit" || fail "no line for $op"
done
has '"op":"file".*"disk":"web/vda","right":"read-only","path":"/etc/hosts"' <"$tmp/audit" ||
    fail "$(grep '"op":"file"' "$tmp/audit" | head -3)"
