#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A stranger's path, as signpost-quickstart(7) has it, every line of it: install the packages in a
# clean Debian, say which directory to serve, find a disk, read it, get a file out of it, and boot
# the machine that it is of.
. "$(dirname "$0")/packages.inc"
. "$(dirname "$0")/../e2e/libvirt.inc"
. "$(dirname "$0")/../e2e/page.inc"
in_clean_root
requires debugfs qemu-system-x86_64

mkdir -p "$root/srv/images/web01"
image=$root/srv/images/web01/vda.raw
guest_image "$image"
echo 'hello from web01' >"$tmp/motd"
# The guest's own file system begins at 32 MiB.
debugfs -w -f - "$image?offset=$((32 << 20))" >/dev/null 2>&1 <<DEBUGFS
mkdir /etc
write $tmp/motd /etc/motd
DEBUGFS
before=$(sha256sum <"$image")
apt_get install "${others[@]}"

# Where a line only begins something the next one waits for it, as a person would.
page_lines signpost-quickstart | sed \
    -e 's|apt-get |&--no-install-recommends |' \
    -e 's|^signpost ls$|until signpost where web01/vda; do sleep 0.1; done; &|' >"$root/root/page"
grep -q 'until signpost' "$root/root/page" || fail "the page does not list the disks"
in_root sh -c 'cd /packages && exec bash -eux -o pipefail /root/page' >"$tmp/page.log" 2>&1 ||
    fail "the page stops"
for said in 'web01/vda ' '"name": *"web01/vda"' 'virtual size: 104 MiB' ' ext4 ' 'motd' \
    'qemu-img create'; do
    grep -q -- "$said" "$tmp/page.log" || fail "not said: $said"
done
cmp "$root/root/motd" "$tmp/motd" || fail "the file has other bytes"
[ "$(sha256sum <"$root/root/web01.raw")" = "$before" ] || fail "nbdcopy has read other bytes"

# Emulated, because KVM is not everywhere; the guest's screen is its serial line, and it has less
# memory.
console=$tmp/console.log
page_lines signpost-quickstart host |
    sed -e 's|-accel kvm||; s|-m 1024|-m 256 -display none -device virtio-rng-pci|' \
        -e "s|-snapshot|& -serial file:$console|" >"$tmp/boot.sh"
grep -q -- '-snapshot' "$tmp/boot.sh" || fail "the page boots nothing"
"$BASH" -c "exec $(cat "$tmp/boot.sh")" >"$tmp/qemu.log" 2>&1 &
pid[guest]=$!
wait_until -t 200 guest_said "GUEST sums $guest_sum"
wait_until -t 60 guest_said "GUEST wrote 1"
kill_server guest
[ "$(sha256sum <"$image")" = "$before" ] || fail "the image was changed"
