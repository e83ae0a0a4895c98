#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Random qcow2 images are read as qemu-img reads them, without a helper program. For longer:
#   IMAGES=3000 tests/e2e/signpostd-qcow2-random.sh
. "$(dirname "$0")/functions.sh"

requires qemu-img qemu-io
mkdir "$tmp/repository"
# Where there is no qemu-nbd to be found.
PATH=$tmp "$SIGNPOSTD" --repository "$tmp/repository" --listen "unix:$tmp/socket" --server alpha \
    --catalog "sqlite:$tmp/catalog.db" >"$tmp/alpha.log" 2>&1 &
pid[alpha]=$!
wait_until test -S "$tmp/socket"
"$PYTHON" "$here/random_qcow2.py" "$tmp/socket" "$tmp/repository" --images "${IMAGES:-40}"
