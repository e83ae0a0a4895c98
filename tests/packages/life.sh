#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# In a clean Debian the packages are installed by apt, used as they are installed, upgraded and
# purged: an operator's changes outlive the upgrade, and images and strangers' files the purge.
. "$(dirname "$0")/packages.inc"
in_clean_root
requires mke2fs

install_packages packages
[ "$(in_root stat -c %U:%G:%a /var/lib/signpost)" = signpost:signpost:755 ] || fail "the state"
[ "$(in_root stat -c %U:%a /run/signpost)" = signpost:755 ] || fail "the socket's directory"
wants=etc/systemd/system
[ -L "$root/$wants/multi-user.target.wants/signpostd.service" ] || fail "the server is not enabled"
[ ! -e "$root/$wants/sockets.target.wants/signpostd.socket" ] || fail "the socket is enabled"
[ ! -e "$root/$wants/timers.target.wants/signpost-verify.timer" ] || fail "the timer is enabled"

# systemd takes all units, where everything is that they name.
units=()
for unit in "$root"/lib/systemd/system/signpost*.{service,socket,timer}; do
    unit=${unit##*/}
    units+=("${unit/@./@pool.}")
done
in_root systemd-analyze verify --man=no "${units[@]}" >"$tmp/verify.log" 2>&1 || fail "units"
! grep signpost "$tmp/verify.log" || fail "systemd complains of a unit"
in_root systemd-analyze security --offline=yes --threshold=20 signpostd.service >/dev/null ||
    fail "the server's unit is too open"
for page in signpost.1 signpost-pool.1 nbdkit-signpost-plugin.1 signpost.toml.5 signpostd.8; do
    gzip -dc "$root/usr/share/man/man${page##*.}/$page.gz" | has '^\.SH' || fail "no page $page"
done

# As it is installed it serves this machine.
mkdir -p "$root/srv/images/web01" "$tmp/files"
echo 'hello from web01' >"$tmp/files/motd"
mke2fs -q -t ext4 -d "$tmp/files" "$root/srv/images/web01/vda.raw" 16M
start_installed
[ "$(ss -Hlnt | awk '{print $4}' | sort | xargs)" = "127.0.0.1:10809 127.0.0.1:10880" ] ||
    fail "it listens at: $(ss -Hlnt)"
ss -Hlnt | has ' 127\.0\.0\.1:10809 ' || fail "it listens elsewhere than on loopback"
stop_installed
set_key repository '["/srv/images"]'
cp "$root/etc/signpost/signpost.toml" "$tmp/signpost.toml"
start_installed
wait_until in_root signpost where web01/vda
[ "$(in_root signpost files cat web01/vda:/motd)" = 'hello from web01' ] || fail "the file"
# shellcheck disable=SC2016 # $unixsocket is nbdkit's
in_root nbdkit -U - signpost /srv/images catalog=/tmp/catalog.db server=other \
    --run 'nbdinfo --size "nbd+unix:///web01/vda?socket=$unixsocket"' | has -x 16777216 ||
    fail "nbdkit does not serve it"
in_root signpost-pool --version >/dev/null
in_root signpost status >/dev/null
stop_installed

# A newer version: everything as the operator left it.
touch "$root/var/lib/signpost/mine"
install_packages newer
in_root dpkg --status signpost-server | has -x 'Version: 99.0' || fail "not upgraded"
cmp "$root/etc/signpost/signpost.toml" "$tmp/signpost.toml" || fail "the configuration changed"
start_installed
in_root signpost where web01/vda >/dev/null || fail "the catalog is lost"
stop_installed

# Removed, the configuration and the state stay; purged, what is ours is gone.
mapfile -t names < <(for package in "${packages[@]}"; do dpkg-deb --field "$package" Package; done)
apt_get remove "${names[@]}"
for kept in etc/signpost/signpost.toml var/lib/signpost/catalog.db; do
    [ -e "$root/$kept" ] || fail "a removal takes $kept"
done
in_root dpkg --purge "${names[@]}" >"$tmp/purge.log" 2>&1 || fail "dpkg --purge"
in_root find / -xdev \( -path /proc -o -path /dev -o -path /packages -o -path /newer \
    -o -path /srv -o -path /var/cache/apt -o -path /var/log \) -prune -o -name '*signpost*' -print \
    >"$tmp/left"
[ "$(cat "$tmp/left")" = /var/lib/signpost ] || fail "a purge leaves: $(cat "$tmp/left")"
[ "$(ls -A "$root/var/lib/signpost")" = mine ] ||
    fail "a purge leaves: $(ls -AR "$root/var/lib/signpost")"
[ -s "$root/srv/images/web01/vda.raw" ] || fail "a purge has taken an image"
