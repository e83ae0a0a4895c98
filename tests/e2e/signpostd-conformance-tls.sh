#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The points of the protocol that are about TLS, and those of requests and replies inside TLS.
. "$(dirname "$0")/pki.inc"
. "$(dirname "$0")/conformance.inc"

make_conformance_image "$tmp/reading/disk.raw"
make_authority "$tmp/ca"
make_authority "$tmp/other-ca"
make_certificate "$tmp/ca" "$tmp/server" server localhost
make_certificate "$tmp/ca" "$tmp/client" client vm1.example
make_certificate "$tmp/other-ca" "$tmp/stranger" client vm1.example
signpostd_options=(--tls-certificates="$tmp/server" --peer-tls=off)
start_server alpha "$tmp/reading"
arguments=(--export disk --image "$tmp/reading/disk.raw" --tls-ca "$tmp/ca/ca-cert.pem"
    --tls-certificate "$tmp/client" --tls-stranger "$tmp/stranger")
conform --port "${port[alpha]}" --pid "${pid[alpha]}" "${arguments[@]}" --without p011
conform_at_shutdown alpha "${arguments[@]}"
report_points
