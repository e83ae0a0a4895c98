#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# `doctor` names what is wrong on its own machine: mistakes in the configuration, directories that
# are missing, read-only or full, certificates that end, have ended or name another host, images
# that cannot be served, stubs that are old, and programs, devices and limits that are too few.
. "$(dirname "$0")/functions.sh"
. "$here/doctor.inc"
. "$here/pki.inc"

requires qemu-img faketime
requires_root
requires_fuse
file=$tmp/signpost.toml
mkdir -p "$tmp/repo" "$tmp/state"
make_raw "$tmp/repo/web01.raw" 1M
start_signpostd alpha "$tmp/repo"
wait_published alpha web01

# says LINE…: the configuration.
says() {
    printf '%s\n' "repository = [\"$tmp/repo\"]" 'server = "alpha"' \
        'uri = "nbd://localhost:10809"' "$@" >"$file"
}

says
finds_nothing --config "$file"
says 'repositry = "x"'
finds config fail 'repositry' 'signpost.toml(5)' --config "$file"
says '[peers'
finds config fail 'signpost.toml:4' 'signpost.toml(5)' --config "$file"
says "[tls]" "certificates = \"$tmp/none\""
finds config fail none 'signpost.toml(5)' --config "$file"
finds config fail 'nowhere.toml' 'signpost.toml(5)' --config "$tmp/nowhere.toml"

# Directories.
says "state = \"$tmp/no-state\""
finds state fail 'is no directory' 'install -d' --config "$file"
mount_tmpfs "$tmp/small" 1M
says "state = \"$tmp/small\""
finds state fail ' left' 'df -h' --config "$file"
says "[cache]" "directory = \"$tmp/small\""
finds cache fail ' left' 'df -h' --config "$file"
mount -o remount,ro "$tmp/small"
finds cache fail 'cannot be written' findmnt --config "$file"

# Certificates.
make_authority "$tmp/ca"
make_certificate "$tmp/ca" "$tmp/tls" server localhost
says "[tls]" "certificates = \"$tmp/tls\""
finds_nothing --config "$file"
DOCTOR="faketime -f +345d $SIGNPOST" finds tls warn 'ends in' renew --config "$file"
DOCTOR="faketime -f +370d $SIGNPOST" finds tls fail 'ended on' renew --config "$file"
DOCTOR="faketime -f -2d $SIGNPOST" finds tls fail 'not valid before' timedatectl --config "$file"
make_certificate "$tmp/ca" "$tmp/tls" server elsewhere.example
sed -i 's/localhost/beta.example/' "$file"
finds tls fail 'does not name beta.example' uri --config "$file"
echo garbage >"$tmp/tls/ca-cert.pem"
finds tls fail 'no certificate' 'certtool' --config "$file"

# Images that cannot be served.
says
truncate -s 1M "$tmp/repo/web01.img"
finds images warn web01 'scan DIR --dry-run' --config "$file"
rm "$tmp/repo/web01.img"
make_raw "$tmp/repo/base.raw" 1M
(cd "$tmp/repo" && qemu-img create -q -f qcow2 -F raw -b base.raw chain.qcow2 && rm base.raw)
finds images warn base.raw 'scan DIR --dry-run' --config "$file"
rm "$tmp/repo/chain.qcow2"

# Stubs that nobody has brought up to date.
. "$here/stubs.inc"
wait_known alpha web01
stop_server alpha
DOCTOR="faketime -f +3h $SIGNPOST" finds stubs warn 'of 3 h ago' 'journalctl' --server alpha

# Programs, devices, limits.
mkdir "$tmp/bin"
ln -s "$(command -v jq)" "$tmp/bin/jq"
DOCTOR="env PATH=$tmp/bin $SIGNPOST" finds qemu-nbd warn 'not installed' 'qemu-utils'
DOCTOR="env PATH=$tmp/bin $SIGNPOST" finds grub-mount warn 'not installed' 'grub-common'
DOCTOR="prlimit --nofile=1024:1024 $SIGNPOST" finds limits warn '1024 files' 'ulimit'
run_without_fuse() {
    unshare --mount sh -c 'mount -t tmpfs none /dev; exec "$@"' sh "$SIGNPOST" "$@"
}
DOCTOR=run_without_fuse finds fuse warn '/dev/fuse' 'modprobe fuse'
