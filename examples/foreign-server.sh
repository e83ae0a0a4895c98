#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Lets an NBD server of any make join: what it exports, every server of the catalog relays.
#
#   examples/foreign-server.sh CATALOG NAME NBD-URI
#   examples/foreign-server.sh sqlite:/var/lib/signpost/catalog.db vault nbd://vault.example:10809
#
# Run it again when the server exports something new.

set -eu -o pipefail
[ $# = 3 ] || { echo "usage: $0 CATALOG NAME NBD-URI" >&2; exit 2; }
signpost=${SIGNPOST:-signpost}

"$signpost" --catalog "$1" servers add "$2" "$3" --foreign
"$signpost" --catalog "$1" ls
