#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""One NBD session that a shell test keeps open: a command a line in, an answer a line out.

    read OFFSET LENGTH          ok MILLISECONDS SHA256   or the errno's name and MILLISECONDS
    write OFFSET LENGTH VALUE   ok MILLISECONDS          VALUE: of each byte
    flush                       ok MILLISECONDS
    size                        ok MILLISECONDS BYTES

It never connects a second time: what is answered is answered on the first connection.
"""

import errno
import hashlib
import sys
import time

import nbd


def perform(session, words):
    verb, numbers = words[0], [int(word) for word in words[1:]]
    if verb == "read":
        offset, length = numbers
        return hashlib.sha256(session.pread(length, offset)).hexdigest()
    if verb == "write":
        offset, length, value = numbers
        session.pwrite(bytes([value]) * length, offset)
    elif verb == "flush":
        session.flush()
    elif verb == "size":
        return str(session.get_size())
    else:
        sys.exit(f"session.py: unknown command {verb}")
    return ""


def main():
    session = nbd.NBD()
    session.set_uri_allow_local_file(True)  # certificates and keys
    session.connect_uri(sys.argv[1])
    print("ok 0", flush=True)
    for line in sys.stdin:
        start = time.monotonic()
        try:
            said, word = perform(session, line.split()), "ok"
        except nbd.Error as error:
            said, word = "", errno.errorcode.get(error.errnum, "EUNKNOWN")
            print(f"session.py: {line.strip()}: {error.string}", file=sys.stderr)
        print(word, round((time.monotonic() - start) * 1000), said, flush=True)


if __name__ == "__main__":
    main()
