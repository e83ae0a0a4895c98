# SPDX-License-Identifier: BSD-3-Clause
"""What the points of conformance.py share: who is tested, and the list of them."""

import mmap
import ssl
import time

import nbd_talk as nbd

STYLES = ("simple", "structured", "extended")
CHUNKED = STYLES[1:]
BOTH = (nbd.ALLOCATION, nbd.PLACEMENT)
MIB = 1 << 20
ABSENT = "no/such/disk"  # as is known to all servers under test
BLOCK = 64 * 1024  # what the images' data and holes are made of

POINTS = {}  # by name


def point(needs=()):
    """Registers a function as a point. NEEDS: what the target must have: an attribute's name, or
    `plain`: no TLS."""

    def register(function):
        function.needs = (needs,) if isinstance(needs, str) else needs
        POINTS[function.__name__] = function
        return function

    return register


class Target:
    """A server under test. EXPORT is read-only and has the bytes of IMAGE; WRITABLE, likewise with
    WRITABLE_IMAGE, is of another server, the same but for that (WRITABLE_ADDRESS)."""

    def __init__(self, arguments):
        self.address = ("127.0.0.1", arguments.port)
        self.export, self.image_path = arguments.export, arguments.image
        self.writable, self.writable_path = arguments.writable, arguments.writable_image
        self.writable_port = arguments.writable_port
        self.tls = arguments.tls_ca is not None
        self.tls_files = (arguments.tls_ca, arguments.tls_certificate)
        self.stranger = arguments.tls_stranger
        self.pid = arguments.pid
        self.has_pid = self.pid is not None
        with open(self.image_path, "rb") as file:
            self.image = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.size = len(self.image)

    def has(self, need):
        return not self.tls if need == "plain" else bool(getattr(self, need))

    def tls_context(self, certificate=None, authority=None):
        """As the client that the server knows; or with another certificate's directory."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(authority or self.tls_files[0])
        directory = certificate or self.tls_files[1]
        if directory != "none":
            context.load_cert_chain(f"{directory}/client-cert.pem", f"{directory}/client-key.pem")
        return context

    def connect(self, **how):
        return nbd.Client(self, **how)

    def open(self, style="simple", contexts=(), name=None):
        return self.connect().open(name or self.export, style, contexts)

    def to_writable(self):
        """The same target, seen from its writable server: there EXPORT is the writable disk."""
        other = object.__new__(Target)
        other.__dict__.update(self.__dict__)
        other.address = (self.address[0], self.writable_port)
        other.export, other.image_path = self.writable, self.writable_path
        return other

    def open_writable(self, style="simple", contexts=()):
        return self.to_writable().open(style, contexts)

    def still_serves(self, style="simple"):
        with self.open(style) as client:
            nbd.require(client.read(0, 512) == self.image[:512], "the server serves wrong bytes")
            client.disconnect()

    def holes(self):
        """(offset, length) of the runs of zero blocks in the image."""
        runs = []
        for offset in range(0, self.size, BLOCK):
            length = min(BLOCK, self.size - offset)
            if self.image[offset:offset + length].count(0) != length:
                continue
            if runs and sum(runs[-1]) == offset:
                runs[-1] = (runs[-1][0], runs[-1][1] + length)
            else:
                runs.append((offset, length))
        return runs


def wait_until(condition, seconds, what):
    end = time.monotonic() + seconds
    while not condition():
        nbd.require(time.monotonic() < end, f"not within {seconds} s: {what}")
        time.sleep(0.02)
