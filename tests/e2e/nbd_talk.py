# SPDX-License-Identifier: BSD-3-Clause
"""A client that speaks NBD byte by byte and believes nothing: for conformance.py.

Whatever the server sends is held to the protocol document at once, and the first thing that is not
as it should be raises Violation. Nothing waits for ever: each read has a limit.
"""

import socket
import ssl
import struct
import time

GREETING = b"NBDMAGICIHAVEOPT"
OPTION_MAGIC = 0x49484156454F5054
OPTION_REPLY_MAGIC = 0x0003E889045565A9
FIXED_NEWSTYLE, NO_ZEROES = 1, 2

(EXPORT_NAME, ABORT, LIST, PEEK, STARTTLS, INFO, GO, STRUCTURED, LIST_META, SET_META,
 EXTENDED) = range(1, 12)
ACK, SERVER, INFORMATION, META = 1, 2, 3, 4
ERR = 0x80000000
(UNSUP, POLICY, INVALID, PLATFORM, TLS_REQD, UNKNOWN, SHUTDOWN, BLOCK_SIZE_REQD, TOO_BIG,
 EXT_REQD) = (ERR + n for n in range(1, 11))
INFO_EXPORT, INFO_NAME, INFO_DESCRIPTION, INFO_BLOCK_SIZE = range(4)

(HAS_FLAGS, READ_ONLY, CAN_FLUSH, CAN_FUA, ROTATIONAL, CAN_TRIM, CAN_ZERO, CAN_DF, MULTI_CONN,
 CAN_RESIZE, CAN_CACHE, CAN_FAST_ZERO, STATUS_PAYLOAD) = (1 << n for n in range(13))

READ, WRITE, DISC, FLUSH, TRIM, CACHE, ZEROES, STATUS, RESIZE = range(9)
FUA, NO_HOLE, DF, REQ_ONE, FAST_ZERO, PAYLOAD_LEN = (1 << n for n in range(6))

REQUEST_MAGIC, EXTENDED_REQUEST_MAGIC = 0x25609513, 0x21E41C71
SIMPLE_MAGIC, CHUNK_MAGIC, EXTENDED_CHUNK_MAGIC = 0x67446698, 0x668E33EF, 0x6E8A278C
NONE, OFFSET_DATA, OFFSET_HOLE, BLOCK_STATUS, BLOCK_STATUS_EXT, ERROR, ERROR_OFFSET = (
    0, 1, 2, 5, 6, 0x8001, 0x8002)

EPERM, EIO, ENOMEM, EINVAL, ENOSPC, EOVERFLOW, ENOTSUP, ESHUTDOWN = 1, 5, 12, 22, 28, 75, 95, 108
ERRORS = {EPERM, EIO, ENOMEM, EINVAL, ENOSPC, EOVERFLOW, ENOTSUP, ESHUTDOWN}

ALLOCATION, PLACEMENT = "base:allocation", "x-signpost:placement"
MAX_STRING = 4096
MAX_PAYLOAD = 64 << 20


class Violation(Exception):
    """The server did what no server may."""


class Closed(Exception):
    """The server has ended the connection."""


def require(condition, message):
    if not condition:
        raise Violation(message)


def check_text(data, what):
    require(len(data) <= MAX_STRING, f"{what} of {len(data)} bytes")
    require(b"\0" not in data, f"NUL in {what}")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Violation(f"{what} is no UTF-8: {error}") from error


def name_data(name):
    name = name.encode() if isinstance(name, str) else name
    return struct.pack(">I", len(name)) + name


def info_data(name, *infos):
    return name_data(name) + struct.pack(f">H{len(infos)}H", len(infos), *infos)


def meta_data(name, *queries):
    return (name_data(name) + struct.pack(">I", len(queries)) +
            b"".join(name_data(query) for query in queries))


def option(number, data=b"", length=None, magic=OPTION_MAGIC):
    return struct.pack(">QII", magic, number, len(data) if length is None else length) + data


