# SPDX-License-Identifier: BSD-3-Clause
"""One of two clients that want to write the same disk, and writes down when it could.

    writer.py CONFIGURATION RECORDS NAME

The configuration is JSON: {"address": ADDRESS, "disk": NAME, "begin": SECONDS, "until": SECONDS}
(monotonic). It writes blocks of its own, one after the other, each with a number that grows, and
waits for each to be durable (FUA). A record is one line of JSON: ["write", begun, ended, name,
offset, stamp, error]; the error is null when the write was acknowledged.
"""

import json
import sys
import time

import nbd

PORT = 10809
BLOCK = 4096
BLOCKS = 64
PATIENCE = 20


def stamp_of(name, number):
    return f"{name} {number}"


def block_of(stamp):
    return stamp.encode().ljust(BLOCK, b".")


class Writer:
    def __init__(self, configuration, records, name):
        self.__dict__.update(configuration)
        self.records = records
        self.name = name
        self.handle = None
        self.number = 0

    def connect(self):
        handle = nbd.NBD()
        handle.set_export_name(self.disk)
        handle.aio_connect_tcp(self.address, str(PORT))
        if self.wait(handle, lambda: handle.aio_is_ready()):
            self.handle = handle

    def wait(self, handle, done):
        """Whether DONE() came true in time; raises nbd.Error."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if done():
                return True
            if handle.aio_is_dead() or handle.aio_is_closed():
                return False
            handle.poll(100)
        return False

    def write(self):
        self.number += 1
        offset = self.number % BLOCKS * BLOCK
        stamp = stamp_of(self.name, self.number)
        begun = time.monotonic()
        error = None
        try:
            cookie = self.handle.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(block_of(stamp))),
                                            offset, flags=nbd.CMD_FLAG_FUA)
            if not self.wait(self.handle, lambda: self.handle.aio_command_completed(cookie)):
                error = "lost"
        except nbd.Error as failure:
            error = failure.errno or failure.string
        self.records.write(json.dumps(["write", begun, time.monotonic(), self.name, offset, stamp,
                                       error]) + "\n")
        return error

    def go_on(self):
        try:
            if self.handle is None:
                self.connect()
            elif self.write() is not None:
                self.handle = None  # opens anew: what it was may be over
        except nbd.Error:
            self.handle = None
        time.sleep(0.05 if self.handle else 0.3)


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        configuration = json.load(file)
    with open(sys.argv[2], "w", encoding="utf-8", buffering=1) as records:
        writer = Writer(configuration, records, sys.argv[3])
        time.sleep(max(0.0, writer.begin - time.monotonic()))
        while time.monotonic() < writer.until:
            writer.go_on()


if __name__ == "__main__":
    main()
