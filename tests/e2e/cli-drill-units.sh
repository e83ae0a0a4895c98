#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The units of the nightly drill are good ones.
. "$(dirname "$0")/functions.sh"

requires systemd-analyze
mkdir "$tmp/units"
cp "$SOURCE_DIR"/cli/signpost-drill.{service,timer} "$tmp/units"
sed -i "s,/usr/bin/signpost ,$SIGNPOST ," "$tmp/units/signpost-drill.service"
systemd-analyze verify --man=no "$tmp/units/signpost-drill.service" \
    "$tmp/units/signpost-drill.timer" >"$tmp/out" 2>&1 || true
! grep signpost-drill "$tmp/out" || fail "see above"
systemd-analyze calendar "$(sed -n 's/^OnCalendar=//p' "$tmp/units/signpost-drill.timer")" \
    >"$tmp/out"
