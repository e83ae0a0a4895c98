#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Holds an NBD server to the numbered points of PROTOCOL.md section 1, from outside.

    conformance.py --port PORT --export NAME --image FILE [OPTION…] [--only REGEX]
    conformance.py --list

Each point is a function pNNN_what_it_says of the modules beside this file; --list prints them. A
point that fails says why, and is named again at the end; then the status is 1. Points that need
what the target does not have (TLS, a writable disk, its process) are not run. Those that end the
server are run only when --only names them.
"""

import argparse
import re
import signal
import sys
import time
import traceback

import conformance_chunks
import conformance_contexts
import conformance_options
import conformance_requests
import conformance_shutdown
import conformance_tls
import conformance_writes
import nbd_talk as nbd
from conformance_target import POINTS, Target

# Their points are in POINTS once they are imported; those of the last are run on demand only.
MODULES = (conformance_options, conformance_contexts, conformance_tls, conformance_requests,
           conformance_writes, conformance_chunks)
LAST = conformance_shutdown.__name__
LIMIT = 60  # seconds for each point


class TooLong(Exception):
    pass


def on_alarm(*_):
    raise TooLong(f"not done after {LIMIT} s")


def run(function, target):
    """What is wrong, or nothing."""
    signal.alarm(LIMIT)
    try:
        function(target)
        if function.__module__ != LAST:
            signal.alarm(LIMIT)
            with target.connect(tls=False):
                pass
    except (nbd.Violation, TooLong) as error:
        return str(error)
    except (nbd.Closed, OSError) as error:
        place = traceback.extract_tb(error.__traceback__)
        lines = [str(frame.lineno) for frame in place if "conformance_" in frame.filename]
        return f"the connection ended: {error} (line {', '.join(lines)})"
    finally:
        signal.alarm(0)
    return None


def selected(target, only, without):
    for name in sorted(POINTS):
        if POINTS[name].__module__ == LAST and not only:
            continue
        if only and not re.match(only, name) or without and re.match(without, name):
            continue
        if all(target.has(need) for need in POINTS[name].needs):
            yield POINTS[name]


def parse():
    parser = argparse.ArgumentParser(description="Holds an NBD server to the protocol.")
    parser.add_argument("--list", action="store_true", help="print the points, and end")
    parser.add_argument("--port", type=int, help="of the server, on 127.0.0.1")
    parser.add_argument("--export", help="a read-only disk")
    parser.add_argument("--image", help="a raw file with the same bytes")
    parser.add_argument("--writable-port", type=int, help="of a server with a writable disk")
    parser.add_argument("--writable", help="that disk")
    parser.add_argument("--writable-image", help="the file behind it")
    parser.add_argument("--tls-ca", help="TLS is required, with servers of this authority")
    parser.add_argument("--tls-certificate", help="directory of the client's certificate")
    parser.add_argument("--tls-stranger",
                        help="directory of a certificate of another authority")
    parser.add_argument("--pid", type=int, help="the server's process")
    parser.add_argument("--only", help="points whose name this matches")
    parser.add_argument("--without", help="but not those")
    arguments = parser.parse_args()
    if not arguments.list and not (arguments.port and arguments.export and arguments.image):
        parser.error("--port, --export and --image say what to test")
    return arguments


def main():
    arguments = parse()
    if arguments.list:
        for name in sorted(POINTS):
            print(f"{name}: {' '.join(POINTS[name].__doc__.split())}")
        return 0
    signal.signal(signal.SIGALRM, on_alarm)
    target = Target(arguments)
    failures = []
    for function in selected(target, arguments.only, arguments.without):
        start = time.monotonic()
        trouble = run(function, target)
        took = f"{time.monotonic() - start:.1f} s"
        print(f"{'FAIL' if trouble else 'ok  '} {function.__name__} ({took})"
              f"{': ' + trouble if trouble else ''}", flush=True)
        if trouble:
            failures.append(function.__name__)
    for name in failures:
        print(f"failed: {name}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
