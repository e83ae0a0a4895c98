#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A catalog of 100,000 disks: a client gets all the names, in order, and the server's memory stays
# flat meanwhile, also with eight clients that do not read on.
. "$(dirname "$0")/functions.sh"

requires sqlite3 jq
make_raw "$tmp/beta/seed.raw" 1M 1
start_server beta "$tmp/beta"
wait_published beta seed
stop_server beta
# The one location, a hundred thousand times, under other names.
sqlite3 "$catalog" <<'SQL'
BEGIN;
WITH RECURSIVE numbers(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM numbers WHERE n < 99999)
INSERT INTO disk (name) SELECT printf('guests/disk-%06d', n) FROM numbers;
CREATE TEMP TABLE copy AS SELECT * FROM location;
INSERT INTO location (disk_id, server_id, export_name, size, format, read_only, generation, digest,
        state, priority, published, fingerprint, minimum_block)
    SELECT disk.id, server_id, name, size, format, read_only, generation, digest, state, priority,
        published, fingerprint, minimum_block
    FROM disk, copy WHERE disk.id != copy.disk_id;
UPDATE catalog_state SET disks = 100000, locations = 100000, change_sequence = change_sequence + 1;
COMMIT;
SQL
start_server alpha
PYTHONPATH=$here "$PYTHON" -B - "${port[alpha]}" "${pid[alpha]}" <<'PYTHON'
import struct
import sys
import time
import plain_nbd

port, server = int(sys.argv[1]), int(sys.argv[2])
ACK, SERVER = 1, 2


def resident():
    with open(f"/proc/{server}/status", encoding="ascii") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) >> 10


def ask_for_list(receive_buffer=None):
    client = plain_nbd.begin(port, receive_buffer)
    client.sendall(struct.pack(">8sII", b"IHAVEOPT", 3, 0))
    return client


def names(client):
    stream = client.makefile("rb")
    while True:
        _, _, kind, length = struct.unpack(">QIII", stream.read(20))
        data = stream.read(length)
        if kind != SERVER:
            if kind != ACK:
                sys.exit(f"the list ends with {kind}: {data}")
            return
        yield data[4:4 + struct.unpack(">I", data[:4])[0]]


first = list(names(ask_for_list()))
if len(first) != 100000 or len(set(first)) != 100000:
    sys.exit(f"{len(first)} names")
if first != sorted(first):
    sys.exit("not in order")
before = resident()
slow = [ask_for_list(4096) for _ in range(8)]
start = time.monotonic()
again = list(names(ask_for_list()))
took = time.monotonic() - start
print(f"{len(again)} names in {took:.2f} s; {before} MiB, with nine lists at once {resident()} MiB")
if again != first:
    sys.exit("another list")
if resident() - before > 40:  # each takes some for its page of names and its part of the catalog
    sys.exit("memory grows with the list")
if list(names(slow[0])) != first:
    sys.exit("another list for one who waits")
PYTHON
