#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Ctrl-C in the middle of a long reading ends the command at once with 130, and stores nothing.
. "$(dirname "$0")/functions.sh"

requires nbdkit jq
requires_nbdkit filter delay
start_nbdkit slow -r --verbose --filter=delay memory 8M rdelay=5
signpost servers add slow "${uri[slow]}" --foreign
# Not through the shell: it starts background commands with the interrupt ignored.
status=$("$PYTHON" - "$SIGNPOST" "$catalog" "$tmp/slow.log" <<'PYTHON'
import signal, subprocess, sys, time
command, catalog, log = sys.argv[1:]
verify = subprocess.Popen([command, "--catalog", catalog, "verify", "slow"],
                          stdout=subprocess.DEVNULL)
deadline = time.monotonic() + 10
while "delay: pread" not in open(log).read() and time.monotonic() < deadline:
    time.sleep(0.02)
verify.send_signal(signal.SIGINT)
print(verify.wait(timeout=5))
PYTHON
)
[ "$status" = 130 ] || fail "status $status"
[ "$(signpost where slow --json | jq '.locations[0].digest')" = null ] || fail "a digest is stored"
