#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The packets of the peer that serves are dropped while a client reads, and an equal replica is
# left: no error, no wrong byte, and the stall stays below 3 s.
. "$(dirname "$0")/functions.sh"

requires nbdkit
requires_net_admin
in_own_network
"$PYTHON" -B "$here/failover-rounds.py" --server "$SERVER" \
    --rounds 3 --seed 7 --fault drop --limit 4000
