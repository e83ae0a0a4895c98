#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# signpost-recovery(7) works as it is printed, every line of it, on a hypervisor with a lost machine
# whose restore points lie on a backup server: what it was comes back, and the images stay as they
# were.
. "$(dirname "$0")/functions.sh"
. "$here/libvirt.inc"
. "$here/page.inc"
in_own_hypervisor
requires debugfs fusermount3 nbdinfo qemu-img qemu-nbd
requires_fuse

# The page's own paths, for as long as the test runs.
mkdir -p /var/lib/signpost
for directory in /var/lib/signpost /srv /root /mnt; do
    mount -t tmpfs signpost-test "$directory"
done
for file in passwd group; do
    { cat "/etc/$file" && echo 'signpost:x:4711:4711::/:/bin/false'; } >"$tmp/$file"
    mount --bind "$tmp/$file" "/etc/$file"
done
mkdir "$tmp/bin"
export PATH=$tmp/bin:$BUILD_DIR/cli:$BUILD_DIR/libvirt-pool:/usr/sbin:/sbin:$PATH
unset STATE_DIRECTORY
catalog=/var/lib/signpost/catalog.db

# A day's restore point, and the next day's, in which a file has changed.
mkdir -p /srv/backup/web01
older=/srv/backup/web01/vda-2026-11-20.raw newer=/srv/backup/web01/vda-2026-11-21.raw
guest_image "$older"
change() { # IMAGE COMMAND…: in its file system, which begins at 32 MiB
    debugfs -w -f - "$1?offset=$((32 << 20))" >/dev/null 2>&1
}
echo older >"$tmp/nginx.conf"
change "$older" <<<"mkdir /etc
mkdir /etc/nginx
write $tmp/nginx.conf /etc/nginx/nginx.conf"
cp --sparse=always "$older" "$newer"
echo newer >"$tmp/nginx.conf"
change "$newer" <<<"rm /etc/nginx/nginx.conf
write $tmp/nginx.conf /etc/nginx/nginx.conf"
before=$(sha256sum "$older" "$newer")
lost_machine web01 >/srv/backup/web01.xml

# The hypervisor's server, and the backup server, that `systemctl` starts and stops together.
servers=(
    "--server=$(hostname) --listen=127.0.0.1:10809 --uri=nbd://127.0.0.1:10809"
    "--server=vault --listen=127.0.0.1:10819 --uri=nbd://127.0.0.1:10819 --repository=/srv/backup"
)
systemctl() {
    local i
    for i in 0 1; do
        if [ "$1" = stop ]; then
            stop_server "server$i"
        else
            # shellcheck disable=SC2086 # several words
            spawn "server$i" "$SIGNPOSTD" --pid-file="$tmp/server$i.pid" ${servers[i]}
        fi
    done
}
systemctl start signpostd
signpost() {
    "$SIGNPOST" "$@"
}
wait_until signpost where web01/vda@2026-11-21

# What the page does not say: emulation, because KVM is not everywhere, less memory, and that the
# machine has come up before anybody can tell whether it is the right one.
guest_is_up() {
    { set +x; } 2>/dev/null
    wait_until -t 200 guest_said "GUEST sums $guest_sum"
    wait_until -t 90 guest_said "GUEST wrote 1"
    set -x
}
page_lines signpost-recovery | sed \
    -e "s|^signpost-pool recover .*|& --type qemu|" \
    -e 's/--memory 1024/--memory 256/; s/-accel kvm //; s/-m 1024/-m 256/' \
    -e 's/^virsh domblklist web01$/&; guest_is_up/' >"$tmp/page"
[ "$(wc -l <"$tmp/page")" -gt 50 ] || fail "the page has too few lines"
grep -q 'guest_is_up' "$tmp/page" || fail "the page does not look at the machine"
set +e # for a moment: behind || the page would go on after a line that fails
(
    set -eux
    # shellcheck disable=SC1091
    . "$tmp/page"
) >"$tmp/page.log" 2>&1
status=$?
set -e
[ "$status" = 0 ] || fail "the page stops"

for said in 'web01/vda@2026-11-20' 'needs no server any more' 'No errors were found'; do
    grep -q -- "$said" "$tmp/page.log" || fail "not said: $said"
done
[ "$(cat /root/nginx.conf)" = newer ] || fail "the file is another"
[ "$(cat /root/nginx.conf.older)" = older ] || fail "the older file is another"
[ "$(cat /root/etc-of-web01/nginx/nginx.conf)" = newer ] || fail "the directory is another"
qemu-img compare /srv/restore/web01.qcow2 "$newer" >/dev/null || fail "the disk has other bytes"
qemu-img compare /srv/restore/web01-old.qcow2 "$older" >/dev/null || fail "the point's bytes"
[ "$(sha256sum "$older" "$newer")" = "$before" ] || fail "an image was changed"
