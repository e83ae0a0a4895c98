#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What a client is told of a disk: read-only, several connections, extents, cache; and of a writable
# one: flush, FUA, trim, zero, fast zero.
. "$(dirname "$0")/functions.sh"

requires nbdkit
make_raw "$tmp/repository/a.raw" 4M 1
start_server reader "$tmp/repository"
start_server writer writable=true "$tmp/repository"
"$PYTHON" - "$(disk_uri reader a)" "$(disk_uri writer a)" <<'PYTHON'
import errno
import sys
import nbd

reader = nbd.NBD()
reader.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
reader.connect_uri(sys.argv[1])
assert reader.is_read_only() and reader.can_multi_conn() and reader.can_cache()
assert reader.can_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
assert reader.get_block_size(nbd.SIZE_MINIMUM) == 1
assert reader.get_block_size(nbd.SIZE_MAXIMUM) == 64 * 1024 * 1024
assert reader.pread(3, 5) == reader.pread(64, 0)[5:8]
reader.cache(65536, 0)

writer = nbd.NBD()
writer.connect_uri(sys.argv[2])
assert not writer.is_read_only()
assert writer.can_flush() and writer.can_fua() and writer.can_trim() and writer.can_zero()
assert writer.can_fast_zero() and writer.can_multi_conn()
writer.pwrite(b"Z" * 4096, 4096, nbd.CMD_FLAG_FUA)
assert writer.pread(4096, 4096) == b"Z" * 4096
writer.zero(4096, 4096)
assert writer.pread(4096, 4096) == bytes(4096)
writer.pwrite(b"Y" * 65536, 65536)
writer.zero(65536, 65536, nbd.CMD_FLAG_NO_HOLE)
assert writer.pread(65536, 65536) == bytes(65536)
writer.trim(65536, 131072)
try:
    writer.zero(65536, 0, nbd.CMD_FLAG_FAST_ZERO)
    assert writer.pread(65536, 0) == bytes(65536)
except nbd.Error as error:
    assert error.errnum == errno.ENOTSUP, error.string
writer.flush()
PYTHON
