#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# cpack makes the packages; made again a year later they have the same bytes; lintian is content.
. "$(dirname "$0")/../e2e/functions.sh"
requires cpack dpkg-deb faketime lintian
umask 022
cd "$BUILD_DIR"

options=()
# pack DIRECTORY [PROGRAM…]: with $options.
pack() {
    local into=$1
    shift
    rm -rf "$into"
    "$@" cpack -G DEB -B "$into" "${options[@]}" >"$tmp/cpack.log" 2>&1 || fail "cpack"
}

pack "$BUILD_DIR/packages"
pack "$tmp/again" faketime '2027-12-01 12:00:00'
made=("$BUILD_DIR"/packages/*.deb)
[ "${#made[@]}" = 6 ] || fail "${#made[@]} packages, not 6"
for package in "${made[@]}"; do
    cmp "$package" "$tmp/again/${package##*/}" || fail "${package##*/}: not the same bytes"
done
# For those who test an upgrade; packed fast.
options=(-D CPACK_PACKAGE_VERSION=99.0 -D CPACK_DEBIAN_COMPRESSION_TYPE=gzip)
pack "$BUILD_DIR/packages/newer"

for package in "${made[@]}"; do
    dpkg-deb --contents "$package" >"$tmp/contents"
    ! grep -v ' root/root ' "$tmp/contents" || fail "${package##*/}: an owner"
    grep -q '/copyright$' "$tmp/contents" || fail "${package##*/}: no copyright"
    dpkg-deb --field "$package" Description | sed -n 1p >>"$tmp/summaries"
done
[ "$(sort -u "$tmp/summaries" | wc -l)" = "${#made[@]}" ] || fail "summaries that are the same"
lintian --allow-root --tag-display-limit 0 --fail-on error,warning "${made[@]}" ||
    fail "lintian complains"
