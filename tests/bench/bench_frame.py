# SPDX-License-Identifier: BSD-3-Clause
"""What the benchmarks of servers share: starting programs, loading them, tables.

Whatever is compared gets each load in turn, several times over, so that what else the machine does
meets all of it; tables show medians. CPU is user and system time of the server's process, its
threads and its children.
"""

import json
import os
import platform
import random
import re
import signal
import statistics
import subprocess
import sys
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
LISTEN = os.path.join(ROOT, "tests/e2e/listen.py")
GIB = 1 << 30
TICKS = os.sysconf("SC_CLK_TCK")


def free_port():
    return subprocess.run([sys.executable, LISTEN], check=True, capture_output=True,
                          text=True).stdout.strip()


def stat_of(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        return file.read().rpartition(")")[2].split()


def children_of(pid):
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as file:
            found += file.read().split()
    return found


class Server:
    """A program that serves NBD until the benchmark ends.

    It gets its socket by activation (tests/e2e/listen.py), or, where @FREE-PORT@ is in its words,
    binds that port itself. URI is what clients dial; {port} in it becomes the port.
    """

    def __init__(self, folder, name, uri, *command):
        self.name = name
        self.log = os.path.join(folder, re.sub(r"\W+", "-", name) + ".log")
        self.uri = uri
        if any("@FREE-PORT@" in word for word in command):
            port = free_port()
            command = [word.replace("@FREE-PORT@", port) for word in command]
            self.uri = uri.format(port=port)
            launcher = []
        elif "{port}" in uri:
            launcher = [sys.executable, LISTEN, self.log + ".port"]
        else:
            launcher = []
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([*launcher, *command], stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                with open(self.log, encoding="utf-8", errors="replace") as log:
                    sys.exit(f"{name} does not serve:\n{log.read()[-2000:]}")
            time.sleep(0.05)

    def answers(self):
        if "{port}" in self.uri:
            if not os.path.exists(self.log + ".port"):
                return False
            with open(self.log + ".port", encoding="ascii") as file:
                self.uri = self.uri.format(port=file.read())
        return subprocess.run(["nbdinfo", "--size", self.uri], check=False,
                              capture_output=True).returncode == 0

    def cpu_seconds(self):
        """Its own, and its children's: those that live and those that it has waited for."""
        total = 0
        for pid in self.family():
            try:
                words = stat_of(pid)
                total += sum(int(words[i]) for i in (11, 12, 13, 14))
            except OSError:
                continue
        return total / TICKS

    def switches(self):
        """Context switches of its threads that live."""
        total = 0
        for pid in self.family():
            try:
                for task in os.listdir(f"/proc/{pid}/task"):
                    with open(f"/proc/{pid}/task/{task}/status", encoding="ascii",
                              errors="replace") as file:
                        total += sum(int(line.split()[1]) for line in file
                                     if "ctxt_switches" in line)
            except OSError:
                continue
        return total

    def family(self):
        """Its process, and all that come from it."""
        found = [str(self.process.pid)]
        for pid in found:
            try:
                found += children_of(pid)
            except OSError:
                continue
        return found

    def stop(self):
        for pid in self.family():
            os.kill(int(pid), signal.SIGKILL)
        self.process.wait()


def kept(*command):
    """A program that leaves its parent to become a daemon, kept as a child all the same."""
    code = ("import ctypes, subprocess, sys, time; ctypes.CDLL(None).prctl(36, 1); "
            "subprocess.run(sys.argv[1:], check=True); time.sleep(1e6)")
    return [sys.executable, "-c", code, *command]


def nbdkit(*words):
    return ["nbdkit", "--foreground", *words]


def make_image(folder, size):
    """A file of SIZE bytes that do not compress, in a folder of its own."""
    image = os.path.join(folder, "images/disk.raw")
    os.mkdir(os.path.dirname(image))
    with open(image, "wb") as file:
        block = random.Random(1).randbytes(1 << 20)
        for _ in range(size >> 20):
            file.write(block)
    return image


def measure(build, server, load, seconds):
    """LOAD: title, block, depth, pattern, and perhaps how many connections. A server may fail
    once, which is told."""
    for _ in range(2):
        sample = measure_once(build, server, load, seconds)
        if sample:
            return sample
        with open(server.log, encoding="utf-8", errors="replace") as log:
            print(f"{load[0]} on {server.name} failed; its log ends:\n{log.read()[-2000:]}",
                  file=sys.stderr, flush=True)
    sys.exit(f"the load on {server.name} failed twice")


def measure_once(build, server, load, seconds):
    _, block, depth, pattern, *connections = load
    count = connections[0] if connections else 1
    before, switches = server.cpu_seconds(), server.switches()
    clients = [subprocess.Popen([os.path.join(build, "tests/bench/nbd_load"), server.uri,
                                 str(block), str(depth), str(seconds), pattern, str(seed + 1)],
                                stdout=subprocess.PIPE, text=True) for seed in range(count)]
    latest = switches  # of threads that may end with their client
    while all(client.poll() is None for client in clients):
        latest = max(latest, server.switches())
        time.sleep(0.05)
    results = []
    for client in clients:
        output = client.communicate()[0]
        if client.returncode == 0:
            results.append(json.loads(output))
    if len(results) < count:
        return None
    cpu = server.cpu_seconds() - before
    reads = sum(result["reads"] for result in results)
    transferred = sum(result["bytes"] for result in results)
    return {
        "rate": sum(result["reads"] / result["seconds"] for result in results),
        "mib": sum(result["bytes"] / result["seconds"] for result in results) / (1 << 20),
        "p50": statistics.median(result["p50_us"] for result in results),
        "p99": max(result["p99_us"] for result in results),
        "cpu_request": cpu / reads * 1e6,
        "cpu_gib": cpu / transferred * GIB,
        "switches": (latest - switches) / reads,
        "reads": reads,
    }


def count_calls(build, server, load, seconds=0.5):
    """System calls a read, by strace, which makes all slow: for the count only."""
    counts = server.log + ".calls"
    words = [word for pid in server.family() for word in ("-p", pid)]
    with subprocess.Popen(["strace", "-f", "-c", "-o", counts, *words],
                          stderr=subprocess.PIPE, text=True) as tracer:
        tracer.stderr.readline()  # "Process N attached"
        reads = measure(build, server, load, seconds)["reads"]
        tracer.send_signal(signal.SIGINT)
        tracer.stderr.read()
    with open(counts, encoding="ascii", errors="replace") as file:
        total = re.search(r"(\d+)\s+(?:\d+\s+)?total$", file.read(), re.MULTILINE)
    return int(total.group(1)) / reads if total else float("nan")


def version(*command):
    output = subprocess.run(command, check=True, capture_output=True, text=True)
    return re.search(r"\d+\.\d+(\.\d+)?", output.stdout + output.stderr).group(0)


def machine():
    return f"{os.cpu_count()} cores, Linux {platform.release().split('-')[0]}"


def run_rounds(build, servers, loads, rounds, seconds, prepare=lambda: None):
    """Samples by (server's name, load's title). PREPARE runs before each."""
    samples = {}
    for _ in range(rounds):
        for load in loads:
            for server in servers:
                prepare()
                samples.setdefault((server.name, load[0]), []).append(
                    measure(build, server, load, seconds))
    return samples


def middle_of(rows):
    return {key: statistics.median(row[key] for row in rows) for key in rows[0]}


def print_tables(samples, servers, loads, first, unmeasured=()):
    """One table for each load. FIRST: the title of the first column."""
    for load in loads:
        print(f"**{load[0]}**\n")
        print(f"| {first} | reads/s | MiB/s | p50 µs | p99 µs | CPU µs/read | CPU s/GiB | "
              "switches/read |")
        print("|---|---|---|---|---|---|---|---|")
        for server in servers:
            middle = middle_of(samples[server.name, load[0]])
            cpu = ("- | - | -" if server.name in unmeasured
                   else f"{middle['cpu_request']:.1f} | {middle['cpu_gib']:.3f} | "
                        f"{middle['switches']:.2f}")
            print(f"| {server.name} | {middle['rate']:,.0f} | {middle['mib']:,.0f} | "
                  f"{middle['p50']:.0f} | {middle['p99']:.0f} | {cpu} |")
        print()
