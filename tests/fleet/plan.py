# SPDX-License-Identifier: BSD-3-Clause
"""What goes wrong in a run, and when: from a seed alone, so that a run can be played again.

A plan is a list of faults in the order of their beginnings. Two faults that would fight over the
same thing (one server's process, the database) never overlap; all others do.
"""

import dataclasses
import json
import random

QUIET_START = 2.0
HEAL = 10.0  # seconds within which everything must be well after the last fault
AFTERWARDS = 4.0  # and this long it must stay so

# How often each kind comes, and its shortest and longest time.
KINDS = {
    "kill": (4, 0.2, 5),  # kill -9, and a start afterwards: perhaps with another clock
    "freeze": (4, 0.5, 8),  # SIGSTOP
    "one-way": (3, 1, 8),  # packets from one server to another are dropped
    "cut": (3, 1, 10),  # both ways
    "flaky": (1, 2, 8),  # three packets of ten are lost
    "split": (2, 2, 9),  # some servers and a database node from all others
    "no-catalog": (2, 1, 10),  # a server cannot reach the database
    "database-stop": (1, 1, 8),
    "database-freeze": (2, 1, 10),
    "database-failover": (1, 2, 6),
    "database-full": (1, 1, 5),
    "state-full": (1, 2, 8),  # a server's own state has no room
    "rows": (3, 2, 9),  # hostile rows in the catalog
    "move": (1, 1, 4),  # an operator moves a disk to another server
    "copy": (1, 1, 4),  # or copies it, and the server that does it is killed
    "drain": (2, 2, 9),  # sends its clients elsewhere
    "rot": (1, 1, 4),  # a bit of a disk flips
    "writer": (2, 19, 26),  # the server of the one who writes is killed, or frozen beyond its lease
}
FOR_GOOD = ("move", "copy", "rot", "writer")  # what comes once for each disk
LONG_ENOUGH = 45  # seconds of a run, for somebody else to become the writer
CLOCKS = (0, 0, 7200, -7200)
ROWS = ("export", "whole", "fingerprint", "digest", "generation", "size", "size-huge", "uri-other",
        "uri-program", "uri-local", "uri-control", "name", "vanish")


@dataclasses.dataclass
class Fault:
    number: int
    start: float  # seconds after the run's begin
    seconds: float
    kind: str
    who: list  # names of servers; for rows also disks
    detail: object = None

    def end(self):
        return self.start + self.seconds

    def __str__(self):
        detail = "" if self.detail is None else f" ({self.detail})"
        return (f"fault {self.number:2}: at {self.start:6.2f} s for {self.seconds:5.2f} s: "
                f"{self.kind} {' '.join(self.who)}{detail}")


def resources(fault):
    """What it must have for itself."""
    if fault.kind in ("kill", "freeze", "state-full"):
        return {fault.who[0]}
    if fault.kind.startswith("database") or fault.kind == "rows":
        return {"database"}
    if fault.kind == "move":
        return {fault.who[2]}  # once: two holders must stay
    if fault.kind == "copy":
        return set(fault.who)
    if fault.kind in ("rot", "writer"):
        return {fault.who[-1]}
    return set()


def make(seed, servers, disks, seconds, kinds=None, rotting=()):
    """DISKS: name → holders, of the disks that are read; those of ROTTING may rot where their first
    holder is, and have no other fault of their own."""
    choice = random.Random(f"plan {seed}")
    kinds = sorted(kinds or KINDS)
    if seconds < LONG_ENOUGH:
        kinds = [kind for kind in kinds if kind != "writer"]
    last = seconds - HEAL - AFTERWARDS
    faults = []
    now = QUIET_START
    while now < last - 0.5:
        kind = choice.choices(kinds, [KINDS[kind][0] for kind in kinds])[0]
        _, shortest, longest = KINDS[kind]
        fault = Fault(len(faults), round(now, 2), round(choice.uniform(shortest, longest), 2), kind,
                      *victims(choice, kind, servers, disks, rotting))
        fault.seconds = round(min(fault.seconds, last - fault.start), 2)
        if not any(is_in_the_way(fault, earlier) for earlier in faults):
            faults.append(fault)
            now += choice.expovariate(0.9)
        else:
            now += 0.2
    return faults


def is_in_the_way(fault, earlier):
    # Starts, fail-overs and undoing take a while; a move is for good.
    over = earlier.end() + 1.5 <= fault.start
    shared = resources(fault) & resources(earlier)
    if earlier.kind in FOR_GOOD and fault.kind in FOR_GOOD:
        return bool(shared)
    return not over and bool(shared)


def victims(choice, kind, servers, disks, rotting):
    """(who, detail) of a fault of this kind."""
    if kind == "rot":
        disk = choice.choice(sorted(rotting))
        return [rotting[disk][0], disk], {"place": round(choice.random(), 4)}
    if kind == "writer":
        return ["w1", "w2"], {"how": choice.choice(("kill", "freeze"))}
    if kind == "kill":
        return [choice.choice(servers)], {"clock": choice.choice(CLOCKS)}
    if kind in ("freeze", "no-catalog", "state-full", "drain"):
        return [choice.choice(servers)], None
    if kind in ("one-way", "cut", "flaky"):
        return choice.sample(servers, 2), None
    if kind == "split":
        group = choice.sample(servers, choice.randint(1, len(servers) // 2))
        return sorted(group), {"database nodes": choice.choice(([], [0], [0, 1]))}
    if kind == "database-freeze":
        return [], {"nodes": choice.choice(([0], [0, 1]))}
    if kind == "move":
        disk = choice.choice(sorted(disks))
        others = [server for server in servers if server not in disks[disk]]
        return [choice.choice(disks[disk]), choice.choice(others), disk], None
    if kind == "copy":
        disk = choice.choice(sorted(disks))
        others = [server for server in servers if server not in disks[disk]]
        return [choice.choice(others), disk], {"clock": choice.choice(CLOCKS)}
    if kind == "rows":
        disk = choice.choice(sorted(disks))
        server = choice.choice(disks[disk])
        others = [name for name in sorted(disks) if server in disks[name] and name != disk]
        return [server, disk, choice.choice(others or [disk])], choice.choice(ROWS)
    return [], None


def write(faults, path):
    with open(path, "w", encoding="utf-8") as file:
        for fault in faults:
            file.write(json.dumps(dataclasses.asdict(fault)) + "\n")


def read(path):
    with open(path, encoding="utf-8") as file:
        return [Fault(**json.loads(line)) for line in file if line.strip()]
