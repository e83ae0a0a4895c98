#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Every numbered point of the protocol, seen from outside: alpha is asked for beta's disks.
. "$(dirname "$0")/conformance.inc"

make_conformance_image "$tmp/reading/disk.raw"
make_conformance_image "$tmp/writing/scratch.raw"
start_server beta "$tmp/reading"
start_server gamma "$tmp/writing" writable=true
start_server alpha
start_server delta writable=true
wait_published beta disk
wait_published gamma scratch
conform --port "${port[alpha]}" --pid "${pid[alpha]}" \
    --export disk --image "$tmp/reading/disk.raw" \
    --writable-port "${port[delta]}" --writable scratch --writable-image "$tmp/writing/scratch.raw"
conform_at_shutdown alpha --export disk --image "$tmp/reading/disk.raw"
report_points
