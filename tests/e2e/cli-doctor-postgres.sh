#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# `doctor` names what is wrong with a catalog in PostgreSQL: not running, empty, a wrong password,
# and a clock that is another than this machine's.
. "$(dirname "$0")/functions.sh"
. "$here/doctor.inc"
. "$here/postgres.inc"

requires faketime
catalog=postgresql://127.0.0.1:$(free_port)/signpost
finds catalog fail refused 'postgresql'
start_postgres db
catalog=${postgres_uri[db]}
finds catalog fail 'no tables' 'signpost catalog init'
signpost catalog init
finds server warn 'no server is registered' 'signpost servers add'

# Its primary is gone, and the standby that is left only lets read.
standby_of standby db
catalog=${postgres_uri[standby]}
stop_postgres db
finds catalog warn 'not be changed' 'promote'
promote_postgres standby
DOCTOR="faketime -f +2h $SIGNPOST" finds clock warn 'ahead of' timedatectl

sed -i 's/trust$/scram-sha-256/' "$tmp/standby.postgres/data/pg_hba.conf"
stop_postgres standby
restart_postgres standby
finds catalog fail password '.pgpass'
