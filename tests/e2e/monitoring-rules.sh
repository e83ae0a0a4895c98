#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Alerts and dashboard are what Prometheus and Grafana take, and speak of metrics that there are.
# shellcheck source=tests/e2e/functions.sh
. "$(dirname "$0")/functions.sh"
# shellcheck source=tests/e2e/http.inc
. "$here/http.inc"
requires promtool

cd "$SOURCE_DIR/monitoring"
promtool check rules signpost.rules.yml
promtool test rules signpost.rules.test.yml
sed "s#/usr/share/signpost/monitoring#$PWD#" prometheus.yml.example >"$tmp/prometheus.yml"
promtool check config "$tmp/prometheus.yml"
jq -e '.uid == "signpost-fleet" and ([.panels[].id] | unique | length) == (.panels | length)' \
    signpost-dashboard.json >/dev/null

# Each name that they ask for is in the manual, and the manual has what the server says.
grep -hEo 'signpost_[a-z_]+' signpost.rules.yml signpost-dashboard.json |
    sed -E 's/_(bucket|sum|count)$//; s/^signpost_//' | sort -u >"$tmp/asked"
grep -E '^=item [a-z_, ]+$' signpost-monitoring.pod | sed 's/^=item //' | tr -d ' ' | tr , '\n' |
    sort -u >"$tmp/manual"
missing=$(comm -23 "$tmp/asked" "$tmp/manual")
[ -z "$missing" ] || fail "not in signpost-monitoring(7): $missing"
start_console alpha
api /metrics | grep '^# TYPE' | cut -d ' ' -f 3 | sed 's/^signpost_//' | sort -u >"$tmp/said"
missing=$(comm -23 "$tmp/said" "$tmp/manual")
[ -z "$missing" ] || fail "not in signpost-monitoring(7): $missing"
