#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Tab completes signpost-pool's verbs and options, disks of the catalog, and what libvirt knows.
. "$(dirname "$0")/functions.sh"
requires virsh
: "${SIGNPOST_POOL:=$BUILD_DIR/libvirt-pool/signpost-pool}"

mkdir -p "$tmp/repo/web01" "$tmp/pool"
truncate -s 1M "$tmp/repo/web01/vda.raw" "$tmp/repo/web01/vdb.raw" "$tmp/repo/db.raw"
export SIGNPOST_CATALOG=sqlite:$catalog
signpost scan "$tmp/repo" --server alpha --uri nbd://127.0.0.1
unset -f signpost # the program itself, as a user has it
PATH=$(dirname "$SIGNPOST"):$PATH
# libvirt's own test hypervisor, with two machines and a pool.
machine() {
    cat <<XML
<domain type='test' xmlns:test='http://libvirt.org/schemas/domain/test/1.0'><name>$1</name>
<memory>65536</memory><os><type>hvm</type></os><devices><disk type='file'>
<source file='/x/$1.qcow2'/><target dev='vda' bus='virtio'/></disk></devices>
<test:runstate>$2</test:runstate></domain>
XML
}
cat >"$tmp/node.xml" <<XML
<node>$(machine web-runs 1)$(machine web-waits 3)$(machine web-off 5)
<pool type='dir'><name>disks</name><target><path>$tmp/pool</path></target></pool></node>
XML
export LIBVIRT_DEFAULT_URI=test://$tmp/node.xml
"$SIGNPOST_POOL" define --pool disks --path "$tmp/pool" >/dev/null
echo "no volume any more" >"$tmp/pool/db.qcow2"

# shellcheck source=libvirt-pool/completion/signpost-pool.bash
. "$SOURCE_DIR/libvirt-pool/completion/signpost-pool.bash"

# expect "LINE" WORD…: what Tab offers after LINE, whose last word is being typed.
expect() {
    local line=$1
    shift
    line=${line//=/ = } # as readline cuts it
    read -ra COMP_WORDS <<<"${line//:/ : }"
    COMP_WORDS[0]=$SIGNPOST_POOL
    [[ $line != *' ' ]] || COMP_WORDS+=("")
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    _signpost_pool || true
    local got
    got=$(printf '%s\n' "${COMPREPLY[@]}" | LC_ALL=C sort | tr '\n' ' ')
    [ "$got" = "${*:+$* }" ] || fail "$line: $got"
}

expect "signpost-pool re" recover repair resume
expect "signpost-pool --pool disks st" status
expect "signpost-pool --pool " disks
expect "signpost-pool --connect=test:///default --pool " default-pool
expect "signpost-pool define --ne" --newest
expect "signpost-pool define --newest 2 --server a" alpha
expect "signpost-pool sync --off" --offline
expect "signpost-pool sync --dry" --dry-run
expect "signpost-pool watch --i" --interval
expect "signpost-pool define --match web" web01/vda web01/vdb
expect "signpost-pool define --server a" alpha
expect "signpost-pool attach web" web-off web-runs web-waits
expect "signpost-pool attach web-off d" db
expect "signpost-pool attach web-off db --bus i" ide
expect "signpost-pool recover web" web01/vda web01/vdb
expect "signpost-pool recover web01/vda d" db
expect "signpost-pool recover db --firmware=e" efi
expect "signpost-pool recover db --bus=" sata scsi usb virtio
expect "signpost-pool recover db --is" --isolated
expect "signpost-pool hydrate web-" web-runs web-waits
expect "signpost-pool resume " web-waits
expect "signpost-pool commit web-runs --target " vda
expect "signpost-pool --pool disks repair " db.qcow2
expect "signpost-pool status --color n" never

# Every option that the command has is offered, and none else.
known=$(for verb in '' $_signpost_pool_verbs; do
    # shellcheck disable=SC2086 # no verb at all is the first
    "$SIGNPOST_POOL" $verb --help | grep -oE -- '--[a-z][a-z-]*'
done | sort -u | grep -vxE -- '--(help|version)')
offered=$(for verb in $_signpost_pool_verbs; do
    # shellcheck disable=SC2086,SC2046 # words
    printf '%s\n' $_signpost_pool_options $(_signpost_pool_options_of "$verb")
done | sort -u | grep -vx -- --help)
[ "$known" = "$offered" ] || fail "offered, or known: $(diff <(echo "$offered") <(echo "$known"))"
