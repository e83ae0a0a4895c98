# SPDX-License-Identifier: BSD-3-Clause
"""The servers of a simulated fleet, and the disks that they hold.

Most disks are there to be many (the crowd): hard links to one small sparse file, in repositories of
their own, which many runs may share. Some have content of their own and are read. Each disk has a
number of copies, on servers chosen by the seed.
"""

import fcntl
import glob
import json
import os
import random
import shutil
import signal
import struct
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
FIBMAP = 1  # the ioctl that says where a file's block is
PAGE = 4096
ROOM = "size=2g"  # for the disks of a server that are read


class Server:
    """One signpostd on one machine."""

    def __init__(self, machine, folder, catalog, options):
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
        for path, room in ((self.state, "size=64m"), (self.repository, ROOM)):
            subprocess.run(["mount", "-t", "tmpfs", "-o", room, "fleet", path], check=True)
        address = f"{machine.address}:{PORT}"
        self.options = ["--listen", address, "--uri", f"nbd://{address}", "--server", self.name,
                        "--catalog", catalog, "--repository", self.repository,
                        "--pid-file", self.pid_file, *options]

    def stubs_sequence(self):
        """Of which change of the catalog its stubs know; 0: of none yet."""
        for path in glob.glob(f"{self.state}/**/stubs.json", recursive=True):
            with open(path, encoding="utf-8") as file:
                return json.load(file).get("sequence", 0)
        return 0

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
    """Which disk with content is on which servers, from a seed alone."""

    def __init__(self, seed, servers, copies, read, size):
        self.choice = random.Random(f"disks {seed}")
        self.servers = sorted(servers)
        self.copies = copies
        self.read = {}  # name → size and holders
        for number in range(read):
            # Some of one size, which hostile rows may take for each other.
            self.read[f"web{number:03}/vda"] = {"size": size + 4096 * (number % 2),
                                                "holders": self.next_holders()}
        # One more, which may rot.
        self.rotting = {"rot000/vda": {"size": size, "holders": self.next_holders()}}

    def next_holders(self):
        holders = self.choice.sample(self.servers, self.copies)
        return sorted(holders)

    def holders_of(self, disks):
        return {name: disk["holders"] for name, disk in disks.items()}


class Disks:
    """The images with content, on all servers."""

    def __init__(self, folder, servers, placement, rotting):
        self.golden = os.path.join(folder, "golden")
        self.servers = servers
        self.read = {**placement.read, **placement.rotting}
        os.makedirs(self.golden)
        for name, disk in self.read.items():
            content = make_content(random.Random(name), disk["size"])
            write_sparse(self.golden_path(name), content)
            for holder in disk["holders"]:
                write_sparse(self.image(holder, name), content)
        for name, disk in placement.rotting.items():
            rotting.take(self.image(disk["holders"][0], name), name)
    def image(self, server, name):
        return f"{self.servers[server].repository}/{name}.raw"

    def golden_path(self, name):
        return f"{self.golden}/{name}.raw"


class Rotting:
    """A file system of its own, in a file, so that a bit can flip beneath it: no time stamp
    changes, as with a failing disk."""

    def __init__(self, folder):
        self.device = os.path.join(folder, "rotting.ext4")
        self.repository = os.path.join(folder, "rotting")
        os.mkdir(self.repository)
        with open(self.device, "wb") as file:
            file.truncate(64 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-b", str(PAGE), "-O", "^has_journal",
                        self.device], check=True)
        # Where there are no loop devices, nothing rots.
        self.works = subprocess.run(["mount", "-o", "loop", self.device, self.repository],
                                    check=False).returncode == 0

    def take(self, path, name):
        self.path = f"{self.repository}/{name}.raw"
        os.makedirs(os.path.dirname(self.path))
        shutil.move(path, self.path)

    def rot(self, place):
        """Flips a bit of the first page that is no hole after PLACE (of 1)."""
        with open(self.path, "rb") as file:
            os.fsync(file.fileno())
            pages = os.fstat(file.fileno()).st_size // PAGE
            block, page = 0, int(place * pages)
            while block == 0:
                page = (page + 1) % pages
                block = struct.unpack("i", fcntl.ioctl(file, FIBMAP, struct.pack("i", page)))[0]
            with open(self.device, "r+b", buffering=0) as device:
                device.seek(block * PAGE + 77)
                byte = device.read(1)
                device.seek(block * PAGE + 77)
                device.write(bytes([byte[0] ^ 1]))
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


class Crowd:
    """The disks that nobody reads: DISKS of them, in DIRECTORY, made once. Their names come last,
    so that digests of the others are there in time."""

    def __init__(self, directory, servers, copies, disks):
        self.directory = directory
        self.servers = sorted(servers)
        self.copies = copies
        self.disks = disks
        os.makedirs(directory, exist_ok=True)
        done = os.path.join(directory, f"made-{len(servers)}-{copies}-{disks}")
        with open(os.path.join(directory, "lock"), "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not os.path.exists(done):
                self.make()
                os.mkdir(done)

    def repository(self, server):
        return f"{self.directory}/{server}"

    def make(self):
        choice = random.Random("crowd")
        seeds = {}  # server: the file that is linked to, and how often
        for server in self.servers:
            shutil.rmtree(self.repository(server), ignore_errors=True)
            os.makedirs(self.repository(server))
        for disk in range(self.disks):
            for holder in choice.sample(self.servers, self.copies):
                target, links = seeds.get(holder, (None, MOST_LINKS))
                if links == MOST_LINKS:
                    target, links = f"{self.directory}/{holder}-{disk}.seed", 0
                    with open(target, "wb") as file:
                        file.truncate(1 << 20)
                where = f"{self.repository(holder)}/zone{disk // 1000:03}"
                if links == 0 or not os.path.isdir(where):
                    os.makedirs(where, exist_ok=True)
                os.link(target, f"{where}/vm-{disk:08}.raw")
                seeds[holder] = (target, links + 1)


class Command:
    """The operator's `signpost`, from the bridge."""

    def __init__(self, catalog):
        self.catalog = catalog

    def run(self, *words, timeout=60):
        return subprocess.run([SIGNPOST, "--catalog", self.catalog, *words], check=False,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=timeout)
