#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The only peer is killed: a read gives EIO within peer-timeout, and the same client connection
# reads again when the peer is back.
. "$(dirname "$0")/without-replica.inc"

break_peer() {
    kill_server beta
}
heal_peer() {
    restart_server beta
}
reads_fail_and_resume
