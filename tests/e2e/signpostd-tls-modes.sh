#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# --tls=off takes no TLS, on takes both, require takes TLS only, but for a Unix socket.
. "$(dirname "$0")/functions.sh"

requires nbdinfo psktool
make_raw "$tmp/repository/a.raw" 1M
psktool -u alice -p "$tmp/keys.psk" >/dev/null 2>&1
chmod 600 "$tmp/keys.psk"
served() {
    nbdinfo --size "$1" >"$tmp/size" 2>&1
}
# check MODE PLAIN TLS: yes or no for each.
check() {
    spawn_signpostd alpha --repository="$tmp/repository" --tls-psk="$tmp/keys.psk" --tls="$1" \
        --peer-tls=off --listen=127.0.0.1:0 --listen="unix:$tmp/alpha.sock"
    local port plain=no tls=no
    port=$(free_port_of alpha 127.0.0.1)
    served "nbd://127.0.0.1:$port/a" && plain=yes
    served "nbds://alice@127.0.0.1:$port/a?tls-psk-file=$tmp/keys.psk" && tls=yes
    [ "$plain $tls" = "$2 $3" ] || fail "--tls=$1: plain $plain, TLS $tls: $(cat "$tmp/size")"
    served "nbd+unix:///a?socket=$tmp/alpha.sock" || fail "--tls=$1: not on the Unix socket"
    stop_server alpha
    rm "$tmp/alpha.log"
}
check on yes yes
check require no yes
check off yes no
