#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Tab in fish completes verbs, options, disks and servers of the catalog.
. "$(dirname "$0")/functions.sh"

requires fish
mkdir -p "$tmp/repo/web01" "$tmp/home"
truncate -s 1M "$tmp/repo/web01/vda.raw" "$tmp/repo/web01/vdb.raw" "$tmp/repo/db.raw"
export SIGNPOST_CATALOG=sqlite:$catalog
signpost scan "$tmp/repo" --server alpha --uri nbd://127.0.0.1
mkdir "$tmp/bin"
ln -s "$SIGNPOST" "$tmp/bin/signpost"

# expect LINE WORD…: what fish offers after LINE, without what it says of each.
expect() {
    local got line=$1
    shift
    # shellcheck disable=SC2016 # variables of fish
    got=$(HOME=$tmp/home PATH=$tmp/bin:$PATH fish --no-config -c '
        source $argv[1]; complete --do-complete $argv[2]' \
        "$SOURCE_DIR/cli/completion/signpost.fish" "$line" | cut -f 1 | sort | tr '\n' ' ')
    [ "$got" = "${*:+$* }" ] || fail "$line: $got"
}

expect 'signpost whe' where
expect 'signpost servers ' add drain list rm
expect 'signpost servers rm ' alpha
expect 'signpost where web' web01/vda web01/vdb
expect 'signpost where d' db
expect 'signpost verify db web01/vdb ' db web01/vda web01/vdb
expect 'signpost files cat d' db:
expect 'signpost --server a' alpha
expect 'signpost copy db --to a' alpha
expect 'signpost ls --lim' --limit
expect 'signpost where --ch' --check
expect 'signpost ls --color n' never
expect 'signpost --catalog /nowhere where '
expect 'signpost run db -- signpo' signpost
