# SPDX-License-Identifier: BSD-3-Clause
"""Carries out the faults of a plan: begins each at its time, and undoes it."""

import collections
import contextlib
import json
import os
import signal
import threading
import time

import plan

STRANGE_URIS = {
    "uri-program": "nbd+ssh://-oProxyCommand=touch%20/tmp/hostile/x",
    "uri-local": "nbd://127.0.0.1:22",
    "uri-control": "nbd://10.77.0.99:10809/\x1b[2J\r\nfake",
}


class Faults:
    """`happened` gets a dict for each: kind, who, detail, begin and end (monotonic); `whole` is
    when it was all there: to part two groups of machines takes a second, and to join them, too."""

    def __init__(self, simulation, begin):
        self.simulation = simulation
        self.servers = simulation.servers
        self.database = simulation.database
        self.begin = begin
        self.locks = collections.defaultdict(threading.Lock)
        self.happened = []
        self.problems = []
        self.refused = []  # what could not even be asked for

    def carry_out(self, faults):
        threads = [threading.Thread(target=self.carry_out_one, args=(fault,)) for fault in faults]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def carry_out_one(self, fault):
        self.sleep_until(fault.start)
        # On a busy machine an undoing may take longer than was planned.
        with contextlib.ExitStack() as stack:
            for resource in sorted(plan.resources(fault)):
                stack.enter_context(self.locks[resource])
            self.carry_out_now(fault)

    def carry_out_now(self, fault):
        event = self.event(fault, fault.kind)
        try:
            undo = getattr(self, "do_" + fault.kind.replace("-", "_"))(fault)
            event["whole"] = [time.monotonic()]  # all of it is there: from, until
            self.sleep_until(fault.end())
            event["whole"].append(time.monotonic())
            undo()
        except Exception as error:  # what cannot be carried out fails the run
            self.problems.append(f"{fault} could not be carried out: {error!r}")
        event["end"] = time.monotonic()

    def event(self, fault, kind):
        """Begins now; whoever asked for it says when it ends."""
        event = {"number": fault.number, "kind": kind, "who": fault.who, "detail": fault.detail,
                 "begin": time.monotonic(), "end": float("inf")}
        self.happened.append(event)
        return event

    def sleep_until(self, seconds):
        time.sleep(max(0.0, self.begin + seconds - time.monotonic()))

    # A server.

    def do_kill(self, fault):
        server = self.servers[fault.who[0]]
        server.kill()
        server.clock = fault.detail["clock"]
        return server.start

    def do_freeze(self, fault):
        server = self.servers[fault.who[0]]
        server.freeze()
        return server.thaw

    def do_state_full(self, fault):
        filler = os.path.join(self.servers[fault.who[0]].state, "filler")
        fill(filler)
        return lambda: os.remove(filler)

    # The network.

    def machines(self, names):
        return [self.servers[name].machine for name in names]

    def do_one_way(self, fault):
        source, target = self.machines(fault.who)
        return target.drop_from(source)

    def do_cut(self, fault):
        a, b = self.machines(fault.who)
        return both(a.drop_from(b), b.drop_from(a))

    def do_flaky(self, fault):
        a, b = self.machines(fault.who)
        return both(a.drop_from(b, 0.3), b.drop_from(a, 0.3))

    def do_split(self, fault):
        inside = self.machines(fault.who)
        nodes = [node.machine for node in self.database.nodes]
        inside += [nodes[number] for number in fault.detail["database nodes"]]
        everybody = self.machines(self.servers) + nodes
        undo = []
        for a in inside:
            for b in everybody:
                if b not in inside:
                    undo += [a.drop_from(b), b.drop_from(a)]
        return both(*undo)

    def do_no_catalog(self, fault):
        server = self.servers[fault.who[0]].machine
        return both(*(server.drop_from(node.machine) for node in self.database.nodes))

    # The database.

    def do_database_stop(self, _fault):
        node = self.database.primary
        node.stop()
        return node.start

    def do_database_freeze(self, fault):
        nodes = [self.database.primary, self.database.standby][:len(fault.detail["nodes"])]
        for node in nodes:
            node.signal(signal.SIGSTOP)
        return lambda: [node.signal(signal.SIGCONT) for node in nodes]

    def do_database_failover(self, _fault):
        self.database.fail_over()
        return self.database.renew_standby

    def do_database_full(self, _fault):
        """It has to end when it cannot write its log; the operator makes room and starts it."""
        node = self.database.primary
        filler = os.path.join(node.folder, "filler")
        fill(filler)

        def undo():
            os.remove(filler)
            if node.process.poll() is not None:
                node.start()
        return undo

    # An operator, who tries again later what the catalog does not take.

    def ask(self, fault, *words):
        """What to call for another try; it says whether there was success."""
        asked = [False]

        def once():
            asked[0] = asked[0] or self.simulation.command.run(*words).returncode == 0
            return asked[0]

        def again():
            if not once():
                self.refused.append(fault.number)
            return asked[0]
        once()
        return again

    def insist(self, *words):
        deadline = time.monotonic() + 2 * plan.HEAL
        while self.simulation.command.run(*words).returncode != 0:
            if time.monotonic() > deadline:
                raise RuntimeError("not taken: signpost " + " ".join(words))
            time.sleep(0.5)

    def do_move(self, fault):
        return self.ask(fault, *words_of(fault.who))

    def do_copy(self, fault):
        server = self.servers[fault.who[0]]
        again = self.ask(fault, *words_of(fault.who))
        self.sleep_until(fault.start + fault.seconds / 2)
        killed = self.event(fault, "kill")
        server.kill()
        server.clock = fault.detail["clock"]

        def undo():
            server.start()
            killed["end"] = time.monotonic()
            again()
        return undo

    def do_drain(self, fault):
        again = self.ask(fault, "servers", "drain", fault.who[0])

        def undo():
            if again():
                self.insist("servers", "drain", "--off", fault.who[0])
        return undo

    def do_rot(self, fault):
        self.simulation.rotting_images.rot(fault.detail["place"])
        return lambda: None

    def do_writer(self, fault):
        server = self.simulation.writable[fault.who[0]]
        if fault.detail["how"] == "kill":
            server.kill()
            return server.start
        server.freeze()
        return server.thaw

    # The catalog's rows. Each rows_… gives two statements: what spoils them, and what mends them.

    def do_rows(self, fault):
        server, disk, other = fault.who
        spoil, mend = getattr(self, "rows_" + fault.detail.split("-")[0])(server, disk, other,
                                                                          fault.detail)
        self.database.ask(spoil + BUMP)
        return lambda: self.database.ask(mend + BUMP)

    def saved_location(self, server, disk):
        row = self.database.ask(
            f"SELECT to_jsonb(l) FROM signpost.location l WHERE {location(server, disk)}")
        row = json.dumps(json.loads(row)).replace("'", "''")
        columns = ", ".join(json.loads(row.replace("''", "'")))
        saved = f"SELECT {columns} FROM jsonb_populate_record(NULL::signpost.location, '{row}')"
        return (f"INSERT INTO signpost.location ({columns}) {saved} ON CONFLICT"
                f" (disk_name, server_id) DO UPDATE SET ({columns}) = ({saved});")

    def with_location(self, server, disk, assignment):
        return (f"UPDATE signpost.location SET {assignment} WHERE {location(server, disk)};",
                self.saved_location(server, disk))

    def with_columns_of(self, server, disk, other, *columns, also=""):
        """Nothing, where OTHER has just been moved away."""
        names = ", ".join(columns)
        row = f"FROM signpost.location WHERE {location(server, other)}"
        return (f"UPDATE signpost.location SET {also} ({names}) = (SELECT {names} {row})"
                f" WHERE {location(server, disk)} AND EXISTS (SELECT {row});",
                self.saved_location(server, disk))

    def rows_export(self, server, disk, other, _):
        return self.with_location(server, disk, f"export_name = '{other}'")

    def rows_whole(self, server, disk, other, _):
        return self.with_columns_of(server, disk, other, "size", "generation", "fingerprint",
                                    "digest", "published", "format",
                                    also=f"export_name = '{other}',")

    def rows_fingerprint(self, server, disk, other, _):
        return self.with_columns_of(server, disk, other, "fingerprint")

    def rows_digest(self, server, disk, other, _):
        return self.with_columns_of(server, disk, other, "digest")

    def rows_generation(self, server, disk, _other, _):
        return self.with_location(server, disk, "generation = 9223372036854775807")

    def rows_size(self, server, disk, _other, detail):
        size = "9223372036854775807" if detail == "size-huge" else "size + 512"
        return self.with_location(server, disk, f"size = {size}")

    def rows_vanish(self, server, disk, _other, _):
        return (f"DELETE FROM signpost.location WHERE {location(server, disk)};",
                self.saved_location(server, disk))

    def rows_name(self, server, disk, _other, _):
        columns = ", ".join(json.loads(self.database.ask(
            f"SELECT to_jsonb(l) - 'disk_name' FROM signpost.location l"
            f" WHERE {location(server, disk)}")))
        spoil = "".join(
            f"INSERT INTO signpost.location (disk_name, {columns}) SELECT {name}, {columns}"
            f" FROM signpost.location WHERE {location(server, disk)};" for name in STRANGE_NAMES)
        names = ", ".join(STRANGE_NAMES)
        return spoil, f"DELETE FROM signpost.location WHERE disk_name IN ({names});"

    def rows_uri(self, server, disk, _other, detail):
        own = self.servers[server].machine.address
        others = [name for name in sorted(self.servers) if name != server]
        other = self.servers[others[len(disk) % len(others)]].machine.address
        uri = STRANGE_URIS.get(detail, f"nbd://{other}:10809").replace("'", "''")
        where = f"WHERE server_id = {number_of(server)}"
        statement = f"UPDATE signpost.server_uri SET uri = '%s' {where};"
        return statement % uri, statement % f"nbd://{own}:10809"


def words_of(who):
    """How a move (source, target, disk) or a copy (target, disk) is asked for."""
    *source, target, disk = who
    if source:
        return ["move", disk, "--from", *source, "--to", target, "--detach"]
    return ["copy", disk, "--to", target, "--rate", "2M", "--detach"]


def number_of(server):
    return f"(SELECT id FROM signpost.server WHERE name = '{server}')"


def location(server, disk):
    return f"disk_name = '{disk}' AND server_id = {number_of(server)}"


STRANGE_NAMES = ("'web000/../../etc/passwd'", "E'web000/\\x1b[2Jvda'")
BUMP = " UPDATE signpost.catalog_state SET change_sequence = change_sequence + 1;"


def both(*undo):
    def undo_all():
        for step in undo:
            step()
    return undo_all


def fill(path):
    """Takes all room that is left on a file system."""
    with open(path, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 20))
        except OSError:
            pass
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
