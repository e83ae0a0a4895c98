# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# Completion of signpost(1) for bash: verbs, options, and the names of disks and servers, which the
# command itself gives. A catalog that does not answer completes nothing.

_signpost_verbs='ls list find where which info uri servers sites add rm scan verify diff explain copy
    move repair jobs files mount run boot drill sessions status cache doctor init
    catalog'
_signpost_options='--catalog --json --json=lines --server --bytes --color --help'

# The command as typed, with its --catalog if there is one.
_signpost_ask() {
    local i command=("${COMP_WORDS[0]}")
    for ((i = 1; i < COMP_CWORD; i++)); do
        if [[ ${COMP_WORDS[i]} == --catalog ]]; then
            i=$((i + 1))
            [[ ${COMP_WORDS[i]} != = ]] || i=$((i + 1))
            local url=${COMP_WORDS[i]}
            while ((i + 1 < COMP_CWORD)) && [[ ${COMP_WORDS[i + 1]} == : || $url == *: ]]; do
                i=$((i + 1))
                url+=${COMP_WORDS[i]}
            done
            command+=(--catalog "$url")
        fi
    done
    "${command[@]}" "$@" 2>/dev/null
}

_signpost_disks() {
    local name
    while IFS= read -r name; do
        COMPREPLY+=("$(printf '%q' "$name")")
    done < <(_signpost_ask ls -H -o disk --limit 500 -- "$1")
}

_signpost_words() {
    mapfile -t COMPREPLY < <(compgen -W "$1" -- "$2")
}

_signpost_servers() {
    _signpost_words "$(_signpost_ask servers list -H -o name)" "$1"
}

# The options that a verb has beyond those of all.
_signpost_options_of() {
    local tls='--tls-certificates --tls-psk --tls-username' table='--no-header --columns'
    local guest="--with --key --verbose $tls"
    case $1 in
    ls | list) echo "$table --limit --points" ;;
    find) echo "$table --limit" ;;
    where | which | explain) echo "$table --check $tls" ;;
    info) echo "$tls" ;;
    doctor) echo "--config $tls" ;;
    diff) echo "--no-header $tls" ;;
    verify) echo "--no-header --glob --trust-holes $tls" ;;
    'servers add') echo "--foreign --site --priority --class --dry-run $tls" ;;
    'servers drain') echo '--off --wait --dry-run' ;;
    'servers rm' | rm) echo '--yes --dry-run' ;;
    servers | 'servers list' | sites | 'sites list' | cache) echo "$table" ;;
    add) echo '--repository --points --uri --dry-run' ;;
    scan) echo '--prune --points --uri --dry-run' ;;
    copy | move) echo '--to --from --rate --detach --dry-run' ;;
    repair) echo '--copies --config --rate --detach --dry-run' ;;
    jobs) echo "$table" ;;
    'jobs cancel') echo '--dry-run' ;;
    'files ls') echo "$table --long --recursive --deleted $guest" ;;
    'files cat') echo "--deleted $guest" ;;
    mount) echo "--background $guest" ;;
    run) echo "--cow $tls" ;;
    boot) echo "--start --print-xml --print-command --vm --cow --memory --bus --accel $tls" ;;
    drill)
        echo "--at --oldest --sign --expect --timeout --history --memory --bus --accel $tls"
        ;;
    'files get') echo "--recursive --tar --force --deleted $guest" ;;
    'files find') echo "$table --all-points --deleted $guest" ;;
    sessions) echo "$table --watch" ;;
    'sessions kill') echo '--yes --dry-run' ;;
    status) echo '--no-header' ;;
    init)
        echo "--repository --listen --http --site --writable --force --uri --yes --dry-run" \
            '--tls-certificates'
        ;;
    'catalog import') echo '--merge' ;;
    'catalog rebuild') echo '--from --merge' ;;
    catalog) echo '--merge --from --dry-run' ;;
    esac
}

# Sets verb and place: how many words of its own the verb has before the cursor.
_signpost_verb() {
    local i word
    verb='' place=0
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        case $word in
        --catalog | --server | --uri | --color | --columns | -o | --limit | --site | --priority | \
            --listen | --http | --class | --glob | --repository | --tls-certificates | --tls-psk | --tls-username | --to | \
            --vm | --memory | --bus | --accel | --at | --oldest | --sign | --expect | --timeout | \
            --from | --rate | --copies | --config | --with | --key)
            i=$((i + 1))
            while [[ ${COMP_WORDS[i]} == [=:] || ${COMP_WORDS[i + 1]-} == [=:] ]] &&
                ((i + 1 < COMP_CWORD)); do
                i=$((i + 1))
            done
            ;;
        -* | = | :) ;;
        *)
            if [[ -z $verb ]]; then
                verb=$word
            elif [[ $verb == servers && $place == 0 && $word == @(list|add|rm|drain) ]]; then
                verb="servers $word"
            elif [[ $verb == catalog && $place == 0 && \
                $word == @(init|export|import|migrate|rebuild) ]]; then
                verb="catalog $word"
            elif [[ $verb == jobs && $place == 0 && $word == cancel ]]; then
                verb='jobs cancel'
            elif [[ $verb == sessions && $place == 0 && $word == kill ]]; then
                verb='sessions kill'
            elif [[ $verb == files && $place == 0 && $word == @(ls|cat|get|find) ]]; then
                verb="files $word"
            elif [[ $verb == sites && $place == 0 && $word == @(list|cost) ]]; then
                verb="sites $word"
            else
                place=$((place + 1))
            fi
            ;;
        esac
    done
}

