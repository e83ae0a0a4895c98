#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Reads a disk without a pause through several servers, and checks every byte that comes.

    read_checker.py IMAGE URI...

IMAGE has the right bytes. Each URI gets a session that lasts to the end, and one that is opened
anew again and again. Ends when its standard input has ended and each has then read some more, the
latter in new sessions; prints how many reads there were and the longest, in ms. Status 1 with a
line for each wrong or failed read.
"""

import random
import select
import sys
import threading
import time

import nbd

LENGTH = 256 * 1024
SESSION = 8  # reads of one that does not last


class Reader(threading.Thread):
    def __init__(self, uri, image, lasting, stop):
        super().__init__()
        self.uri, self.image, self.lasting, self.stop = uri, image, lasting, stop
        self.reads, self.longest, self.problems = 0, 0.0, []
        self.choice = random.Random(uri + str(lasting))

    def read_once(self, session):
        offset = self.choice.randrange(0, len(self.image) - LENGTH)
        start = time.monotonic()
        if session.pread(LENGTH, offset) != self.image[offset:offset + LENGTH]:
            self.problems.append(f"other bytes at {offset}")
        self.reads += 1
        self.longest = max(self.longest, time.monotonic() - start)

    def one_session(self):
        session = nbd.NBD()
        session.connect_uri(self.uri)
        for _ in range(SESSION):
            self.read_once(session)
        while self.lasting and not self.stop.is_set():
            self.read_once(session)
        session.shutdown()

    def run(self):
        while not self.stop.is_set():
            try:
                self.one_session()
            except nbd.Error as error:
                self.problems.append(f"{'lasting' if self.lasting else 'new'} session: {error}")
                return


def main():
    with open(sys.argv[1], "rb") as file:
        image = file.read()
    stop = threading.Event()
    readers = [Reader(uri, image, lasting, stop) for uri in sys.argv[2:] for lasting in (1, 0)]
    for reader in readers:
        reader.start()
    while all(reader.is_alive() for reader in readers):
        if select.select([sys.stdin], [], [], 0.1)[0] and not sys.stdin.buffer.raw.read(64):
            break
    enough = [reader.reads + 3 * SESSION for reader in readers]
    while any(reader.reads < reads for reader, reads in zip(readers, enough)):
        if not all(reader.is_alive() for reader in readers):
            break
        time.sleep(0.02)
    stop.set()
    for reader in readers:
        reader.join()
    for reader in readers:
        for problem in reader.problems:
            print(f"{reader.uri}: {problem}")
    reads = sum(reader.reads for reader in readers)
    print(f"{reads} reads, {1000 * max(reader.longest for reader in readers):.0f} ms")
    sys.exit(1 if reads == 0 or any(reader.problems for reader in readers) else 0)


if __name__ == "__main__":
    main()
