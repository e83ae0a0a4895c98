#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Tab in zsh completes verbs, options, disks and servers of the catalog.
. "$(dirname "$0")/functions.sh"

requires zsh
mkdir -p "$tmp/repo/web01" "$tmp/zsh"
truncate -s 1M "$tmp/repo/web01/vda.raw" "$tmp/repo/web01/vdb.raw" "$tmp/repo/db.raw"
export SIGNPOST_CATALOG=sqlite:$catalog
signpost scan "$tmp/repo" --server alpha --uri nbd://127.0.0.1
cp "$SOURCE_DIR/cli/completion/signpost.zsh" "$tmp/zsh/_signpost"

# A zsh whose Enter prints the line, as it was completed, instead of running it.
cat >"$tmp/zsh/.zshrc" <<'ZSHRC'
fpath=($ZDOTDIR $fpath)
autoload -Uz compinit && compinit -u -D
setopt no_beep no_list_beep
print-line() {
    [[ $BUFFER != exit ]] || exit
    zle -I
    print -r -- "LINE<$BUFFER>"
    BUFFER=''
    zle redisplay
    print READY
}
zle -N print-line
bindkey '^M' print-line
PS1=''
print READY
ZSHRC
mkdir "$tmp/bin"
ln -s "$SIGNPOST" "$tmp/bin/signpost"

# Each line: what is typed before Tab => what the line is then; _ at its end is a space.
cat >"$tmp/lines" <<'LINES'
signpost whe => signpost where_
signpost doc => signpost doctor_
signpost servers dr => signpost servers drain_
signpost servers rm  => signpost servers rm alpha_
signpost where d => signpost where db_
signpost info web => signpost info web01/vd
signpost verify db web01/vdb d => signpost verify db web01/vdb db_
signpost files cat d => signpost files cat db:
signpost --server a => signpost --server alpha_
signpost copy db --to a => signpost copy db --to alpha_
signpost ls --lim => signpost ls --limit_
signpost ls --color nev => signpost ls --color never_
signpost run db -- signpo => signpost run db -- signpost_
LINES
while IFS= read -r line; do
    printf 'READY => %s\\t\n' "${line%% => *}"
done <"$tmp/lines" >"$tmp/dialogue"
echo 'READY => exit' >>"$tmp/dialogue"
PATH=$tmp/bin:$PATH ZDOTDIR=$tmp/zsh TERM=xterm "$PYTHON" -B "$here/typed.py" zsh -i \
    <"$tmp/dialogue" >"$tmp/seen" || true
while IFS= read -r line; do
    line=${line/%_/ }
    grep -aqF -- "LINE<${line#* => }>" "$tmp/seen" || fail "$line: $(cat -v "$tmp/seen")"
done <"$tmp/lines"
