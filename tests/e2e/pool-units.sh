#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# systemd takes the units as they are, with no cycle in their order before libvirtd; the socket gets
# QEMU's group, in a directory that is the server's; AppArmor's parser takes the rule.
. "$(dirname "$0")/functions.sh"
requires systemd-analyze systemd-tmpfiles apparmor_parser libvirtd
units=$SOURCE_DIR/libvirt-pool/units

# With the programs of this build in place of installed ones.
mkdir "$tmp/units"
cp -r "$units/." "$SOURCE_DIR"/nbd-server/server/signpostd.{service,socket} "$tmp/units"
sed -i "s,/usr/bin/signpost-pool,$BUILD_DIR/libvirt-pool/signpost-pool,
    s,/usr/sbin/signpostd,$SIGNPOSTD," "$tmp"/units/*.service
mkdir "$tmp/units/libvirtd.service.wants"
ln -s "../signpost-pool-sync@.service" \
    "$tmp/units/libvirtd.service.wants/signpost-pool-sync@signpost.service"
for unit in signpost-pool-{sync,pass,watch}@signpost.service signpost-pool-sync@signpost.timer \
    signpostd.socket libvirtd.service; do
    SYSTEMD_UNIT_PATH=$tmp/units: systemd-analyze verify --man=no "$unit" >"$tmp/out" 2>&1 ||
        fail "$unit: $(cat "$tmp/out")"
    ! grep -E 'signpost|cycle' "$tmp/out" || fail "$unit: systemd complains"
done

# verify only warns of words that it does not know.
cp "$tmp/units/signpost-pool-sync@.service" "$tmp/units/bad@.service"
echo 'Nonsense=1' >>"$tmp/units/bad@.service"
SYSTEMD_UNIT_PATH=$tmp/units: systemd-analyze verify --man=no bad@x.service 2>&1 | has Nonsense ||
    fail "systemd would say nothing of a bad unit"

mkdir -p "$tmp/root/etc"
echo 'signpost:x:4711:4711::/:/bin/false' >"$tmp/root/etc/passwd"
echo 'signpost:x:4711:' >"$tmp/root/etc/group"
if [ "$(id -u)" = 0 ]; then
    systemd-tmpfiles --root="$tmp/root" --create \
        "$SOURCE_DIR/nbd-server/server/signpost.tmpfiles.conf"
    [ "$(stat -c %a:%u:%g "$tmp/root/run/signpost")" = 755:4711:4711 ] ||
        fail "the socket's directory: $(stat -c %a:%u:%g "$tmp/root/run/signpost")"
fi

{
    echo 'profile machine {'
    cat "$units/apparmor-libvirt-qemu"
    echo '}'
} >"$tmp/profile"
apparmor_parser --skip-kernel-load --skip-cache "$tmp/profile"
