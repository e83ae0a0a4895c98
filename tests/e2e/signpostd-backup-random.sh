#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Random sets that virtnbdbackup's own module has written: each point is what the disk was then. For
# longer:
#   SETS=1000 tests/e2e/signpostd-backup-random.sh
. "$(dirname "$0")/functions.sh"

requires virtnbdbackup
mkdir "$tmp/repository"
"$SIGNPOSTD" --repository "$tmp/repository" --listen "unix:$tmp/socket" --server alpha \
    --catalog "sqlite:$tmp/catalog.db" >"$tmp/alpha.log" 2>&1 &
pid[alpha]=$!
wait_until test -S "$tmp/socket"
"$PYTHON" "$here/random_backups.py" "$tmp/socket" "$tmp/repository" --sets "${SETS:-30}"
