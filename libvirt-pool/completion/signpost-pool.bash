# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# Completion of signpost-pool(1) for bash: verbs, options, and the names of disks, machines, pools
# and damaged volumes, which signpost(1), virsh(1) and the command itself give. What does not answer
# completes nothing.

_signpost_pool_verbs='define sync watch status repair attach recover hydrate commit resume abandon'
_signpost_pool_options='--pool --via --path --catalog --connect --json --dry-run --yes --color'
_signpost_pool_options+=' --help'

# The options that a verb has beyond those of all.
_signpost_pool_options_of() {
    case $1 in
    define) echo '--match --server --newest' ;;
    sync) echo '--offline' ;;
    watch) echo '--interval' ;;
    attach) echo '--target --bus --readonly --live --print' ;;
    recover)
        echo '--name --xml --memory --cpus --bus --firmware --type --network --isolated --live'
        ;;
    hydrate) echo '--rate' ;;
    commit) echo '--target' ;;
    resume) echo '--timeout' ;;
    esac
}

# Sets value to that of the option at word $1, and last to its last word: words end at = and :, too.
_signpost_pool_value() {
    last=$(($1 + 1))
    [[ ${COMP_WORDS[last]} != = ]] || last=$((last + 1))
    value=${COMP_WORDS[last]-}
    while ((last + 1 < COMP_CWORD)) &&
        [[ ${COMP_WORDS[last + 1]} == [=:] || $value == *[=:] ]]; do
        last=$((last + 1))
        value+=${COMP_WORDS[last]}
    done
}

# Sets verb, own (the verb's own words before the cursor), and pool, catalog and connect as they are
# given.
_signpost_pool_read() {
    local i word value last
    verb='' own=() pool=signpost catalog='' connect=''
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        case $word in
        --pool | --via | --path | --catalog | --connect | -c | --color | --match | --server | \
            --newest | --interval | --target | --bus | --name | --xml | --memory | --cpus | \
            --firmware | --type | --network | --rate | --timeout)
            _signpost_pool_value "$i"
            i=$last
            case $word in
            --pool) pool=$value ;;
            --catalog) catalog=$value ;;
            --connect | -c) connect=$value ;;
            esac
            ;;
        -* | = | :) ;;
        *) if [[ -z $verb ]]; then verb=$word; else own+=("$word"); fi ;;
        esac
    done
}

# Who is asked, with what is given.
_signpost_pool_ask() {
    "${COMP_WORDS[0]}" ${connect:+--connect "$connect"} ${catalog:+--catalog "$catalog"} \
        --pool "$pool" "$@" 2>/dev/null
}

_signpost_pool_catalog() {
    signpost ${catalog:+--catalog "$catalog"} "$@" 2>/dev/null
}

# Without the blanks that virsh puts behind some names.
_signpost_pool_virsh() {
    virsh ${connect:+--connect "$connect"} "$@" 2>/dev/null | sed 's/ *$//'
}

_signpost_pool_words() {
    mapfile -t COMPREPLY < <(compgen -W "$1" -- "$2")
}

# Lines of names: those that begin with $1.
_signpost_pool_names() {
    local name
    while IFS= read -r name; do
        [[ -n $name && $name == "$1"* ]] && COMPREPLY+=("$(printf '%q' "$name")")
    done
}

_signpost_pool_disks() {
    _signpost_pool_names "$1" < <(_signpost_pool_catalog ls -H -o disk --limit 500 -- "$1")
}

# $1: begins with; then which, as virsh has it.
_signpost_pool_machines() {
    _signpost_pool_names "$1" < <(_signpost_pool_virsh list --name "${@:2}")
}

_signpost_pool_targets() {
    local target
    while read -r target _; do
        [[ -n $target && $target == "$1"* ]] && COMPREPLY+=("$target")
    done < <(_signpost_pool_virsh domblklist "${own[0]-}" | tail -n +3)
}

_signpost_pool_damaged() {
    local volume state
    while read -r volume state _; do
        [[ $state == damaged && $volume == "$1"* ]] && COMPREPLY+=("$volume")
    done < <(_signpost_pool_ask status)
}

_signpost_pool_argument() {
    local current=$1
    case $verb:${#own[@]} in
    :*) _signpost_pool_words "$_signpost_pool_verbs" "$current" ;;
    recover:* | attach:1) _signpost_pool_disks "$current" ;;
    attach:0 | abandon:0) _signpost_pool_machines "$current" --all ;;
    hydrate:0 | commit:0) _signpost_pool_machines "$current" ;;
    resume:0) _signpost_pool_machines "$current" --state-paused ;;
    repair:*) _signpost_pool_damaged "$current" ;;
    esac
}

# The value of option $1, of which $2 is typed. False: that is no option with a value.
_signpost_pool_option_value() {
    local current=$2
    case $1 in
    --pool) _signpost_pool_names "$current" < <(_signpost_pool_virsh pool-list --all --name) ;;
    --network) _signpost_pool_names "$current" < <(_signpost_pool_virsh net-list --all --name) ;;
    --server) _signpost_pool_names "$current" < <(_signpost_pool_catalog servers list -H -o name) ;;
    --match) _signpost_pool_disks "$current" ;;
    --target) [[ $verb != commit ]] || _signpost_pool_targets "$current" ;;
    --color) _signpost_pool_words 'auto always never' "$current" ;;
    --firmware) _signpost_pool_words 'auto bios efi' "$current" ;;
    --type) _signpost_pool_words 'kvm qemu' "$current" ;;
    --bus)
        _signpost_pool_words "virtio sata scsi usb$([[ $verb == recover ]] || echo ' ide')" \
            "$current"
        ;;
    --catalog | --xml) mapfile -t COMPREPLY < <(compgen -f -- "$current") ;;
    --path) mapfile -t COMPREPLY < <(compgen -d -- "$current") ;;
    --via | --connect | -c | --newest | --interval | --name | --memory | --cpus | --rate | \
        --timeout) ;;
    *) return 1 ;;
    esac
    return 0
}

_signpost_pool() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    local verb own pool catalog connect
    COMPREPLY=()
    if [[ $current == = ]]; then
        current=''
    elif [[ $previous == = ]]; then
        previous=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    _signpost_pool_read
    _signpost_pool_option_value "$previous" "$current" && return
    if [[ $current == -* ]]; then
        _signpost_pool_words "$_signpost_pool_options $(_signpost_pool_options_of "$verb")" \
            "$current"
    else
        _signpost_pool_argument "$current"
    fi
}

complete -F _signpost_pool signpost-pool
