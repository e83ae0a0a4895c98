#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The peer that serves is stopped (SIGSTOP: its TCP connections stay up) while a client reads, and
# an equal replica is left: no error, no wrong byte, and the stall stays below 3 s.
. "$(dirname "$0")/functions.sh"

requires nbdkit
"$PYTHON" -B "$here/failover-rounds.py" --server "$SERVER" \
    --rounds 4 --seed 7 --fault stop --limit 4000
