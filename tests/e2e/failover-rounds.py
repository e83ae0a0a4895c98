#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Seeded rounds of failover: one client reads through a gateway while its peer fails.

    failover-rounds.py [--server nbdkit|signpostd] [--rounds N] [--seed S]
                       [--fault kill|stop|drop|drip] [--limit MILLISECONDS] [--during SECONDS]
                       [--peer-threads N]

A gateway and two peers that hold the same verified disk; all three are nbdkit with the plugin, or
signpostd. In each round the peer that the gateway reads from is killed (kill -9), stopped
(SIGSTOP), cut off (packets dropped: needs root in a network namespace of its own) or answers in
drops (drip.py before it). The client, one connection for all rounds, keeps DEPTH reads in flight
and compares each with the image. A round's stall is its slowest read. Any error, any wrong byte, or
a stall beyond --limit fails; the stalls are printed.

--peer-threads is nbdkit's --threads of the peers. (nbdkit 1.32 aborts when somebody leaves for whom
several of its threads have replies; a relay that gives a peer up must not do that to it.)

PLUGIN, SIGNPOSTD and SIGNPOST name the products, as for the tests beside this file; without, those
of the release build are used.
"""

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import nbd

DEPTH = 16
BUFFERS = 64  # of as many lengths
MAX_READ = 256 * 1024
IMAGE_SIZE = 32 * 1024 * 1024
SETTLE_LIMIT = 30  # seconds
HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.join(HERE, "../../build/release")
PLUGIN = os.environ.get("PLUGIN", f"{BUILD}/nbdkit-plugin/nbdkit-signpost-plugin.so")
SIGNPOSTD = os.environ.get("SIGNPOSTD", f"{BUILD}/nbd-server/signpostd")
SIGNPOST = os.environ.get("SIGNPOST", f"{BUILD}/cli/signpost")


def wait_for(condition, what):
    deadline = time.monotonic() + SETTLE_LIMIT
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"FAIL: not within {SETTLE_LIMIT} s: {what}")
        time.sleep(0.05)


class Drip:
    """The proxy drip.py before a server."""

    def __init__(self, folder, name):
        port_file = os.path.join(folder, name + "-drip.port")
        with open(os.path.join(folder, name + "-drip.log"), "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, os.path.join(HERE, "listen.py"), port_file, sys.executable,
                 os.path.join(HERE, "drip.py"), os.path.join(folder, name + ".port")],
                stdin=subprocess.PIPE, stdout=log, stderr=log)
        wait_for(lambda: os.path.exists(port_file) and os.path.getsize(port_file),
                 f"the proxy before {name} listens")
        with open(port_file, encoding="ascii") as file:
            self.port = int(file.read())


class Server:
    """One of the two kinds; started again, it has its old port."""

    def __init__(self, arguments, folder, name, *settings, front=None):
        self.folder, self.name, self.settings, self.front = folder, name, settings, front
        self.arguments, self.process, self.port = arguments, None, None

    def command(self, pidfile):
        port = self.front.port if self.front else "@PORT@"
        settings = [f"catalog=sqlite:{self.folder}/catalog.db", "server=" + self.name,
                    f"uri=nbd://127.0.0.1:{port}", *self.settings]
        if self.arguments.server == "signpostd":
            return [SIGNPOSTD, "--listen=systemd", "--pid-file=" + pidfile,
                    *("--" + setting for setting in settings)]
        return ["nbdkit", "--foreground", "--exit-with-parent", "--pidfile=" + pidfile,
                f"--threads={self.arguments.peer_threads}", PLUGIN, *settings]

    def start(self):
        pidfile = os.path.join(self.folder, self.name + ".pid")
        if os.path.exists(pidfile):
            os.unlink(pidfile)
        command = [os.path.join(HERE, "listen.py"), os.path.join(self.folder, self.name + ".port"),
                   *self.command(pidfile)]
        with open(os.path.join(self.folder, self.name + ".log"), "ab") as log:
            self.process = subprocess.Popen([sys.executable] + command, stdout=log, stderr=log)
        wait_for(lambda: os.path.exists(pidfile) and os.path.getsize(pidfile),
                 self.name + " serves")
        with open(os.path.join(self.folder, self.name + ".port"), encoding="ascii") as file:
            self.port = int(file.read())

    def bytes_read(self):
        """What the process has read from files and sockets so far."""
        with open(f"/proc/{self.process.pid}/io", encoding="ascii") as counters:
            return int(counters.readline().split()[1])

    def kill(self):
        if self.process:
            self.process.kill()
            self.process.wait()


def iptables(action, port):
    for side in ("--dport", "--sport"):
        subprocess.run(["iptables", action, "INPUT", "-p", "tcp", side, str(port), "-j", "DROP"],
                       check=True)


def break_peer(fault, peer):
    if fault == "kill":
        peer.kill()
    elif fault == "stop":
        peer.process.send_signal(signal.SIGSTOP)
    elif fault == "drip":
        peer.front.process.send_signal(signal.SIGUSR1)
    else:
        iptables("-A", peer.port)


def heal_peer(fault, peer):
    if fault == "kill":
        peer.start()
    elif fault == "stop":
        peer.process.send_signal(signal.SIGCONT)
    elif fault == "drip":
        peer.front.process.send_signal(signal.SIGUSR2)
    else:
        iptables("-D", peer.port)


class Client:
    """Keeps DEPTH reads in flight on one connection, and compares what comes."""

    def __init__(self, uri, image, choice):
        self.session, self.image, self.choice = nbd.NBD(), image, choice
        self.session.connect_uri(uri)
        self.in_flight, self.slowest, self.reads = {}, 0.0, 0
        # Used again and again: Debian's nbd module never frees one that was read into.
        self.buffers = [nbd.Buffer(choice.randrange(1, MAX_READ)) for _ in range(BUFFERS)]

    def submit(self):
        buffer = self.buffers.pop(self.choice.randrange(len(self.buffers)))
        length = buffer.size()
        offset = self.choice.randrange(0, len(self.image) - length)
        cookie = self.session.aio_pread(buffer, offset)
        self.in_flight[cookie] = (time.monotonic(), offset, length, buffer)

    def collect(self):
        for cookie in list(self.in_flight):
            try:
                if not self.session.aio_command_completed(cookie):
                    continue
            except nbd.Error as error:
                sys.exit(f"FAIL: a read failed: {error.string}")
            start, offset, length, buffer = self.in_flight.pop(cookie)
            self.slowest = max(self.slowest, time.monotonic() - start)
            self.reads += 1
            self.buffers.append(buffer)
            if buffer.to_bytearray() != self.image[offset:offset + length]:
                sys.exit(f"FAIL: wrong bytes at {offset} + {length}")

    def run(self, seconds, with_reads_in_flight=None):
        """Reads for a while, and then until all that is in flight has ended."""
        end = time.monotonic() + seconds
        for _ in range(DEPTH):
            self.submit()
        if with_reads_in_flight:
            with_reads_in_flight()
        while time.monotonic() < end or self.in_flight:
            while len(self.in_flight) < DEPTH and time.monotonic() < end:
                self.submit()
            self.session.poll(100)
            self.collect()


class Federation:
    def __init__(self, folder, choice, arguments, servers):
        self.folder = folder
        self.image = bytearray()
        for offset in range(0, IMAGE_SIZE, 65536):
            self.image += choice.randbytes(65536) if choice.random() < 0.7 else bytes(65536)
        self.peers = []
        for name in ("beta", "gamma"):
            repository = os.path.join(folder, name)
            os.makedirs(os.path.join(repository, "vm"))
            with open(os.path.join(repository, "vm/disk.raw"), "wb") as file:
                file.write(self.image)
            front = Drip(folder, name) if arguments.fault == "drip" else None
            self.peers.append(
                Server(arguments, folder, name, "repository=" + repository, front=front))
        self.gateway = Server(arguments, folder, "alpha")
        for server in self.peers + [self.gateway]:
            servers.append(server)
            server.start()
        wait_for(lambda: len(self.locations()) == 2, "both peers have published")
        self.signpost("verify", "vm/disk")
        digests = {location["digest"] for location in self.locations()}
        if len(digests) != 1 or not digests.pop():
            sys.exit("FAIL: the two copies are not known to be equal")

    def signpost(self, *words):
        command = [SIGNPOST, "--catalog", f"sqlite:{self.folder}/catalog.db", *words]
        return subprocess.run(command, check=False, capture_output=True, text=True)

    def locations(self):
        result = self.signpost("where", "vm/disk", "--json")
        return json.loads(result.stdout)["locations"] if result.returncode == 0 else []

    def serving_peer(self, client, seconds):
        """The peer that reads its image while the client reads for a while."""
        before = [peer.bytes_read() for peer in self.peers]
        client.run(seconds)
        read = [peer.bytes_read() - count for peer, count in zip(self.peers, before)]
        return self.peers[read.index(max(read))]


def play(arguments, folder, servers):
    choice = random.Random(arguments.seed)
    federation = Federation(folder, choice, arguments, servers)
    client = Client(f"nbd://127.0.0.1:{federation.gateway.port}/vm/disk", federation.image, choice)
    stalls = []
    for number in range(arguments.rounds):
        peer = federation.serving_peer(client, 0.1 + 0.2 * choice.random())
        client.slowest = 0.0
        client.run(arguments.during, lambda: break_peer(arguments.fault, peer))
        stalls.append(client.slowest * 1000)
        heal_peer(arguments.fault, peer)
        if any(server.process.poll() is not None for server in federation.peers):
            sys.exit("FAIL: a peer ended by itself")
        client.run(0.2)
        print(f"round {number}: {arguments.fault} {peer.name}: stall {stalls[-1]:.0f} ms",
              flush=True)
    print(f"{arguments.rounds} rounds of {arguments.fault}, seed {arguments.seed}: "
          f"{client.reads} reads, 0 errors, 0 wrong bytes; stall median "
          f"{statistics.median(stalls):.0f} ms, worst {max(stalls):.0f} ms")
    if max(stalls) > arguments.limit:
        sys.exit(f"FAIL: a stall of {max(stalls):.0f} ms; the bound is {arguments.limit} ms")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", choices=("nbdkit", "signpostd"), default="nbdkit")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fault", choices=("kill", "stop", "drop", "drip"), default="kill")
    parser.add_argument("--limit", type=int, default=3000, help="milliseconds of stall")
    parser.add_argument("--during", type=float, default=0.1,
                        help="seconds for which reads go on to be sent while the peer fails")
    parser.add_argument("--peer-threads", type=int, default=16)
    arguments = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="signpost-rounds.")
    servers = []  # to be ended, whatever happens
    try:
        play(arguments, folder, servers)
    except SystemExit:
        for name in ("alpha", "beta", "gamma", "beta-drip", "gamma-drip"):
            path = os.path.join(folder, name + ".log")
            if os.path.exists(path):
                with open(path, errors="replace", encoding="utf-8") as log:
                    print(f"---- {name}.log\n" + "".join(log.readlines()[-30:]), file=sys.stderr)
        raise
    finally:
        for server in servers:
            server.kill()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
