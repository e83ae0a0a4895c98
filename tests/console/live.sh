#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Live sessions with their throughput, the servers and their links, and what the doctor finds.
# shellcheck source=tests/console/console.inc
. "$(dirname "$0")/console.inc"

make_raw "$tmp/alpha/web01/vda.raw" 8M
make_raw "$tmp/beta/db01/vda.raw" 64M
make_raw "$tmp/gamma/old/vda.raw" 1M
start_signpostd beta "$tmp/beta"
start_signpostd gamma "$tmp/gamma"
console_server alpha "$tmp/alpha"
wait_published alpha web01/vda
wait_published beta db01/vda
wait_published gamma old/vda
kill_server gamma

# Clients that read for as long as the test lasts, each at its own pace.
cat >"$tmp/reader.py" <<'PYTHON'
import itertools
import sys
import time

import nbd

session = nbd.NBD()
session.connect_uri(sys.argv[1])
for i in itertools.count():
    session.pread(262144, i * 262144 % session.get_size())
    time.sleep(float(sys.argv[2]) * (1 + i // 50 % 3))
PYTHON
read_on() {
    "$PYTHON" "$tmp/reader.py" "$@" 2>/dev/null &
    cleanup_fn kill $!
}
read_on "${uri[alpha]}/db01/vda" 0.05
read_on "${uri[alpha]}/web01/vda" 0.02
gamma_is_down() {
    api /api/v1/servers | jq -e 'any(.name == "gamma" and .reachable == false) and
        any(.name == "beta" and .reachable)'
}
wait_until -t 60 gamma_is_down

browse
