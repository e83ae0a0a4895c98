#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The only peer hangs (SIGSTOP): a read gives EIO within peer-timeout, and the same client
# connection reads again when the peer goes on.
. "$(dirname "$0")/without-replica.inc"

break_peer() {
    kill -STOP "${pid[beta]}"
    wait_until all_threads_stopped
}
all_threads_stopped() { # the signal only asks for it
    ! grep -h '^State:' /proc/"${pid[beta]}"/task/*/status | has -v 'T (stopped)'
}
heal_peer() {
    kill -CONT "${pid[beta]}"
}
reads_fail_and_resume
