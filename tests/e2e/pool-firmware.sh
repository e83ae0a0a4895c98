#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A machine that is made from nothing but a disk gets the firmware that the disk wants; --isolated
# keeps it off every network, whatever its XML had; abandon leaves nothing of it.
. "$(dirname "$0")/functions.sh"
. "$here/libvirt.inc"
in_own_hypervisor
requires sfdisk
ls /usr/share/OVMF/OVMF_CODE*.fd >/dev/null 2>&1 || {
    [ "${SIGNPOST_NO_SKIP:-0}" != 1 ] || fail "no UEFI firmware is installed"
    skip "no UEFI firmware is installed"
}

mkdir -p "$tmp/a" "$tmp/b"
truncate -s 64M "$tmp/b/new.raw" "$tmp/b/old.raw"
printf 'label: gpt\nsize=32M, type=uefi\n' | PATH=$PATH:/sbin sfdisk -q "$tmp/b/new.raw"
printf 'label: dos\nsize=32M, type=83, bootable\n' | PATH=$PATH:/sbin sfdisk -q "$tmp/b/old.raw"
start_server alpha "$tmp/a"
start_server beta "$tmp/b"
wait_until catalog_has new old
pool define --via "${uri[alpha]}" >/dev/null

pool recover new --name efi --type qemu --memory 256
virsh dumpxml efi >"$tmp/out"
says "$tmp/out" "/usr/share/OVMF/OVMF_CODE"
! grep -q "secure='yes'" "$tmp/out" || fail "only a signed boot loader would start"
nvram=$(sed -n 's,.*<nvram[^>]*>\(.*\)</nvram>.*,\1,p' "$tmp/out")
[ -f "$nvram" ] || fail "the firmware has no variables of its own: $nvram"
pool abandon efi --yes
[ ! -e "$nvram" ] || fail "the firmware's variables are left over"

pool recover old --name bios --type qemu --memory 128
virsh dumpxml bios >"$tmp/out"
! grep -q OVMF "$tmp/out" || fail "UEFI for a disk that has no such boot loader"
pool abandon bios --yes

tiny_machine was "
<disk type='block' device='disk'><source dev='/dev/gone'/><target dev='vda' bus='virtio'/></disk>
<interface type='bridge'><source bridge='gone0'/></interface>" >"$tmp/was.xml"
pool recover old --name apart --xml "$tmp/was.xml" --isolated
! virsh dumpxml apart | has '<interface' || fail "--isolated leaves an interface"
pool abandon apart --yes
[ -z "$(virsh list --all --name)" ] || fail "machines are left over"
[ "$(find "$pool_path" "$pool_path.records" -type f | wc -l)" = 3 ] || fail "files are left over"
