# SPDX-License-Identifier: BSD-3-Clause
"""Proves from the records of a run that the fleet kept its promises, or says where it did not.

It knows what happened (the faults with their times), what each client saw, and who tried to connect
to whom. Pure: numbers and lists in, sentences out. The promises:

- no wrong byte, ever;
- no error while one good replica was reachable from the server that was asked;
- every stall within the bounds; moves, copies and drains excuse none;
- at most two attempts to connect per second from a server to a peer that it cannot reach;
- everything heals by itself within GRACE after the last fault.

A replica is good for a request when its server was there and both directions to it were whole from
GRACE before until the end. For how long the machine gave nobody a turn is measured (metronome.py):
by that a request may take longer, and by nothing else but the slack.

And of what an operator asked for: copies and moves are whole and where they were wanted, whatever
was killed; of two writers one writes, and the other when the first has been gone for longer than
its lease.
"""

import hashlib
import mmap

GRACE = 10.0  # everything heals within
LONGEST = 12.0  # of a request, with no replica left
KILLED = 2.0  # what one replica may cost that ends, or
SILENT = 3.0  # that no longer answers
ROTTEN = 1.0  # or sent bytes that were found to be others
OPEN = 1.0
READ = 0.5
FOLLOWED = 1.0  # an open of a disk that has moved, once
CONNECTS = 2.0  # per second, over WINDOW
WINDOW = 5.0
LEASE = 15.0  # of a writer
TAKEOVER = 8.0  # after it
ENDS = ("kill",)  # a server's process
STOOD_STILL = 0.15  # for so long in all, and a refusal for lack of time proves nothing


def overlaps(begin, end, event):
    return begin < event["end"] and event["begin"] < end


def overlap(begin, end, event):
    return max(0.0, min(end, event["end"]) - max(begin, event["begin"]))


def nodes_away(event, asked):
    """How many of the database's two nodes a server cannot ask because of it."""
    if event["kind"] == "no-catalog":
        return 2 if event["who"][0] == asked else 0
    if event["kind"] == "split":
        inside = len(event["detail"]["database nodes"])
        return 2 - inside if asked in event["who"] else inside
    if event["kind"] == "database-freeze":
        return len(event["detail"]["nodes"])
    return 1 if event["kind"].startswith("database") else 0