class Export:
    """What the server has said of an export."""

    def __init__(self):
        self.size = self.flags = None
        self.name = self.description = None
        self.minimum, self.preferred, self.maximum = 1, 4096, 32 << 20
        self.tells_sizes = False

    def take(self, data):
        require(len(data) >= 2, "an INFO reply without a type")
        kind, rest = struct.unpack(">H", data[:2])[0], data[2:]
        if kind == INFO_EXPORT:
            require(len(rest) == 10, f"INFO_EXPORT of {len(data)} bytes")
            require(self.size is None, "INFO_EXPORT twice")
            self.size, self.flags = struct.unpack(">QH", rest)
        elif kind == INFO_BLOCK_SIZE:
            require(len(rest) == 12, f"INFO_BLOCK_SIZE of {len(data)} bytes")
            self.minimum, self.preferred, self.maximum = struct.unpack(">III", rest)
            self.tells_sizes = True
        elif kind == INFO_NAME:
            self.name = check_text(rest, "the name")
        elif kind == INFO_DESCRIPTION:
            self.description = check_text(rest, "the description")
        else:
            raise Violation(f"INFO reply of the unknown type {kind}")

    def facts(self):
        return (self.size, self.flags, self.minimum, self.preferred, self.maximum)


class Request:
    """One request on its way, and what has come of it."""

    def __init__(self, command, flags, offset, length):
        self.command, self.flags, self.offset, self.length = command, flags, offset, length
        self.error = 0
        self.message = ""
        self.done = False
        self.data = None  # of a read, from its first piece on
        self.pieces = []  # (begin, end) of what a read has brought
        self.holes = 0
        self.chunks = 0
        self.extents = {}  # by context id

    def cover(self, offset, length):
        begin = offset - self.offset
        require(length > 0, "an empty piece of data")
        require(0 <= begin and begin + length <= self.length,
                f"data at {offset}+{length} for a read of {self.offset}+{self.length}")
        require(all(begin + length <= a or b <= begin for a, b in self.pieces),
                f"data at {offset}+{length} twice")
        if self.data is None:
            self.data = bytearray(self.length)
        self.pieces.append((begin, begin + length))
        self.chunks += 1
        require(not self.flags & DF or self.chunks == 1, "two pieces in spite of DF")
        return begin

    def check_complete(self):
        if self.command == READ and not self.error:
            covered = sum(end - begin for begin, end in self.pieces)
            require(covered == self.length, f"{covered} bytes for a read of {self.length}")


