#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Two servers on this machine that share a catalog: a disk of either can be had from both.
#
#   examples/two-servers.sh DIR-OF-ALPHA DIR-OF-BETA
#
# They go to the background; the last line says how to end them. On two machines the same two lines
# do it, each with its own address in --uri, and a catalog that both can reach.

set -eu -o pipefail
[ $# = 2 ] || { echo "usage: $0 DIR-OF-ALPHA DIR-OF-BETA" >&2; exit 2; }
signpostd=${SIGNPOSTD:-signpostd}
state=${STATE:-$HOME/.local/state/signpost}
alpha_port=${ALPHA_PORT:-10809} beta_port=${BETA_PORT:-10810}
mkdir -p "$state"

"$signpostd" --listen "127.0.0.1:$alpha_port" --pid-file "$state/alpha.pid" --repository "$1" \
    --catalog "sqlite:$state/catalog.db" --server alpha --uri "nbd://127.0.0.1:$alpha_port" \
    2>>"$state/alpha.log" &
"$signpostd" --listen "127.0.0.1:$beta_port" --pid-file "$state/beta.pid" --repository "$2" \
    --catalog "sqlite:$state/catalog.db" --server beta --uri "nbd://127.0.0.1:$beta_port" \
    2>>"$state/beta.log" &
until [ -s "$state/alpha.pid" ] && [ -s "$state/beta.pid" ]; do sleep 0.1; done

echo "list all disks:   nbdinfo --list nbd://127.0.0.1:$alpha_port"
echo "where they are:   signpost --catalog sqlite:$state/catalog.db ls"
echo "end both:         kill $(cat "$state/alpha.pid") $(cat "$state/beta.pid")"