class History:
    """What happened, as answers to questions about a time."""

    def __init__(self, events, disks, standstills):
        self.events = events
        self.disks = disks
        self.standstills = [{"begin": begin, "end": end} for begin, end in standstills]

    def during(self, begin, end):
        return [event for event in self.events if overlaps(begin, end, event)]

    def process(self, server, begin, end, kinds=("freeze", *ENDS)):
        return [event for event in self.during(begin, end)
                if event["kind"] in kinds and event["who"][0] == server]

    def link(self, a, b, begin, end):
        return [event for event in self.during(begin, end)
                if event["kind"] in ("one-way", "cut", "flaky") and {a, b} == set(event["who"])
                or event["kind"] == "split" and (a in event["who"]) != (b in event["who"])]

    def rows(self, server, disk, begin, end):
        """Hostile rows make a location unusable, or with a wrong address all of its server."""
        return [event for event in self.during(begin, end) if event["kind"] == "rows"
                and event["who"][0] == server
                and (event["who"][1] == disk or event["detail"].startswith("uri"))]

    def misled(self, event):
        """Whether wrong rows may have made this move or copy fail, so that it is asked for again:
        of that disk, or a wrong address."""
        disk = event["who"][-1]
        return any(wrong["kind"] == "rows" and (wrong["who"][1] == disk
                                                or wrong["detail"].startswith("uri"))
                   for wrong in self.during(event["begin"], event["end"]))

    def is_behind(self, failover):
        """Whether the standby may lack more than the last second's changes when it is promoted."""
        return any(split["kind"] == "split" and len(split["detail"]["database nodes"]) == 1
                   for split in self.during(failover["begin"] - 2 * GRACE, failover["begin"]))

    def lost_by_failover(self, event):
        """Whether the wish for this move or copy may be one of those changes."""
        after = [over for over in self.events
                 if over["kind"] == "database-failover" and event["begin"] < over["begin"]]
        return bool(after) and (self.is_behind(after[0])
                                or after[0]["begin"] < event["begin"] + 1)

    def may_forget_leases(self):
        return any(over["kind"] == "database-failover" and self.is_behind(over)
                   for over in self.events)

    def moved(self, holder, disk, end):
        """From the moment on that it was asked for, the disk may leave this holder; and what has
        rotted there is not good any more."""
        return [event for event in self.events if event["kind"] in ("move", "rot")
                and event["who"][0] == holder and event["who"][-1] == disk
                and event["begin"] < end]

    def copies(self, disk, end):
        """Where it may be by then: moved or copied to, too."""
        came = [event["who"][-2] for event in self.events if event["kind"] in ("move", "copy")
                and event["who"][-1] == disk and event["begin"] < end]
        return sorted({*self.disks[disk]["holders"], *came})

    def trouble(self, asked, holder, disk, begin, end):
        return self.moved(holder, disk, end) + self.stalls(asked, holder, disk, begin, end)

    def stalls(self, asked, holder, disk, begin, end):
        """What keeps a request waiting for this holder."""
        return (self.process(holder, begin, end) + self.link(asked, holder, begin, end)
                + self.rows(holder, disk, begin, end))

    def concerning(self, asked, disk, begin, end):
        """What may have had to do with a request, in order."""
        events = self.process(asked, begin, end)
        for holder in self.copies(disk, end):
            events += self.trouble(asked, holder, disk, begin, end)
        events += [event for event in self.during(begin, end) if nodes_away(event, asked)]
        return sorted({event["number"]: event for event in events}.values(),
                      key=lambda event: event["number"])

    def catalog_trouble(self, asked, begin, end):
        """What kept it from both nodes of the database, or from one and then the other. One is
        enough for a look-up."""
        partly = []
        for event in self.during(begin, end):
            nodes = nodes_away(event, asked)
            if nodes == 2:
                return [event]
            partly += [event] * nodes
        return partly if len(partly) > 1 else []

    def good(self, asked, disk, begin, end):
        """Holders that were there and reachable all the time."""
        holders = self.disks[disk]["holders"]
        if self.newest_is_away(asked, disk, begin, end):
            holders = [asked] if asked in holders else []
        return [holder for holder in holders
                if not (self.moved(holder, disk, end) if holder == asked
                        else self.trouble(asked, holder, disk, begin, end))]

    def newest_is_away(self, asked, disk, begin, end):
        """Whether a wrong row may say that newer content is where nobody can look: then there is
        no telling, and what is older is not served in its place."""
        return any(self.process(event["who"][0], begin, end)
                   or self.link(asked, event["who"][0], begin, end)
                   for event in self.during(begin, end) if event["kind"] == "rows"
                   and event["who"][1] == disk and event["detail"] in ("whole", "digest"))

    def stood_still(self, begin, end):
        """The machine; in seconds."""
        return sum(overlap(begin, end, event) for event in self.standstills)

    def own_time(self, server, begin, end):
        """How long a request took, without what its server stood still."""
        still = [overlap(begin, end, event) for event in self.process(server, begin, end)]
        return end - begin - sum(still)

    def price(self, what, asked, disk, begin, end):
        """What the replicas in trouble may cost in all. Whoever reads a disk while it is moved,
        copied or drained notices nothing."""
        cost = 0.0
        for holder in self.copies(disk, end):
            stalls = self.stalls(asked, holder, disk, begin - GRACE, end)
            if stalls and holder != asked:
                cost += KILLED if all(event["kind"] in ENDS for event in stalls) else SILENT
            for event in self.moved(holder, disk, end):
                cost += ROTTEN if event["kind"] == "rot" else 0.0
                cost += FOLLOWED if event["kind"] == "move" and what == "open" else 0.0
        return min(cost, LONGEST)


