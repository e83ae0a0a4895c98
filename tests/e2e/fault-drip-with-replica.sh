#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The peer that serves goes on to answer, but with 16 KiB a second, while a client reads, and an
# equal replica is left: the peer counts as hung; no error, no wrong byte, and the stall stays
# below 4 s.
. "$(dirname "$0")/functions.sh"

requires nbdkit
"$PYTHON" -B "$here/failover-rounds.py" --server "$SERVER" \
    --rounds 2 --seed 7 --fault drip --during 4 --limit 6000
