#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""A link with a delay: a TCP proxy that passes on what comes, each way MS/2 milliseconds late.

    listen.py PORT-FILE delay_proxy.py MS HOST PORT

It listens on the socket that listen.py passes. At most WINDOW bytes of a connection are on their
way in each direction, as with a TCP window of that size.
"""

import collections
import heapq
import itertools
import select
import socket
import sys
import time

PASSED_FD = 3
WINDOW = 16 << 20
CHUNK = 256 << 10


class End:
    """One socket of a connection: what it says is held back in `held` for the other one."""

    def __init__(self, sock, poll):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        self.sock, self.poll, self.other = sock, poll, None
        self.held = collections.deque()  # (due, bytes); no bytes: the end
        self.size = 0
        self.reads, self.writes = True, False
        poll.register(sock, select.EPOLLIN)

    def want(self, reads=None, writes=None):
        self.reads = self.reads if reads is None else reads
        self.writes = self.writes if writes is None else writes
        if self.sock.fileno() >= 0:
            self.poll.modify(self.sock, (select.EPOLLIN if self.reads else 0) |
                             (select.EPOLLOUT if self.writes else 0))

    def receive(self, delay):
        """When what came is due, or None when nothing did."""
        try:
            data = self.sock.recv(CHUNK)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        due = time.monotonic() + delay
        self.held.append((due, data))
        self.size += len(data)
        if not data or self.size >= WINDOW:
            self.want(reads=False)
        return due

    def pass_on(self):
        """To the other end, what is due. False: the connection is over."""
        to, now = self.other, time.monotonic()
        blocked = False
        while self.held and self.held[0][0] <= now and not blocked:
            due, data = self.held[0]
            if not data:
                return False
            try:
                sent = to.sock.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                return False
            if self.size >= WINDOW > self.size - sent:
                self.want(reads=True)
            self.size -= sent
            blocked = sent < len(data)
            if blocked:
                self.held[0] = (due, data[sent:])
            else:
                self.held.popleft()
        if to.writes != blocked:
            to.want(writes=blocked)
        return True

    def close(self):
        self.sock.close()


def serve(delay, target):
    poll = select.epoll()
    listener = socket.socket(fileno=PASSED_FD)
    poll.register(listener, select.EPOLLIN)
    ends, due, number = {}, [], itertools.count()

    def finish(end):
        for one in (end, end.other):
            ends.pop(one.sock.fileno(), None)
            one.close()

    while True:
        wait = max(0.0, due[0][0] - time.monotonic()) if due else -1
        for fd, events in poll.poll(wait):
            if fd == listener.fileno():
                near = End(listener.accept()[0], poll)
                far = End(socket.create_connection(target), poll)
                near.other, far.other = far, near
                ends.update({near.sock.fileno(): near, far.sock.fileno(): far})
            elif fd in ends:
                end = ends[fd]
                if events & select.EPOLLOUT and not end.other.pass_on():
                    finish(end)
                elif events & ~select.EPOLLOUT and end.reads:
                    when = end.receive(delay)
                    if when is not None:
                        heapq.heappush(due, (when, next(number), end))
                elif events & (select.EPOLLHUP | select.EPOLLERR) and not end.reads:
                    finish(end)
        while due and due[0][0] <= time.monotonic():
            end = heapq.heappop(due)[2]
            if end.sock.fileno() >= 0 and not end.pass_on():
                finish(end)


if __name__ == "__main__":
    serve(float(sys.argv[1]) / 2000, (sys.argv[2], int(sys.argv[3])))
