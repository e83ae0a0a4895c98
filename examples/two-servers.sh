#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Two servers on this machine that share a catalog: a disk of either can be had from both.
#
#   examples/two-servers.sh DIR-OF-ALPHA DIR-OF-BETA
#
# They go to the background; the last line says how to end them. On two machines the same two lines
# do it, each with its own address in uri=, and a catalog that both can reach.

set -eu -o pipefail
[ $# = 2 ] || { echo "usage: $0 DIR-OF-ALPHA DIR-OF-BETA" >&2; exit 2; }
plugin=${PLUGIN:-signpost} # installed; or the path of nbdkit-signpost-plugin.so
state=${STATE:-$HOME/.local/state/signpost}
alpha_port=${ALPHA_PORT:-10809} beta_port=${BETA_PORT:-10810}
mkdir -p "$state"

nbdkit --ipaddr=127.0.0.1 --port="$alpha_port" --pidfile="$state/alpha.pid" "$plugin" "$1" \
    catalog="sqlite:$state/catalog.db" server=alpha uri="nbd://127.0.0.1:$alpha_port"
nbdkit --ipaddr=127.0.0.1 --port="$beta_port" --pidfile="$state/beta.pid" "$plugin" "$2" \
    catalog="sqlite:$state/catalog.db" server=beta uri="nbd://127.0.0.1:$beta_port"

echo "list all disks:   nbdinfo --list nbd://127.0.0.1:$alpha_port"
echo "where they are:   signpost --catalog sqlite:$state/catalog.db ls"
echo "end both:         kill $(cat "$state/alpha.pid") $(cat "$state/beta.pid")"
