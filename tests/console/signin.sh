#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Who signs in sees the disks that the rules allow; who signs out does not see them any more.
# shellcheck source=tests/console/console.inc
. "$(dirname "$0")/console.inc"
requires htpasswd

make_raw "$tmp/repo/web/vda.raw" 1M
make_raw "$tmp/repo/db/vda.raw" 1M
htpasswd -Bbc -C 5 "$tmp/users" ann "päss:word" 2>/dev/null
cat >"$tmp/signpost.toml" <<TOML
repository = "$tmp/repo"
http-users = "users"
[[access]]
user = "ann"
disk = "web/*"
right = "read-only"
TOML
start_console alpha --config "$tmp/signpost.toml" --uri=nbd://127.0.0.1
wait_published alpha web/vda
wait_published alpha db/vda
browse
