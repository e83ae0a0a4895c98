#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A clean Debian of this machine's release, from this machine's mirror, with nothing but what is
# essential and apt; and beside it, not installed, whatever the packages want. The other tests begin
# from it, without a network. It is kept in build/clean-root until what is wanted changes.
. "$(dirname "$0")/packages.inc"
requires_root
requires mmdebstrap apt-get

{
    # shellcheck disable=SC2016 # apt's
    apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' \
        'Identifier: Packages' 'Origin: Debian' | sort -u
    for package in "${packages[@]}"; do
        dpkg-deb --field "$package" Package Depends
    done | sed 's/ (= [^)]*)//g'
    echo "${others[@]}"
} >"$tmp/wanted"
if cmp -s "$tmp/wanted" "$clean_root.wanted"; then
    echo "it is there"
    exit 0
fi

grep '^deb ' "$tmp/wanted" >"$tmp/sources" || fail "apt knows no mirror of Debian"
# Through whatever proxy this machine goes.
apt-config dump Acquire | grep -iE 'proxy|retries|timeout' >"$tmp/apt.conf" || true
rm -rf "$clean_root" "$clean_root.wanted"
mkdir -p "${clean_root%/*}"
# shellcheck disable=SC2016 # $1 is the hooks'
mmdebstrap --variant=minbase --mode=root --format=directory --skip=cleanup/apt \
    --aptopt="$tmp/apt.conf" \
    --essential-hook='echo force-unsafe-io >"$1/etc/dpkg/dpkg.cfg.d/test"' \
    --customize-hook='mkdir "$1/packages"' \
    --customize-hook="copy-in ${packages[*]} /packages" \
    --customize-hook='chroot "$1" apt-get update' \
    --customize-hook='chroot "$1" sh -c "apt-get install --yes --download-only \
        --no-install-recommends /packages/*.deb '"${others[*]}"'"' \
    --customize-hook='rm -r "$1/packages"' \
    bookworm "$clean_root" - <"$tmp/sources" >"$tmp/mmdebstrap.log" 2>&1 || {
    rm -rf "$clean_root"
    grep -qE 'Could not (resolve|connect)|Unable to (connect|fetch)|Failed to fetch' \
        "$tmp/mmdebstrap.log" && skip "Debian's mirror cannot be reached"
    fail "mmdebstrap"
}
cp "$tmp/wanted" "$clean_root.wanted"