class Client:
    """A connection. STYLE is simple, structured or extended."""

    def __init__(self, target, greet=True, flags=FIXED_NEWSTYLE | NO_ZEROES, tls=None):
        self.target = target
        self.limit = 20
        self.sock = socket.create_connection(target.address, timeout=self.limit)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.style = "simple"
        self.contexts = {}  # by id
        self.under_way = {}
        self.export = None
        self.next_cookie = 0x1122334455667788
        if greet:
            self.greet(flags)
            if target.tls if tls is None else tls:
                self.start_tls()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    # Bytes.

    def send(self, data):
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError) as error:
            raise Closed(str(error)) from error

    def receive_into(self, view):
        done = 0
        while done < len(view):
            try:
                got = self.sock.recv_into(view[done:])
            except socket.timeout as error:
                raise Violation(f"nothing for {self.limit} s after {done} of {len(view)} "
                                "bytes") from error
            except (ConnectionResetError, ssl.SSLError) as error:
                raise Closed(str(error)) from error
            if got == 0:
                require(done == 0, f"the end after {done} of {len(view)} bytes")
                raise Closed("end of stream")
            done += got

    def receive(self, length):
        data = bytearray(length)
        self.receive_into(memoryview(data))
        return bytes(data)

    def unpack(self, layout):
        return struct.unpack(layout, self.receive(struct.calcsize(layout)))

    def expect_end(self, within=None):
        """The server closes the connection, and says nothing before."""
        start = time.monotonic()
        try:
            extra = self.receive(1)
        except Closed:
            require(within is None or time.monotonic() - start < within, "the end came late")
            return
        raise Violation(f"{extra!r} where the connection should end")

    def expect_silence(self, seconds=0.2):
        self.sock.settimeout(seconds)
        try:
            extra = self.sock.recv(1)
        except socket.timeout:
            return
        finally:
            self.sock.settimeout(self.limit)
        raise Violation("the connection ended" if not extra else f"{extra!r} where nothing is due")

    def vanish(self, reset=False):
        if reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    # The negotiation.

    def greet(self, flags=FIXED_NEWSTYLE | NO_ZEROES):
        require(self.receive(16) == GREETING, "the greeting is not that of newstyle NBD")
        (self.server_flags,) = self.unpack(">H")
        self.send(struct.pack(">I", flags))

    def start_tls(self):
        self.ask(STARTTLS, expect=ACK)
        self.sock = self.target.tls_context().wrap_socket(self.sock)

    def reply(self, number):
        magic, echoed, kind, length = self.unpack(">QIII")
        require(magic == OPTION_REPLY_MAGIC, f"option reply with magic {magic:#x}")
        require(echoed == number, f"reply to option {echoed} instead of {number}")
        require(kind in (ACK, SERVER, INFORMATION, META) or UNSUP <= kind <= EXT_REQD,
                f"reply of the unknown type {kind:#x}")
        require(length <= 3 * MAX_STRING, f"reply of {length} bytes")
        data = self.receive(length)
        if kind >= ERR:
            text = check_text(data, "the error's text")
            require(text.isprintable(), f"unprintable error text {text!r}")
        if kind == ACK:
            require(not data, "ACK with data")
        return kind, data

    def ask(self, number, data=b"", expect=None):
        """Sends an option; the type of the last reply, and the data of those before it."""
        self.send(option(number, data))
        return self.answer(number, expect)

    def answer(self, number, expect=None):
        before = []
        while True:
            kind, data = self.reply(number)
            if kind == ACK or kind >= ERR:
                require(expect in (None, kind),
                        f"option {number} got {kind:#x} ({data!r}) instead of {expect}")
                return kind, before
            wanted = {LIST: SERVER, INFO: INFORMATION, GO: INFORMATION, LIST_META: META,
                      SET_META: META}
            require(wanted.get(number) == kind, f"reply {kind} to option {number}")
            before.append(data)

    def refused(self, number, data=b"", codes=None):
        """Sends an option that has to fail, at once; the code."""
        kind, before = self.ask(number, data)
        require(kind >= ERR, f"option {number} succeeded")
        require(codes is None or kind in codes, f"option {number} got {kind:#x}")
        require(not before or kind == BLOCK_SIZE_REQD, "replies before an error")
        return kind

    def negotiate(self, style):
        if style != "simple":
            self.ask(STRUCTURED if style == "structured" else EXTENDED, expect=ACK)
        self.style = style

    def set_meta(self, name, *queries):
        self.contexts = {}
        _, replies = self.ask(SET_META, meta_data(name, *queries), expect=ACK)
        for data in replies:
            number, text = struct.unpack(">I", data[:4])[0], check_text(data[4:], "the context")
            require(number not in self.contexts, f"context id {number} twice")
            require(text in queries, f"context {text}, which was not asked for")
            self.contexts[number] = text
        return self.contexts

    def info(self, name, *infos, number=INFO):
        _, replies = self.ask(number, info_data(name, *infos), expect=ACK)
        export = Export()
        for data in replies:
            export.take(data)
        require(export.size is not None, "no INFO_EXPORT")
        return export

    def go(self, name, *infos):
        self.export = self.info(name, *(infos or (INFO_BLOCK_SIZE,)), number=GO)
        return self.export

    def open(self, name, style="simple", contexts=()):
        self.negotiate(style)
        if contexts and style != "simple":
            self.set_meta(name, *contexts)
            require(len(self.contexts) == len(contexts), f"of {contexts} only {self.contexts}")
        self.go(name)
        return self

    # Requests.

    def header(self, command, flags, offset, length, cookie, magic=None):
        if self.style == "extended":
            return struct.pack(">IHHQQQ", magic or EXTENDED_REQUEST_MAGIC, flags, command, cookie,
                               offset, length)
        return struct.pack(">IHHQQI", magic or REQUEST_MAGIC, flags, command, cookie, offset,
                           length)

    def enter(self, command, offset, length, payload=None, flags=0, cookie=None):
        """Notes a request, and gives its bytes."""
        if cookie is None:
            cookie = self.next_cookie
            self.next_cookie = (self.next_cookie * 5 + 1) & (2**64 - 1)
        if payload is not None and self.style == "extended":
            flags |= PAYLOAD_LEN
        self.under_way[cookie] = Request(command, flags, offset, length)
        size = length if payload is None else len(payload)
        return cookie, self.header(command, flags, offset, size, cookie) + (payload or b"")

    def start(self, command, offset=0, length=0, payload=None, flags=0, cookie=None):
        cookie, data = self.enter(command, offset, length, payload, flags, cookie)
        self.send(data)
        return cookie

    def finish(self, cookie=None):
        """The next request that is answered completely; COOKIE's when given."""
        while True:
            request = self.take_reply()
            if request is not None and (cookie is None or request is cookie):
                return request

    def call(self, command, offset=0, length=0, payload=None, flags=0, error=None):
        cookie = self.start(command, offset, length, payload, flags)
        request = self.finish(self.under_way[cookie])
        wanted = error if isinstance(error, tuple) else (error,)
        require(error is None or request.error in wanted,
                f"command {command} flags {flags:#x} at {offset}+{length}: error {request.error} "
                f"({request.message}) instead of {error}")
        return request

    def read(self, offset, length, flags=0):
        return bytes(self.call(READ, offset, length, flags=flags, error=0).data)

    def write(self, offset, data, flags=0, error=0):
        return self.call(WRITE, offset, len(data), payload=data, flags=flags, error=error)

    def status(self, offset, length, flags=0):
        """Extents by the name of the context."""
        request = self.call(STATUS, offset, length, flags=flags, error=0)
        return {self.contexts[number]: extents for number, extents in request.extents.items()}

    def find(self, cookie):
        require(cookie in self.under_way, f"reply to the unknown cookie {cookie:#x}")
        return self.under_way[cookie]

    def end(self, cookie):
        request = self.under_way.pop(cookie)
        request.done = True
        request.check_complete()
        return request

    def take_reply(self):
        """One simple reply or one chunk; the request when it is complete."""
        (magic,) = self.unpack(">I")
        if magic == SIMPLE_MAGIC:
            return self.take_simple()
        if self.style == "structured":
            require(magic == CHUNK_MAGIC, f"a reply begins with {magic:#x}")
            flags, kind, cookie, length = self.unpack(">HHQI")
            return self.take_chunk(flags, kind, cookie, length)
        require(self.style == "extended" and magic == EXTENDED_CHUNK_MAGIC,
                f"a reply begins with {magic:#x}")
        flags, kind, cookie, offset, length = self.unpack(">HHQQQ")
        require(self.find(cookie).offset == offset, f"the offset comes back as {offset}")
        return self.take_chunk(flags, kind, cookie, length)

    def take_simple(self):
        require(self.style != "extended", "a simple reply in spite of extended headers")
        error, cookie = self.unpack(">IQ")
        request = self.find(cookie)
        require(self.style == "simple" or request.command not in (READ, STATUS),
                f"a simple reply to command {request.command}")
        require(error == 0 or error in ERRORS, f"the unknown error {error}")
        request.error = error
        if request.command == READ and not error:
            require(request.length <= MAX_PAYLOAD, "data for a read that is too long")
            if request.length:
                request.cover(request.offset, request.length)
                self.receive_into(memoryview(request.data))
        return self.end(cookie)

    def take_chunk(self, flags, kind, cookie, length):
        require(flags & ~1 == 0, f"unknown chunk flags {flags:#x}")
        request = self.find(cookie)
        if kind == NONE:
            require(length == 0 and flags & 1, "NONE with data, or not as the last")
        elif kind == OFFSET_DATA:
            self.take_data(request, length)
        elif kind == OFFSET_HOLE:
            self.take_hole(request, length)
        elif kind in (BLOCK_STATUS, BLOCK_STATUS_EXT):
            require((kind == BLOCK_STATUS_EXT) == (self.style == "extended"),
                    f"block status of type {kind} with {self.style} replies")
            self.take_status(request, length)
        elif kind in (ERROR, ERROR_OFFSET):
            self.take_error(request, kind, length)
        else:
            raise Violation(f"chunk of the unknown type {kind:#x}")
        if not flags & 1:
            return None
        if request.command == STATUS and not request.error:
            require(request.extents, "block status without any")
        return self.end(cookie)

    def take_data(self, request, length):
        require(request.command == READ and length > 8, f"OFFSET_DATA of {length} bytes")
        (offset,) = self.unpack(">Q")
        begin = request.cover(offset, length - 8)
        self.receive_into(memoryview(request.data)[begin:begin + length - 8])

    def take_hole(self, request, length):
        require(request.command == READ and length == 12, f"OFFSET_HOLE of {length} bytes")
        offset, size = self.unpack(">QI")
        begin = request.cover(offset, size)
        request.data[begin:begin + size] = bytes(size)
        request.holes += 1

    def take_error(self, request, kind, length):
        tail = 8 if kind == ERROR_OFFSET else 0
        require(6 + tail <= length <= 6 + tail + MAX_STRING, f"error chunk of {length} bytes")
        error, size = self.unpack(">IH")
        require(size == length - 6 - tail, f"error chunk of {length} bytes with {size} of text")
        require(error in ERRORS, f"the unknown error {error}")
        request.message = check_text(self.receive(size), "the error's text")
        require(request.message.isprintable(), f"unprintable text {request.message!r}")
        if tail:
            (offset,) = self.unpack(">Q")
            require(request.offset <= offset < request.offset + request.length,
                    f"error at {offset}, outside of the request")
        request.error = request.error or error

    def take_status(self, request, length):
        wide = self.style == "extended"
        fixed, layout = (8, ">QQ") if wide else (4, ">II")
        each = struct.calcsize(layout)
        require(request.command == STATUS and length >= fixed + each
                and (length - fixed) % each == 0, f"block status of {length} bytes")
        count = (length - fixed) // each
        require(count <= 1 << 20, f"{count} extents")
        if wide:
            number, said = self.unpack(">II")
            require(said == count, f"{said} extents announced, {count} sent")
        else:
            (number,) = self.unpack(">I")
        require(number in self.contexts, f"context {number} was not selected")
        require(number not in request.extents, f"context {number} twice")
        extents = list(struct.iter_unpack(layout, self.receive(count * each)))
        self.check_extents(request, extents, self.contexts[number])
        request.extents[number] = extents

    def check_extents(self, request, extents, context):
        require(all(length for length, _ in extents), "an empty extent")
        require(all(length % self.export.minimum == 0 for length, _ in extents),
                "an extent that is no multiple of the minimum block")
        if request.flags & REQ_ONE:
            require(len(extents) == 1 and extents[0][0] <= request.length,
                    f"{extents} for one extent of {request.length}")
        require(sum(length for length, _ in extents[:-1]) < request.length,
                "an extent beyond the request")
        allowed = (0, 1, 2, 3) if context == ALLOCATION else (0, 1, 2)
        require(all(flags in allowed for _, flags in extents), f"flags in {extents[:8]}")

    def disconnect(self):
        """A client's orderly end: nothing is due any more, and nothing more comes."""
        require(not self.under_way, f"{len(self.under_way)} requests were not answered")
        self.send(self.header(DISC, 0, 0, 0, 7))
        self.expect_end(within=10)
        self.sock.close()
