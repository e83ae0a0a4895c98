#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""A TCP proxy before a server that answers, but only in drops, for as long as it is told to.

    listen.py PORT-FILE drip.py SERVER-PORT-FILE

Connections to its port (listen.py binds it) go on to the port in SERVER-PORT-FILE. SIGUSR1: from
now on each connection gets 16 KiB a second of what the server sends; SIGUSR2: all of it at once.
It ends when its standard input does.
"""

import asyncio
import signal
import socket
import sys

PASSED_FD = 3
DROP = 1638  # bytes
PAUSE = 0.1  # seconds


class Proxy:
    def __init__(self, port_file):
        self.port_file, self.dripping = port_file, False

    async def answer(self, source, target):
        """From the server to the client."""
        while data := await source.read(65536):
            while data:
                size = DROP if self.dripping else len(data)
                target.write(data[:size])
                await target.drain()
                data = data[size:]
                if self.dripping:
                    await asyncio.sleep(PAUSE)

    @staticmethod
    async def ask(source, target):
        while data := await source.read(65536):
            target.write(data)
            await target.drain()

    async def serve(self, from_client, to_client):
        with open(self.port_file, encoding="ascii") as file:
            port = int(file.read())
        to_server = None
        try:
            from_server, to_server = await asyncio.open_connection("127.0.0.1", port)
            ways = [asyncio.ensure_future(self.answer(from_server, to_client)),
                    asyncio.ensure_future(self.ask(from_client, to_server))]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
        except OSError as error:
            print(f"drip.py: {error}", file=sys.stderr)
        for writer in filter(None, (to_client, to_server)):
            writer.transport.abort()

    def drip(self, on):
        self.dripping = on


async def main():
    proxy, loop, ended = Proxy(sys.argv[1]), asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, proxy.drip, True)
    loop.add_signal_handler(signal.SIGUSR2, proxy.drip, False)
    loop.add_reader(sys.stdin, ended.set)
    listener = socket.socket(fileno=PASSED_FD)
    async with await asyncio.start_server(proxy.serve, sock=listener):
        await ended.wait()


if __name__ == "__main__":
    asyncio.run(main())
