#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Runs a program on a terminal and answers it.

    typed.py COMMAND... <DIALOGUE

Each line of the dialogue is `TEXT => ANSWER`: once TEXT has come (after what the line before it
has waited for), ANSWER is typed, with the end of line; \\t in it is a tab, and \\c at its end
leaves the end of line out. What the program wrote goes to standard output, and its status is ours.
A text that does not come within 20 seconds is status 99.
"""

import os
import pty
import re
import select
import sys
import time


def main():
    dialogue = [re.split(" => ?", line.rstrip("\n"), maxsplit=1) for line in sys.stdin]
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp(sys.argv[1], sys.argv[1:])
    seen = b""
    at = 0
    end = time.monotonic() + 20
    while True:
        while dialogue and dialogue[0][0].encode() in seen[at:]:
            text, answer = dialogue.pop(0)
            at = seen.index(text.encode(), at) + len(text.encode())
            answer = answer.replace("\\t", "\t")
            answer = answer[:-2] if answer.endswith("\\c") else answer + "\r"
            os.write(terminal, answer.encode())
        ready, _, _ = select.select([terminal], [], [], max(0, end - time.monotonic()))
        try:
            data = os.read(terminal, 65536) if ready else b""
        except OSError:  # that is how a terminal ends
            data = b""
        if not data:
            break
        seen += data
    sys.stdout.buffer.write(seen)
    if dialogue or time.monotonic() >= end:
        text = dialogue[0][0] if dialogue else "the end"
        sys.stdout.buffer.write(f"\nnever came: {text}\n".encode())
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        return 99
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    sys.exit(main())
