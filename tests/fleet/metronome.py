# SPDX-License-Identifier: BSD-3-Clause
"""How long this machine gives nobody a turn: what the fleet cannot be blamed for.

    metronome.py PROCESSOR FILE

One process for each processor, and at home there: it sleeps for a moment, again and again, and
writes down when it began to oversleep and when it woke up (monotonic seconds, one line each). It
has the priority of the simulation, and does less than any of its processes, so what it had to wait
these had to wait at least. It ends with the simulation.
"""

import os
import sys
import time

NAP = 0.01
NOTED = 0.03  # less is what sleeping costs anyway


def main():
    processor, path = int(sys.argv[1]), sys.argv[2]
    os.sched_setaffinity(0, {processor})
    with open(path, "w", encoding="ascii", buffering=1) as file:
        due = time.monotonic() + NAP
        while True:
            time.sleep(max(0.0, due - time.monotonic()))
            now = time.monotonic()
            if now - due > NOTED:
                file.write(f"{due:.4f} {now:.4f}\n")
            due = now + NAP


def read(paths):
    """All that they wrote, as intervals that do not overlap."""
    spans = []
    for path in paths:
        with open(path, encoding="ascii") as file:
            lines = file.read().splitlines()
        spans += [tuple(map(float, line.split())) for line in lines if line.count(" ") == 1]
    merged = []
    for begin, end in sorted(spans):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((begin, end))
    return merged


if __name__ == "__main__":
    main()