class Checker:
    def __init__(self, history, golden, slack, known_survive=False):
        self.history = history
        self.golden = golden
        self.slack = slack
        self.known_survive = known_survive  # a disk that was opened before needs no catalog
        self.known = set()  # (server, disk)
        self.contents = {}
        self.violations = []
        self.reads = self.opens = self.failed = self.unjudged = self.extended = 0
        self.stalls = {"read": 0.0, "open": 0.0}

    def check(self, record):
        if record[0] == "read":
            self.check_read(*record[1:])
        else:
            self.check_open(*record[1:])

    def violation(self, what, begin, end, server, disk, why):
        events = [f"{event['number']} {event['kind']}" for event in
                  self.history.concerning(server, disk, begin - GRACE, end)]
        self.violations.append((begin, f"{what} of {disk} through {server}, {end - begin:.2f} s: "
                                       f"{why}; faults of the time: {', '.join(events) or 'none'}"))

    def content(self, disk):
        if disk not in self.contents:
            with open(f"{self.golden}/{disk}.raw", "rb") as file:
                self.contents[disk] = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        return self.contents[disk]

    def check_read(self, begin, end, _session, server, disk, offset, length, digest, error):
        self.reads += 1
        if digest is not None:
            right = hashlib.sha256(self.content(disk)[offset:offset + length]).hexdigest()
            if digest != right:
                self.violation("read", begin, end, server, disk,
                               f"WRONG BYTES at {offset} + {length}")
        good = self.history.good(server, disk, begin, end)
        if error == "lost":
            self.check_lost("read", begin, end, server, disk)
        elif error:
            self.failed += 1
            if good or error == "hung":
                self.violation("read", begin, end, server, disk,
                               f"{error}, though {', '.join(good) or 'nobody'} had it")
        bound = READ + self.history.price("read", server, disk, begin, end)
        if not good:
            bound = LONGEST + READ
        self.check_time("read", begin, end, server, disk, bound)

    def check_lost(self, what, begin, end, server, disk):
        if not self.history.process(server, begin - 1, end + 1, ENDS):
            self.violation(what, begin, end, server, disk, "the connection was lost")

    def check_open(self, begin, end, _session, server, disk, error):
        self.opens += 1
        killed = self.history.process(server, begin - 1, end + 1, ENDS)
        trouble = self.history.catalog_trouble(server, begin - GRACE, end)
        if trouble and not ((server, disk) in self.known and self.known_survive):
            needed = server in self.history.good(server, disk, begin, end)
        else:
            needed = bool(self.history.good(server, disk, begin - GRACE, end))
        if error is None:
            self.known.add((server, disk))
        elif not killed:
            self.failed += 1
            if self.history.stood_still(begin - 1, end) > STOOD_STILL:
                self.unjudged += 1  # the catalog has half a second to answer
            elif needed or error in ("hung", "lost"):
                self.violation("open", begin, end, server, disk, error)
        bound = OPEN + self.history.price("open", server, disk, begin, end)
        self.check_time("open", begin, end, server, disk, bound)

    def check_time(self, what, begin, end, server, disk, bound):
        took = self.history.own_time(server, begin, end)
        still = self.history.stood_still(begin, end)
        self.stalls[what] = max(self.stalls[what], took - still)
        if bound + self.slack < took <= bound + self.slack + still:
            self.extended += 1
        if took > bound + self.slack + still:
            self.violation(what, begin, end, server, disk,
                           f"it took {took:.2f} s, the bound is {bound:.1f} s, and {still:.2f} s"
                           " more for what the machine gave nobody a turn")


def not_well(records, is_wrong, stood_still, slack):
    """Of a sweep over all disks: what failed, was wrong, or took longer than it may when nothing
    is the matter. STOOD_STILL says for how long the machine did, between two times."""
    def is_late(record):
        bound = OPEN if record[0] == "open" else READ
        begin, end = record[1:3]
        return end - begin > bound + slack + stood_still(begin, end)
    return [record for record in records
            if record[-1] is not None or is_wrong(record) or is_late(record)]


