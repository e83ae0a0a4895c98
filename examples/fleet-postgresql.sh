#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# A fleet of three servers with a PostgreSQL catalog, on this machine: shows that any disk can be
# had from any server, that a server may die while a disk is read, and that reading goes on without
# the database.
#
#   examples/fleet-postgresql.sh
#
# Everything is made in a directory of its own, and gone at the end. On machines of your own the
# database is yours (postgresql://signpost@db1.example,db2.example/signpost, highly available as you
# like it), and each server is one signpostd line as below.

set -eu -o pipefail
export LC_ALL=C
signpostd=${SIGNPOSTD:-signpostd} signpost=${SIGNPOST:-signpost}
declare -A port=(
    [alpha]=${ALPHA_PORT:-10811} [beta]=${BETA_PORT:-10812} [gamma]=${GAMMA_PORT:-10813}
)
folder=$(mktemp -d "${TMPDIR:-/tmp}/signpost-fleet.XXXXXX")
postgres=$(find /usr/lib/postgresql -maxdepth 2 -name bin | sort -V | tail -n 1)
as=() # PostgreSQL does not run as root
if [ "$(id -u)" = 0 ]; then
    as=(setpriv --reuid=nobody --regid=nogroup --clear-groups)
    chmod a+x "$folder"
fi

database() {
    "${as[@]}" "$postgres/pg_ctl" --silent --pgdata="$folder/postgres/data" \
        --log="$folder/postgres/log" "$@"
}

end() {
    exec 2>/dev/null
    database stop --mode=immediate || true
    # shellcheck disable=SC2046 # one number a file
    kill $(cat "$folder"/*.pid) || true
    wait
    rm -rf "$folder"
}
trap end EXIT

say() {
    printf '\n==== %s\n' "$1"
}

say "a database, and the catalog in it"
mkdir "$folder/postgres"
[ "$(id -u)" != 0 ] || chown nobody:nogroup "$folder/postgres"
"${as[@]}" "$postgres/initdb" --pgdata="$folder/postgres/data" --username=signpost --auth=trust \
    --encoding=UTF8 --locale=C --no-instructions >/dev/null
database start --wait --options="-c listen_addresses= -c unix_socket_directories=$folder/postgres"
export SIGNPOST_CATALOG="postgresql://signpost@/postgres?host=$folder/postgres"
"$signpost" catalog init

say "three servers; disk web01 on alpha and beta, db01 on gamma"
mkdir -p "$folder"/{alpha,beta,gamma}
dd if=/dev/urandom of="$folder/alpha/web01.raw" bs=1M count=8 status=none
cp "$folder/alpha/web01.raw" "$folder/beta/web01.raw"
dd if=/dev/urandom of="$folder/gamma/db01.raw" bs=1M count=8 status=none
for name in alpha beta gamma; do
    address=127.0.0.1:${port[$name]}
    STATE_DIRECTORY=$folder/state-$name "$signpostd" --server "$name" --repository "$folder/$name" \
        --listen "$address" --uri "nbd://$address" --pid-file "$folder/$name.pid" \
        2>>"$folder/$name.log" &
done
until [ "$("$signpost" ls --json --bytes | grep -Ec '"locations":2|"name":"db01"')" = 2 ]; do
    ! grep -h 'level=error' "$folder"/*.log || exit 1
    sleep 0.1
done
"$signpost" verify web01 # both copies hold the same bytes: they may stand in for each other
"$signpost" ls

say "web01 through gamma, which does not have it, while first alpha dies and then the database"
export folder
/usr/bin/python3 - "nbd://127.0.0.1:${port[gamma]}/web01" <<'PYTHON'
import os, signal, subprocess, sys
import nbd

folder = os.environ["folder"]
with open(folder + "/alpha/web01.raw", "rb") as file:
    content = file.read()
disk = nbd.NBD()
disk.connect_uri(sys.argv[1])

def read_all(when):
    for offset in range(0, disk.get_size(), 1 << 20):
        if disk.pread(1 << 20, offset) != content[offset:offset + (1 << 20)]:
            sys.exit("wrong bytes " + when)
    print("read all of it, every byte right:", when)

read_all("all is well")
with open(folder + "/alpha.pid", encoding="ascii") as file:
    os.kill(int(file.read()), signal.SIGKILL)
os.remove(folder + "/alpha.pid")
read_all("alpha was killed")
with open(folder + "/postgres/data/postmaster.pid", encoding="ascii") as file:
    os.kill(int(file.readline()), signal.SIGQUIT)
read_all("PostgreSQL was stopped")
PYTHON

say "and each server's own disks can be opened all the same"
echo "db01 through gamma: $(nbdinfo --size "nbd://127.0.0.1:${port[gamma]}/db01") bytes"
