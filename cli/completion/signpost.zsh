#compdef signpost
# SPDX-License-Identifier: BSD-3-Clause
#
# Completion of signpost(1) for zsh: verbs and options with what they mean, as the command's own
# --help has them, and the names of disks and servers and the ids of jobs, which the command gives.
# A catalog that does not answer completes nothing. Installed as _signpost.

# _signpost_rows SECTION: what --help has below SECTION, as `left` and `right` of each line.
_signpost_rows() {
    local line in_section=0
    left=() right=()
    for line in "${(@f)help}"; do
        case $line in
        "$1:") in_section=1 ;;
        '') in_section=0 ;;
        '  '[^\ ]*)
            ((in_section)) || continue
            line=${line#  }
            left+=("${line%%  *}")
            right+=("${${line#*  }##  #}")
            ;;
        esac
    done
}

# The command as typed, with its --catalog if there is one.
_signpost_ask() {
    "$program" "${catalog[@]}" "$@" 2>/dev/null
}

_signpost_names() {
    local -a names
    names=("${(@f)$(_signpost_ask "$@")}")
    compadd -- "${(@)names:#}"
}

_signpost_disks() {
    local -a names
    names=("${(@f)$(_signpost_ask ls -H -o disk --limit 500 -- "${(Q)PREFIX}")}")
    names=("${(@)names:#}")
    compadd "${@:2}" -- "${(@)names/%/$1}"
}

# What stands for KIND in a usage line, or behind an option: DISK, NAME, DIR and so on.
_signpost_kind() {
    case $1 in
    *DISK:*) _signpost_disks : -S '' ;;
    *DISK* | *PREFIX*) _signpost_disks '' ;;
    *SERVER* | NAME) _signpost_names servers list -H -o name ;;
    *ID*) _signpost_names jobs -H -o id ;;
    *DIR*) _files -/ ;;
    *PATH* | *FILE* | *DEST* | *URL*) _files ;;
    CLASS) compadd global-high site-high site-normal site-low global-low ;;
    WHEN) compadd auto always never ;;
    esac
}

_signpost_options() {
    local -a left right
    help=$("$program" ${=verb} --help 2>/dev/null)
    _signpost_rows options
    left=("${(@)${(@)left##*, }%% *}")
    compadd -l -d right -a left
}

# Sets verb, place (how many words of its own it has before the cursor), catalog and value: what the
# option before the cursor wants.
_signpost_words() {
    local i word name
    for ((i = 2; i < CURRENT; i++)); do
        word=${(Q)words[i]}
        case $word in
        --) place=-1 rest=$i; return ;;
        -*)
            name=${word##-#}
            [[ -n ${wants[$name]-} ]] || continue
            i=$((i + 1))
            if ((i == CURRENT)); then
                value=${wants[$name]}
            elif [[ $name == catalog ]]; then
                catalog=(--catalog "${(Q)words[i]}")
            fi
            ;;
        *)
            if [[ -z $verb ]]; then
                verb=$word
            elif name="$verb $word" && ((place == 0)) && [[ -n ${arguments[$name]+known} ]]; then
                verb=$name
            else
                place=$((place + 1))
            fi
            ;;
        esac
    done
}

# The words that may follow VERB, with what they mean; VERB empty: verbs.
_signpost_verbs() {
    local name word
    local -A meaning
    local -a next described
    for name in ${(k)summaries}; do
        [[ -z $1 || $name == "$1 "* ]] || continue
        word=${${name#"$1"}## #}
        meaning[${word%% *}]=${summaries[$name]}
    done
    next=(${(ko)meaning})
    for word in $next; do
        described+=("${(r:10:)word} ${meaning[$word]}")
    done
    (($#next == 0)) || compadd -l -d described -a next
}

_signpost() {
    emulate -L zsh
    setopt extended_glob
    local program=${(Q)words[1]} help verb='' value='' name word i
    local -i place=0 rest=0
    local -a catalog left right usage
    local -A wants arguments summaries
    help=$("$program" --help 2>/dev/null)
    for name in options 'options of one verb'; do
        _signpost_rows "$name"
        for word in "${left[@]}"; do
            [[ $word == *' '[A-Z]* && $word != *,\ --[a-z-]# ]] || continue
            wants[${${word##*--}%% *}]=${word##* }
            [[ $word != -?,* ]] || wants[${word[2]}]=${word##* }
        done
    done
    _signpost_rows verbs
    for ((i = 1; i <= $#left; i++)); do
        name=${(M)left[i]##[a-z]##( [a-z]##)#}
        arguments[$name]=${${left[i]#"$name"}## #}
        summaries[$name]=${right[i]}
    done
    _signpost_words
    if ((place < 0)); then
        shift $rest words
        CURRENT=$((CURRENT - rest))
        _normal
    elif [[ -n $value ]]; then
        _signpost_kind "$value"
    elif [[ $PREFIX == -* ]]; then
        _signpost_options
    else
        ((place > 0)) || _signpost_verbs "$verb"
        usage=(${=arguments[$verb]-})
        [[ ${usage[-1]-} != *...* ]] || ((place < $#usage)) || place=$(($#usage - 1))
        [[ -z $verb ]] || _signpost_kind "${usage[place + 1]-}"
    fi
}

_signpost "$@"