def check_healing(history, last, well, beating):
    """LAST: when the last fault was over. WELL: when a sweep began that found everything well.
    BEATING: when each server had said again to the catalog that it is alive."""
    wrong = []
    for what, when in (("disk could be had through each server", well),
                       ("server had beaten again", beating)):
        still = history.stood_still(last, when)
        if when - last > GRACE + still:
            wrong.append((when, f"each {what} only {when - last:.1f} s after the last fault (of"
                                f" which the machine gave nobody a turn for {still:.1f} s)"))
    return wrong


def check_writers(history, records, until):
    """Of two who want to write, UNTIL a time: (violations, acknowledged writes of each, how long
    the disk had no writer after the first one's server went away). RECORDS as writer.py has
    them."""
    good = sorted((record for record in records if record[-1] is None), key=lambda one: one[1])
    names = sorted({record[3] for record in records})
    count = {name: sum(1 for record in good if record[3] == name) for name in names}
    if not good:
        return [(0.0, "nobody could write at all")], count, None
    first = good[0][3]
    others = [record for record in good if record[3] != first]
    violations = []
    if others:
        # The other one's first write is held until it may be written.
        late = [record for record in good if record[3] == first and record[2] > others[0][2]]
        if late:
            violations.append((late[0][1], f"two writers: {first} had a write acknowledged "
                               f"{late[-1][2] - others[0][2]:.2f} s after {others[0][3]} had one"))
    gone = [event for event in history.events if event["kind"] == "writer"]
    pause = others[0][2] - gone[0]["begin"] if others and gone else None
    if others and not gone and not history.may_forget_leases():
        violations.append((others[0][1], f"{others[0][3]} writes, though {first} is well"))
    violations += check_takeover(history, gone, pause) + check_written_again(history, good, until)
    return violations, count, pause


def check_written_again(history, good, until):
    """After the last fault somebody can write."""
    last = max((event["end"] for event in history.events), default=until)
    latest = last + GRACE + history.stood_still(last, last + GRACE)
    if latest > until or any(last < record[2] <= latest for record in good):
        return []
    return [(latest, f"nobody could write for {GRACE:.0f} s after the last fault")]


def check_takeover(history, gone, pause):
    """The second one gets its turn when the lease has lapsed, and the catalog can be changed."""
    if not gone:
        return []
    begin, end = gone[0]["begin"], gone[0]["end"]
    bound = LEASE + TAKEOVER + history.stood_still(begin, end)
    for event in history.during(begin, end):
        if event["kind"].startswith("database"):
            bound += overlap(begin, end, event) + GRACE
    if end < begin + bound:
        return []  # the first one was back in time
    if pause is None or pause > bound:
        return [(begin, f"no other writer for {pause} s after {gone[0]['who'][0]} went away; the"
                        f" bound is {bound:.1f} s")]
    return []


def check_connects(history, attempts, names):
    """Storms of connects while a link is broken: (violations, most per second). ATTEMPTS: (from,
    to) addresses → times; NAMES: address → server. What only loses packets can be reached: clients
    come, and their disks connect."""
    violations, most = [], 0.0
    for (source, target), times in attempts.items():
        if source not in names or target not in names:
            continue
        for event in history.link(names[source], names[target], float("-inf"), float("inf")):
            if event["kind"] == "flaky":
                continue
            begin, end = event.get("whole", (event["begin"], event["end"]))
            inside = [time for time in times if begin <= time <= end]
            busiest = max((sum(1 for time in inside if first <= time < first + WINDOW)
                           for first in inside), default=0)
            most = max(most, busiest / WINDOW)
            if busiest > CONNECTS * WINDOW:
                violations.append((begin,
                                   f"{names[source]} tried {busiest} times in {WINDOW:.0f} s to"
                                   f" connect to {names[target]} during fault {event['number']}"
                                   f" {event['kind']}; the bound is {CONNECTS:.0f} a second"))
    return violations, most
