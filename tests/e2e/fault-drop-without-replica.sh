#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The only peer's packets are dropped: a read gives EIO within peer-timeout, and the same client
# connection reads again when they come through.
. "$(dirname "$0")/without-replica.inc"

requires_net_admin
in_own_network
firewall() {
    iptables "$1" INPUT -p tcp --dport "${port[beta]}" -j DROP
    iptables "$1" INPUT -p tcp --sport "${port[beta]}" -j DROP
}
break_peer() {
    firewall -A
}
heal_peer() {
    firewall -D
}
reads_fail_and_resume
