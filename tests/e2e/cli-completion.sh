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

# Every verb and option that it knows is one of the command's, and the other way round.
known=$("$SIGNPOST" --help | grep -oE -- '--[a-z][a-z-]*' | sort -u)
for option in $known; do
    case $option in --version | --help) continue ;; esac
    grep -q -- "$option" "$SOURCE_DIR/cli/completion/signpost.bash" || fail "$option is not offered"
done
