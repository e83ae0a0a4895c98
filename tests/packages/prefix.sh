#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# `cmake --install --prefix`: units name the programs there, and the command finds its reader of
# file systems. An operator's configuration stays as it is.
. "$(dirname "$0")/../e2e/functions.sh"
requires cmake jq mke2fs

mkdir -p "$tmp/root/etc/signpost"
echo '# mine' >"$tmp/root/etc/signpost/signpost.toml"
DESTDIR=$tmp/root cmake --install "$BUILD_DIR" --prefix /opt/signpost >"$tmp/install.log" 2>&1 ||
    fail "cmake --install"
units=$tmp/root/$(cd "$tmp/root" && dirname "$(find . -name signpostd.service)")
grep -q '^ExecStart=/opt/signpost/sbin/signpostd --config /etc/signpost/signpost.toml$' \
    "$units/signpostd.service" || fail "the unit names another program"
grep -q '^ExecStart=/opt/signpost/bin/signpost-pool ' "$units/signpost-pool-watch@.service"
[ "$(cat "$tmp/root/etc/signpost/signpost.toml")" = '# mine' ] || fail "the configuration changed"

opt=$tmp/root/opt/signpost
mkdir -p "$tmp/files" "$tmp/images"
echo hello >"$tmp/files/motd"
mke2fs -q -t ext4 -d "$tmp/files" "$tmp/images/disk.raw" 16M
SIGNPOSTD=$opt/sbin/signpostd
start_signpostd alpha "$tmp/images"
wait_published alpha disk
[ "$("$opt/bin/signpost" --catalog "$(catalog_url)" files cat disk:/motd)" = hello ] ||
    fail "the command does not find its reader"
