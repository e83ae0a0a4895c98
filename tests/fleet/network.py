# SPDX-License-Identifier: BSD-3-Clause
"""The machines of a simulated fleet: network namespaces, each with one wire to a common bridge.

The bridge is in the simulation's own network namespace, which has no way out. Packets are dropped
where they arrive, by rules of the receiving machine, so the bridge still sees who tries to connect
to whom.
"""

import collections
import ctypes
import socket
import struct
import subprocess
import threading
import time

NETWORK = "10.77.0."
IPTABLES = ("iptables", "--wait")
# Ethernet, IPv4, TCP, no fragment, of SYN and ACK only SYN: as `tcpdump -dd` says it.
ONLY_SYN = ((0x28, 0, 0, 12), (0x15, 0, 9, 0x0800), (0x30, 0, 0, 23), (0x15, 0, 7, 6),
            (0x28, 0, 0, 20), (0x45, 5, 0, 0x1fff), (0xb1, 0, 0, 14), (0x50, 0, 0, 27),
            (0x54, 0, 0, 0x12), (0x15, 0, 1, 0x02), (0x06, 0, 0, 128), (0x06, 0, 0, 0))
SO_ATTACH_FILTER = 26


def run(*words, **options):
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL, **options)


def make_bridge():
    run("mount", "-t", "tmpfs", "fleet", "/run/netns")
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", "bridge0", "type", "bridge", "forward_delay", "0")
    run("ip", "address", "add", NETWORK + "1/24", "dev", "bridge0")
    run("ip", "link", "set", "bridge0", "up")


class Machine:
    """A namespace with one address. Everything in it ends with the simulation."""

    def __init__(self, name, number):
        self.name = name
        self.address = NETWORK + str(number)
        self.rules = threading.Lock()  # two deletions at once may mean the same one of equal rules
        wire = f"wire{number}"
        run("ip", "netns", "add", name)
        run("ip", "link", "add", wire, "type", "veth", "peer", "name", "eth0", "netns", name)
        run("ip", "link", "set", wire, "master", "bridge0", "up")
        run("ip", "-n", name, "address", "add", self.address + "/24", "dev", "eth0")
        run("ip", "-n", name, "link", "set", "eth0", "up")
        run("ip", "-n", name, "link", "set", "lo", "up")

    def command(self, *words):
        """WORDS, to be run there. It becomes that program: its process is the one started."""
        return ["nsenter", f"--net=/run/netns/{self.name}", "--", *words]

    def drop_from(self, other, share=1.0):
        """What comes from another machine does not arrive (or a share of it); undone by calling
        what this returns."""
        rule = ["INPUT", "-s", other.address, "-j", "DROP"]
        if share < 1.0:
            rule[3:3] = ["-m", "statistic", "--mode", "random", "--probability", str(share)]
        self.change_rules("-I", *rule)
        return lambda: self.change_rules("-D", *rule)

    def change_rules(self, *words):
        with self.rules:
            run(*self.command(*IPTABLES, *words))


class ConnectWatch:
    """Who tried to connect to whom, and when: each attempt once, however often it is repeated."""

    def __init__(self):
        self.attempts = collections.defaultdict(list)  # (from, to): times
        self.seen = set()
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
        code = b"".join(struct.pack("HBBI", *line) for line in ONLY_SYN)
        self.code = ctypes.create_string_buffer(code)
        program = struct.pack("HL", len(ONLY_SYN), ctypes.addressof(self.code))
        self.socket.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
        threading.Thread(target=self.watch, daemon=True).start()

    def watch(self):
        while True:
            packet = self.socket.recv(256)
            words = (packet[14] & 15) * 4
            source, target = socket.inet_ntoa(packet[26:30]), socket.inet_ntoa(packet[30:34])
            attempt = (source, target, packet[14 + words:14 + words + 8])  # ports and sequence
            if attempt not in self.seen:
                self.seen.add(attempt)
                self.attempts[source, target].append(time.monotonic())
