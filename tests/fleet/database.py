# SPDX-License-Identifier: BSD-3-Clause
"""The fleet's PostgreSQL: a primary and a streaming standby, each on a machine of its own."""

import glob
import os
import shutil
import signal
import subprocess
import time

AS_NOBODY = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
USER = "fleet"
ROOM = "size=1200m"
OPTIONS = ("fsync=off", "full_page_writes=off", "shared_buffers=64MB", "max_connections=120",
           "wal_keep_size=256MB", "max_wal_size=512MB", "log_min_messages=warning",
           "unix_socket_directories=", "hot_standby_feedback=on")


def found():
    """Where PostgreSQL's programs are, the newest last; at least one path."""
    paths = glob.glob("/usr/lib/postgresql/*/bin")
    return sorted(paths, key=lambda path: int(path.split("/")[4])) or ["/usr/lib/postgresql/bin"]


def programs():
    return found()[-1]


def patiently(step):
    """It is the simulation that asks, not the fleet: a busy machine must not end it."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return step()
        except subprocess.CalledProcessError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.5)


class Node:
    def __init__(self, machine, folder):
        self.machine = machine
        self.folder = os.path.join(folder, machine.name)
        self.data = os.path.join(self.folder, "data")
        self.process = None
        os.makedirs(self.folder)
        # Its own small file system, so that it can be full.
        subprocess.run(["mount", "-t", "tmpfs", "-o", ROOM, "fleet", self.folder], check=True)
        shutil.chown(self.folder, "nobody", "nogroup")
        self.log = open(os.path.join(folder, machine.name + ".log"), "ab")

    def uri(self):
        return f"postgresql://{USER}@{self.machine.address}/postgres?connect_timeout=2"

    def program(self, name, *words):
        subprocess.run(self.machine.command(*AS_NOBODY, f"{programs()}/{name}", *words), check=True,
                       stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    def make(self):
        self.program("initdb", "--pgdata=" + self.data, f"--username={USER}", "--auth=trust",
                     "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions")
        rules = os.path.join(self.data, "pg_hba.conf")
        with open(rules, "a", encoding="ascii") as file:
            for database in ("all", "replication"):
                file.write(f"host {database} all 10.77.0.0/24 trust\n")

    def copy_from(self, primary):
        shutil.rmtree(self.data, ignore_errors=True)
        self.program("pg_basebackup", "--write-recovery-conf", "--no-sync", "--checkpoint=fast",
                     "--wal-method=stream", "--pgdata=" + self.data, "--dbname=" + primary.uri())

    def start(self):
        options = [word for option in (*OPTIONS, "listen_addresses=" + self.machine.address)
                   for word in ("-c", option)]
        self.process = subprocess.Popen(
            self.machine.command(*AS_NOBODY, f"{programs()}/postgres", "-D", self.data, *options),
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + 30
        while self.answer("SELECT 1") != "1":
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.machine.name} does not start; see its log")
            time.sleep(0.05)

    def processes(self):
        pid = self.process.pid
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return [pid, *map(int, file.read().split())]

    def signal(self, number):
        for pid in self.processes():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def stop(self):
        """At once, as a crash does."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.send_signal(signal.SIGCONT)
            self.process.wait()

    def answer(self, statement, check=False):
        result = subprocess.run(
            ["psql", "--no-psqlrc", "--tuples-only", "--no-align", "--quiet",
             "--set=ON_ERROR_STOP=1", "--dbname=" + self.uri(), "--command=" + statement],
            check=check, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        return result.stdout.strip()


class Database:
    """Two nodes; `primary` is the one that takes changes."""

    def __init__(self, machines, folder):
        self.nodes = [Node(machine, folder) for machine in machines]
        self.primary, self.standby = self.nodes
        self.primary.make()
        self.primary.start()
        patiently(lambda: self.standby.copy_from(self.primary))
        self.standby.start()

    def url(self):
        hosts = ",".join(node.machine.address for node in self.nodes)
        return f"postgresql://{USER}@{hosts}/postgres"

    def ask(self, statement):
        return patiently(lambda: self.primary.answer(statement, check=True))

    def fail_over(self):
        """The primary dies, and the standby takes its place."""
        self.primary.stop()
        self.standby.answer("SELECT pg_promote()", check=True)
        self.primary, self.standby = self.standby, self.primary

    def renew_standby(self):
        patiently(lambda: self.standby.copy_from(self.primary))
        self.standby.start()
