#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A client whose packets are dropped from one moment on, with a reply on its way to it, is given up
# within a minute, and what it held is free again; others are served meanwhile.
. "$(dirname "$0")/functions.sh"

requires_net_admin
in_own_network
make_raw "$tmp/repository/a.raw" 32M 1
signpostd_options=(--audit-log="$tmp/audit.json")
start_server alpha "$tmp/repository"
PYTHONPATH=$here "$PYTHON" -B - "${port[alpha]}" "$tmp/cut" 2>"$tmp/client.log" <<'PYTHON' &
import subprocess
import sys
import time
import plain_nbd

client, _ = plain_nbd.connect(int(sys.argv[1]), "a", 65536)
own = str(client.getsockname()[1])
plain_nbd.ask(client, plain_nbd.READ, 0, 16 << 20)
plain_nbd.receive(client, 1 << 20)
for side in ("--dport", "--sport"):
    subprocess.run(["iptables", "-A", "INPUT", "-p", "tcp", side, own, "-j", "DROP"], check=True)
open(sys.argv[2], "w").close()
time.sleep(100)
PYTHON
cleanup_fn kill "$!"
wait_until test -e "$tmp/cut"
start=$(now_ms)
open_session "$(disk_uri alpha a)"
expect_read 0 65536 "$tmp/repository/a.raw"
given_up() {
    jq -es 'any(.[]; .op == "close" and (.reason | test("lost|take")))' "$tmp/audit.json"
}
wait_until -t 75 given_up
took=$((($(now_ms) - start) / 1000))
echo "given up after $took s: $(jq -r 'select(.op == "close").reason' "$tmp/audit.json")"
[ "$took" -lt 70 ] || fail "given up after $took s"
expect_read 1048576 65536 "$tmp/repository/a.raw"
