#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""One client of the fleet: reads at random, and writes down what it saw.

    client.py CONFIGURATION RECORDS SEED     until the monotonic time that the configuration says
    client.py CONFIGURATION RECORDS --sweep  a piece of each disk through each server, once

The configuration is JSON: {"servers": {NAME: ADDRESS}, "disks": {NAME: {"size": BYTES, "holders":
[SERVER], "through": [SERVER]}}, "until": SECONDS, "patience": SECONDS}; a disk with "through" is
read through these servers only. A record is one line of JSON: ["open", begun,
ended, session, server, disk, error] or ["read", begun, ended, session, server, disk, offset,
length, sha256, error]. An error is null, or one of NBD's (EIO), or "lost" (the connection ended) or
"hung" (no answer for as long as the client was patient).
"""

import hashlib
import json
import random
import sys
import time

import nbd

PORT = 10809
LENGTHS = (512, 4096, 4096, 16384, 65536, 262144)
DEPTHS = (1, 1, 1, 2, 4, 8)  # reads at once
PAUSE_MS = 20  # between reads: a machine with few processors is to see the fleet's delays only


class Client:
    def __init__(self, configuration, records, choice):
        self.servers = configuration["servers"]
        self.disks = configuration["disks"]
        self.until = configuration["until"]
        self.patience = configuration["patience"]
        self.records = records
        self.choice = choice
        self.sessions = 0

    def record(self, *fields):
        self.records.write(json.dumps(fields, separators=(",", ":")) + "\n")

    def wait(self, handle, done):
        """Until DONE() says so; else what went wrong instead."""
        deadline = time.monotonic() + self.patience
        while True:
            try:
                if done():
                    return None
                if handle.aio_is_dead() or handle.aio_is_closed():
                    return "lost"
                if time.monotonic() > deadline:
                    return "hung"
                handle.poll(100)
            except nbd.Error as error:
                if handle.aio_is_dead() or handle.aio_is_closed():
                    return "lost"
                return error.errno or error.string

    def open(self, server, disk):
        begun = time.monotonic()
        handle = nbd.NBD()
        handle.set_export_name(disk)
        handle.set_opt_mode(True)
        error = None
        try:
            handle.aio_connect_tcp(self.servers[server], str(PORT))
            error = self.wait(handle, lambda: handle.aio_is_negotiating() or handle.aio_is_ready())
            if error is None:
                error = self.choose(handle)
        except nbd.Error as failure:
            error = "refused: " + (failure.errno or failure.string)
        session = f"{id(self)}-{self.sessions}"
        self.sessions += 1
        self.record("open", begun, time.monotonic(), session, server, disk, error)
        return (handle, session) if error is None else (None, session)

    def choose(self, handle):
        result = []
        handle.aio_opt_go(lambda error: result.append(error.value) or 1)
        error = self.wait(handle, lambda: bool(result))
        if error is None and result[0] != 0:
            return f"refused: {result[0]}"
        return error or self.wait(handle, handle.aio_is_ready)

    def read(self, handle, where, pieces):
        """Reads pieces (offset, length) at once. WHERE: session, server, disk. The last error."""
        flights = []
        for offset, length in pieces:
            buffer = nbd.Buffer(length)
            flight = [time.monotonic(), offset, length, buffer, None]
            try:
                flight[-1] = handle.aio_pread(buffer, offset)
                flights.append(flight)
            except nbd.Error:
                self.landed(where, flight, "lost")
                return "lost"
        error = self.wait(handle, lambda: self.land(handle, where, flights))
        for flight in flights:
            self.landed(where, flight, error)
        return error

    def land(self, handle, where, flights):
        """Writes down what has been answered; True when all is."""
        for flight in list(flights):
            try:
                if not handle.aio_command_completed(flight[-1]):
                    continue
                error = None
            except nbd.Error as failure:
                if handle.aio_is_dead() or handle.aio_is_closed():
                    raise
                error = failure.errno or failure.string
            flights.remove(flight)
            self.landed(where, flight, error)
        return not flights

    def landed(self, where, flight, error):
        begun, offset, length, buffer, _ = flight
        digest = None if error else hashlib.sha256(buffer.to_bytearray()).hexdigest()
        self.record("read", begun, time.monotonic(), *where, offset, length, digest, error)

    def pieces(self, size, number):
        lengths = [min(size, self.choice.choice(LENGTHS)) for _ in range(number)]
        return [(self.choice.randrange(0, size - length + 1), length) for length in lengths]

    def random_session(self):
        disk = self.choice.choice(sorted(self.disks))
        size, holders = self.disks[disk]["size"], self.disks[disk]["holders"]
        servers = self.ways(disk)
        if self.choice.random() < 0.8:
            servers = [server for server in servers if server not in holders] or servers
        server = self.choice.choice(servers)
        handle, session = self.open(server, disk)
        if handle is None:
            time.sleep(0.05)
            return
        longest = 8.0 if self.choice.random() < 0.2 else 1.0
        end = min(self.until, time.monotonic() + self.choice.uniform(0.0, longest))
        while time.monotonic() < end:
            error = self.read(handle, (session, server, disk),
                              self.pieces(size, self.choice.choice(DEPTHS)))
            if error in ("lost", "hung"):
                return
            time.sleep(PAUSE_MS / 1000)
        handle.aio_disconnect()

    def ways(self, disk):
        return sorted(self.disks[disk].get("through") or self.servers)

    def sweep(self):
        for disk in sorted(self.disks):
            for server in self.ways(disk):
                handle, session = self.open(server, disk)
                if handle:
                    self.read(handle, (session, server, disk),
                              self.pieces(self.disks[disk]["size"], 1))
                    handle.aio_disconnect()


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        configuration = json.load(file)
    with open(sys.argv[2], "w", encoding="utf-8", buffering=1 << 16) as records:
        client = Client(configuration, records, random.Random(sys.argv[3]))
        if sys.argv[3] == "--sweep":
            client.sweep()
            return
        while time.monotonic() < client.until:
            client.random_session()


if __name__ == "__main__":
    main()
