#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# systemd takes the units that verify a server's disks every week.
. "$(dirname "$0")/functions.sh"

requires systemd-analyze
mkdir "$tmp/units"
cp "$SOURCE_DIR"/nbd-server/server/signpost-verify.{service,timer} "$tmp/units"
sed -i "s,/usr/bin/signpost ,$SIGNPOST ," "$tmp/units/signpost-verify.service"
for unit in "$tmp"/units/*; do
    systemd-analyze verify --man=no "$unit" >"$tmp/out" 2>&1 || fail "$unit: $(cat "$tmp/out")"
    ! has signpost <"$tmp/out" || fail "$unit: $(cat "$tmp/out")"
done
systemd-analyze calendar --iterations=1 \
    "$(sed -n 's/^OnCalendar=//p' "$tmp/units/signpost-verify.timer")" >/dev/null
echo 'Nonsense=1' >>"$tmp/units/signpost-verify.service"
systemd-analyze verify --man=no "$tmp/units/signpost-verify.service" 2>&1 | has Nonsense ||
    fail "systemd-analyze says nothing of a bad unit"
