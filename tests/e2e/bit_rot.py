# SPDX-License-Identifier: BSD-3-Clause
"""Flips bits of a file as a failing disk does: without its times changing.

    bit_rot.py FILE

Maps the file, which lies on a tmpfs, and writes to every page once, before anybody looks at it:
the kernel moves the times with the first write to a page through a mapping, and on a tmpfs with no
later one. Says "ready" then. Each line `OFFSET` that it is told flips the lowest bit there, and it
says "done".
"""

import mmap
import sys


def main():
    with open(sys.argv[1], "r+b") as image:
        pages = mmap.mmap(image.fileno(), 0)
    for at in range(0, len(pages), mmap.PAGESIZE):
        pages[at] = pages[at]
    print("ready", flush=True)
    for line in sys.stdin:
        at = int(line)
        pages[at] ^= 1
        print("done", flush=True)


main()
