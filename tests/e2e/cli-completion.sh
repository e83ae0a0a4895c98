#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Tab completes verbs, options, disks and servers of the catalog.
. "$(dirname "$0")/functions.sh"

mkdir -p "$tmp/repo/web01"
truncate -s 1M "$tmp/repo/web01/vda.raw" "$tmp/repo/web01/vdb.raw" "$tmp/repo/db.raw"
export SIGNPOST_CATALOG=sqlite:$catalog
signpost scan "$tmp/repo" --server alpha --uri nbd://127.0.0.1

# shellcheck source=cli/completion/signpost.bash
. "$SOURCE_DIR/cli/completion/signpost.bash"

# expect "LINE" WORD…: what Tab offers after LINE, whose last word is being typed.
expect() {
    local line=$1
    shift
    read -ra COMP_WORDS <<<"$line"
    COMP_WORDS[0]=$SIGNPOST
    [[ $line != *' ' ]] || COMP_WORDS+=("")
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    _signpost
    local got
    got=$(printf '%s\n' "${COMPREPLY[@]}" | LC_ALL=C sort | tr '\n' ' ')
    [ "$got" = "${*:+$* }" ] || fail "$line: $got"
}

expect "signpost w" where which
expect "signpost ser" servers
expect "signpost servers a" add
expect "signpost servers dr" drain
expect "signpost sites c" cost
expect "signpost servers rm " alpha
expect "signpost catalog im" import
expect "signpost catalog rebuild --f" --from
expect "signpost catalog export $tmp/re" "$tmp/repo"
expect "signpost catalog rebuild --from $tmp/re" "$tmp/repo"
expect "signpost copy db --from a" alpha
expect "signpost where web" web01/vda web01/vdb
expect "signpost where d" db
expect "signpost verify db web01/vdb " db web01/vda web01/vdb
expect "signpost ls --li" --limit
expect "signpost servers add v nbd://h --for" --foreign
expect "signpost --server a" alpha
expect "signpost ls --color n" never
expect "signpost where --ch" --check
expect "signpost catalog i" import init
expect "signpost copy db --to a" alpha
expect "signpost jobs c" cancel
expect "signpost repair --cop" --copies

# Of a restore point's name bash wants what comes after the last @ or :, at which it breaks words.
mkdir "$tmp/repo/x"
truncate -s 1M "$tmp/repo/x/vda-2026-11-20T0200.raw" "$tmp/repo/x/vda-2026-11-20T0230.raw"
signpost scan "$tmp/repo" --server alpha
# expect_point WORDS TYPED BROKEN…
expect_point() {
    COMP_LINE="signpost where $2" COMP_WORDS=("$SIGNPOST" where "${@:3}")
    COMP_POINT=${#COMP_LINE}
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    _signpost
    local got="${COMPREPLY[*]}"
    unset COMP_LINE COMP_POINT
    [ "$got" = "$1" ] || fail "$2: $got"
}
expect_point '2026-11-20T02:00 2026-11-20T02:30' x/vda@2026 x/vda @ 2026
expect_point '2026-11-20T02:00 2026-11-20T02:30' x/vda@ x/vda @
expect_point '30' x/vda@2026-11-20T02:3 x/vda @ 2026-11-20T02 : 3

# Every verb and option that it knows is one of the command's, and the other way round.
known=$("$SIGNPOST" --help | grep -oE -- '--[a-z][a-z-]*' | sort -u)
for option in $known; do
    case $option in --version | --help) continue ;; esac
    grep -q -- "$option" "$SOURCE_DIR/cli/completion/signpost.bash" || fail "$option is not offered"
done
