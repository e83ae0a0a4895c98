#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Every numbered point of the protocol, seen from outside: an image of the server's own.
. "$(dirname "$0")/conformance.inc"

make_conformance_image "$tmp/reading/disk.raw"
make_conformance_image "$tmp/writing/scratch.raw"
start_server alpha "$tmp/reading"
start_server beta "$tmp/writing" writable=true
conform --port "${port[alpha]}" --pid "${pid[alpha]}" \
    --export disk --image "$tmp/reading/disk.raw" \
    --writable-port "${port[beta]}" --writable scratch --writable-image "$tmp/writing/scratch.raw"
conform_at_shutdown alpha --export disk --image "$tmp/reading/disk.raw"
report_points