_signpost_argument() {
    local current=$1
    case $verb in
    '') _signpost_words "$_signpost_verbs" "$current" ;;
    servers) _signpost_words 'list add rm drain' "$current" ;;
    sites) _signpost_words 'list cost' "$current" ;;
    files) _signpost_words 'ls cat get find' "$current" ;;
    catalog) _signpost_words 'init export import migrate rebuild' "$current" ;;
    'catalog import' | 'catalog export' | 'catalog migrate')
        [[ $place == 0 ]] && mapfile -t COMPREPLY < <(compgen -f -- "$current")
        ;;
    jobs | 'jobs cancel')
        [[ $place == 0 ]] &&
            _signpost_words "cancel $(_signpost_ask jobs -H -o id)" "$current"
        ;;
    sessions | 'sessions kill')
        [[ $place == 0 ]] &&
            _signpost_words "kill $(_signpost_ask sessions -H -o id)" "$current"
        ;;
    ls | list | where | which | info | uri | rm | verify | diff | explain | copy | move | repair | run | boot | drill)
        [[ $place == 0 || $verb == @(verify|diff|drill) ]] && _signpost_disks "$current"
        ;;
    mount)
        case $place in
        0) _signpost_disks "$current" ;;
        1) mapfile -t COMPREPLY < <(compgen -d -- "$current") ;;
        esac
        ;;
    'files ls' | 'files cat' | 'files get' | 'files find')
        if [[ $place == 0 ]]; then
            compopt -o nospace
            _signpost_disks "$current"
            COMPREPLY=("${COMPREPLY[@]/%/:}")
        elif [[ $verb == 'files get' ]]; then
            mapfile -t COMPREPLY < <(compgen -f -- "$current")
        fi
        ;;
    'servers rm' | 'servers add' | 'servers drain')
        [[ $place == 0 ]] && _signpost_servers "$current"
        ;;
    add | init) mapfile -t COMPREPLY < <(compgen -f -- "$current") ;;
    scan | cache) mapfile -t COMPREPLY < <(compgen -d -- "$current") ;;
    esac
}

# Bash breaks a restore point's name, web01/vda@2026-11-20T02:00, at @ and : into several words, and
# wants what follows the last of them. Puts the word together again: sets current, COMP_CWORD, and
# broken_off, what the answers are to begin without.
_signpost_join_point() {
    local line=${COMP_LINE-} last=$current joined=$current
    line=${line:0:${COMP_POINT:-0}}
    line=${line##*[[:space:]]}
    [[ $line == [!-]*@* && $line == *"$current" && $line != "$current" ]] || return 0
    while [[ $joined != "$line" && $COMP_CWORD -gt 1 && $line == *"$joined" ]]; do
        COMP_CWORD=$((COMP_CWORD - 1))
        joined=${COMP_WORDS[COMP_CWORD]}$joined
    done
    [[ $last != *[!@:] ]] && last=''
    current=$line
    broken_off=${line%"$last"}
}

_signpost() {
    local current=${COMP_WORDS[COMP_CWORD]} broken_off='' previous verb place
    local COMP_CWORD=$COMP_CWORD
    _signpost_join_point
    previous=${COMP_WORDS[COMP_CWORD - 1]}
    COMPREPLY=()
    _signpost_verb
    case $previous in
    --server | --to) _signpost_servers "$current" ;;
    --with) _signpost_disks "$current" ;;
    --from)
        case $verb in
        'catalog rebuild') mapfile -t COMPREPLY < <(compgen -d -- "$current") ;;
        *) _signpost_servers "$current" ;;
        esac
        ;;
    --color) _signpost_words 'auto always never' "$current" ;;
    --class)
        _signpost_words 'global-high site-high site-normal site-low global-low' "$current"
        ;;
    --catalog | --tls-psk | --config | --key) mapfile -t COMPREPLY < <(compgen -f -- "$current") ;;
    --repository | --tls-certificates) mapfile -t COMPREPLY < <(compgen -d -- "$current") ;;
    --uri | --columns | -o | --limit | --site | --priority | --glob | --tls-username | --rate | \
        --copies | --listen | --http | --vm | --memory | --at | --oldest | --expect | --timeout) ;;
    --bus) _signpost_words 'virtio sata ide' "$current" ;;
    --accel) _signpost_words 'auto kvm tcg' "$current" ;;
    --sign) _signpost_words 'auto agent serial screen' "$current" ;;
    *)
        if [[ $current == -* ]]; then
            _signpost_words "$_signpost_options $(_signpost_options_of "$verb")" "$current"
        else
            _signpost_argument "$current"
            COMPREPLY=("${COMPREPLY[@]#"$broken_off"}")
        fi
        ;;
    esac
}

complete -F _signpost signpost
