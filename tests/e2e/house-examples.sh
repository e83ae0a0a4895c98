#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Each script of examples/ does what it says. (pool-examples.sh has those of the libvirt pool.)
. "$(dirname "$0")/functions.sh"

requires nbdkit nbdcopy qemu-io jq
export PLUGIN SIGNPOST SIGNPOSTD STATE=$tmp/state ALPHA_PORT BETA_PORT GAMMA_PORT
catalog=$STATE/catalog.db
end_examples() {
    kill -KILL "$(cat "$STATE/alpha.pid")" "$(cat "$STATE/beta.pid")"
}
cleanup_fn end_examples
played=()
example() {
    played+=("$1")
    local name=$1
    shift
    "$SOURCE_DIR/examples/$name" "$@" >"$tmp/$name.out" 2>"$tmp/$name.log" ||
        fail "$name: $(cat "$tmp/$name.log")"
}

make_raw "$tmp/alpha/web01/vda.raw" 4M 1
make_raw "$tmp/beta/db01/vda.raw" 4M 2
ALPHA_PORT=$(free_port)
BETA_PORT=$(free_port)
example two-servers.sh "$tmp/alpha" "$tmp/beta"
wait_published beta db01/vda
same_bytes "nbd://127.0.0.1:$ALPHA_PORT/db01/vda" "$tmp/beta/db01/vda.raw"

mkdir "$tmp/vault"
make_raw "$tmp/vault/archive" 1M 3
start_nbdkit vault -r file dir="$tmp/vault"
example foreign-server.sh "sqlite:$catalog" vault "${uri[vault]}"
grep -q archive "$tmp/foreign-server.sh.out" || fail "the foreign export is not listed"
same_bytes "nbd://127.0.0.1:$ALPHA_PORT/archive" "$tmp/vault/archive"

before=$(sha256sum <"$tmp/beta/db01/vda.raw")
# shellcheck disable=SC2016 # $uri is nbdkit's
example writable-boot-with-cow.sh "sqlite:$catalog" db01/vda \
    'qemu-io -f raw -c "write -P 7 0 64k" -c "read -P 7 0 64k" "$uri"'
[ "$(sha256sum <"$tmp/beta/db01/vda.raw")" = "$before" ] || fail "the backup was written to"

ALPHA_PORT=$(free_port) BETA_PORT=$(free_port) GAMMA_PORT=$(free_port)
example fleet-postgresql.sh
for line in 'all is well' 'alpha was killed' 'PostgreSQL was stopped' 'db01 through gamma: 8'; do
    grep -q "$line" "$tmp/fleet-postgresql.sh.out" ||
        fail "the fleet's example does not say \"$line\": $(cat "$tmp/fleet-postgresql.sh.log")"
done

for script in "$SOURCE_DIR"/examples/*.sh; do
    [[ " ${played[*]} " == *" ${script##*/} "* || $script == */pool-* ]] ||
        fail "no test runs examples/${script##*/}"
done
