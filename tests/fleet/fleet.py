# SPDX-License-Identifier: BSD-3-Clause
"""The servers of a simulated fleet, and the disks that they hold.

Most disks are there to be many: hard links to one small sparse file. Some have content of their own
and are read. Each has a number of copies on servers chosen by the seed.
"""

import os
import random
import signal
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.environ.get("BUILD_DIR", os.path.join(HERE, "../../build/release"))
SIGNPOSTD = os.environ.get("SIGNPOSTD", f"{BUILD}/nbd-server/signpostd")
SIGNPOST = os.environ.get("SIGNPOST", f"{BUILD}/cli/signpost")
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"
PORT = 10809
BLOCK = 64 * 1024
MOST_LINKS = 60000  # what ext4 allows for one file


class Server:
    """One signpostd on one machine."""

    def __init__(self, machine, folder, site, catalog, options=()):
        self.machine = machine
        self.name = machine.name
        self.repository = os.path.join(folder, "images", self.name)
        self.state = os.path.join(folder, "state", self.name)
        self.pid_file = os.path.join(folder, self.name + ".pid")
        self.log = open(os.path.join(folder, self.name + ".log"), "ab")
        self.process = None
        self.clock = 0
        os.makedirs(self.repository)
        os.makedirs(self.state)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "fleet", self.state], check=True)
        address = f"{machine.address}:{PORT}"
        self.options = ["--listen", address, "--uri", f"nbd://{address}", "--server", self.name,
                        "--site", site, "--catalog", catalog, "--repository", self.repository,
                        "--pid-file", self.pid_file, *options]

    def start(self):
        """As systemd would: one that ends at once is started again a second later."""
        deadline = time.monotonic() + 30
        self.launch()
        while not (os.path.exists(self.pid_file) and os.path.getsize(self.pid_file)):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} does not start; see its log")
            if self.process.poll() is not None:
                time.sleep(1)
                self.launch()
            time.sleep(0.01)

    def launch(self):
        if os.path.exists(self.pid_file):
            os.remove(self.pid_file)
        environment = dict(os.environ, STATE_DIRECTORY=self.state)
        if self.clock:
            environment.update(LD_PRELOAD=FAKETIME, FAKETIME=f"{self.clock:+}",
                               FAKETIME_DONT_FAKE_MONOTONIC="1")
        self.log.write(f"---- start at {time.monotonic():.3f}, clock {self.clock:+}\n".encode())
        self.log.flush()
        self.process = subprocess.Popen(
            self.machine.command(SIGNPOSTD, *self.options), stdin=subprocess.DEVNULL,
            stdout=self.log, stderr=self.log, env=environment)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def signal(self, number):
        self.process.send_signal(number)

    def has_ended_by_itself(self):
        return self.process.poll() is not None

    def freeze(self):
        self.signal(signal.SIGSTOP)

    def thaw(self):
        self.signal(signal.SIGCONT)


def make_content(choice, size):
    """Data and holes."""
    content = bytearray()
    while len(content) < size:
        content += choice.randbytes(BLOCK) if choice.random() < 0.8 else bytes(BLOCK)
    return bytes(content[:size])


def write_sparse(path, content):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.truncate(len(content))
        for offset in range(0, len(content), BLOCK):
            block = content[offset:offset + BLOCK]
            if block.count(0) != len(block):
                file.seek(offset)
                file.write(block)


class Placement:
    """Which disk is on which servers, from a seed alone."""

    def __init__(self, seed, servers, copies, read, size):
        self.choice = random.Random(f"disks {seed}")
        self.servers = sorted(servers)
        self.copies = copies
        self.read = {}  # name → size and holders, of the disks with content
        for number in range(read):
            # Some of one size, which hostile rows may take for each other.
            self.read[f"web{number:03}/vda"] = {"size": size + 4096 * (number % 2),
                                                "holders": self.next_holders()}

    def next_holders(self):
        return sorted(self.choice.sample(self.servers, self.copies))


class Disks:
    """The images of all servers, made at once."""

    def __init__(self, folder, servers, placement, number):
        self.golden = os.path.join(folder, "golden")
        self.servers = servers
        self.placement = placement
        self.read = placement.read
        self.make_read()
        self.make_many(number - len(self.read), os.path.join(folder, "images"))

    def make_read(self):
        os.makedirs(self.golden)
        for name, disk in self.read.items():
            content = make_content(random.Random(name), disk["size"])
            write_sparse(self.golden_path(name), content)
            for holder in disk["holders"]:
                write_sparse(self.image(holder, name), content)

    def make_many(self, number, folder):
        seeds = {}  # server: the file that is linked to, and how often
        for disk in range(number):
            for holder in self.placement.next_holders():
                target, links = seeds.get(holder, (None, MOST_LINKS))
                if links == MOST_LINKS:
                    target, links = f"{folder}/{holder}-{disk}.seed", 0
                    with open(target, "wb") as file:
                        file.truncate(1 << 20)
                where = f"{self.servers[holder].repository}/rack{disk // 1000:03}"
                if disk % 1000 == 0 or not os.path.isdir(where):
                    os.makedirs(where, exist_ok=True)
                os.link(target, f"{where}/vm-{disk:08}.raw")
                seeds[holder] = (target, links + 1)

    def image(self, server, name):
        return f"{self.servers[server].repository}/{name}.raw"

    def golden_path(self, name):
        return f"{self.golden}/{name}.raw"


class Command:
    """The operator's `signpost`, from the bridge."""

    def __init__(self, catalog):
        self.catalog = catalog

    def run(self, *words, timeout=60):
        return subprocess.run([SIGNPOST, "--catalog", self.catalog, *words], check=False,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=timeout)
