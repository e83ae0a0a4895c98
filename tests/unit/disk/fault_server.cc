// SPDX-License-Identifier: BSD-3-Clause

#include "tests/unit/disk/fault_server.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <chrono>
#include <cstring>

#include "nbd-server/wire/protocol.h"

namespace signpost::test {

using namespace wire;  // NOLINT: the whole file is about the wire

namespace {

bool read_all(int fd, void* to, std::size_t size) {
    auto* at = static_cast<char*>(to);
    while (size > 0) {
        const ssize_t n = ::recv(fd, at, size, 0);
        if (n <= 0) {
            return false;
        }
        at += n;
        size -= static_cast<std::size_t>(n);
    }
    return true;
}

bool write_all(int fd, const void* from, std::size_t size) {
    const auto* at = static_cast<const char*>(from);
    while (size > 0) {
        const ssize_t n = ::send(fd, at, size, MSG_NOSIGNAL);
        if (n <= 0) {
            return false;
        }
        at += n;
        size -= static_cast<std::size_t>(n);
    }
    return true;
}

bool write_all(int fd, const std::string& text) {
    return write_all(fd, text.data(), text.size());
}

template <class Number>
void put(std::string& out, Number value) {
    append(out, BigEndian<Number>(value));
}

template <class Number>
Number get(const std::string& from, std::size_t at) {
    BigEndian<Number> value;
    std::memcpy(&value, from.data() + at, sizeof value);
    return value;
}

std::string option_reply(std::uint32_t option, OptionReply type, const std::string& data = "") {
    std::string out;
    put(out, kOptionReplyMagic);
    put(out, option);
    put(out, static_cast<std::uint32_t>(type));
    put(out, static_cast<std::uint32_t>(data.size()));
    return out + data;
}

}  // namespace

Bytes pattern(std::size_t size, unsigned seed) {
    Bytes bytes(size);
    std::uint32_t state = seed * 2654435761U + 1;
    for (std::size_t i = 0; i < size; ++i) {
        state = state * 1664525U + 1013904223U;
        bytes[i] = (i / 65536) % 4 == 3 ? std::byte{0} : static_cast<std::byte>(state >> 24);
    }
    return bytes;
}

FaultServer::FaultServer(Bytes content) : FaultServer(std::move(content), Manners{}) {}

FaultServer::FaultServer(Bytes content, Manners manners)
    : content_(std::move(content)), durable_(content_), manners_(std::move(manners)) {
    start();
}

FaultServer::~FaultServer() {
    kill();
}

NbdUri FaultServer::uri() const {
    NbdUri uri;
    uri.host = "127.0.0.1";
    uri.port = port_;
    uri.export_name = "disk";
    return uri;
}

Bytes FaultServer::content() const {
    const std::lock_guard lock(mutex_);
    return content_;
}

void FaultServer::set_manners(Manners manners) {
    const std::lock_guard lock(mutex_);
    manners_ = std::move(manners);
}

void FaultServer::start() {
    const std::lock_guard lock(mutex_);
    dead_ = false;
    listener_.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int on = 1;
    ::setsockopt(listener_.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port_);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    if (::bind(listener_.get(), generic, length) != 0 || ::listen(listener_.get(), 128) != 0) {
        std::terminate();
    }
    ::getsockname(listener_.get(), generic, &length);
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this] { accept_loop(); });
}

void FaultServer::cut() {
    const std::lock_guard lock(mutex_);
    for (Connection& connection : open_) {
        ::shutdown(connection.fd.get(), SHUT_RDWR);
    }
}

void FaultServer::kill() {
    {
        const std::lock_guard lock(mutex_);
        dead_ = true;
        content_ = durable_;
        if (listener_) {
            ::shutdown(listener_.get(), SHUT_RDWR);
        }
    }
    changed_.notify_all();
    cut();
    if (acceptor_.joinable()) {
        acceptor_.join();
    }
    listener_.reset();
    for (Connection& connection : open_) {
        connection.thread.join();
    }
    open_.clear();
}

void FaultServer::freeze() {
    const std::lock_guard lock(mutex_);
    frozen_ = true;
}

void FaultServer::thaw() {
    {
        const std::lock_guard lock(mutex_);
        frozen_ = false;
    }
    changed_.notify_all();
}

std::vector<std::string> FaultServer::exports_asked() const {
    const std::lock_guard lock(mutex_);
    return asked_;
}

bool FaultServer::wait_for_requests(int n) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(10), [&] { return requests_ >= n; });
}

// False when the server has died meanwhile.
bool FaultServer::pass_freeze() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !frozen_ || dead_; });
    return !dead_;
}

void FaultServer::accept_loop() {
    while (true) {
        UniqueFd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        const std::lock_guard lock(mutex_);
        if (dead_) {
            return;
        }
        if (!fd) {
            continue;
        }
        const int on = 1;
        ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        ++connections_;
        Connection& connection = open_.emplace_back();
        connection.fd = std::move(fd);
        connection.thread = std::thread([this, &connection] {
            serve(connection.fd.get());
            ::shutdown(connection.fd.get(), SHUT_RDWR);
        });
    }
}

void FaultServer::serve(int fd) {
    if (pass_freeze() && negotiate(fd)) {
        while (transmit(fd)) {
        }
    }
}

bool FaultServer::negotiate(int fd) {
    std::string hello;
    put(hello, kServerMagic);
    put(hello, kOptionMagic);
    put(hello, static_cast<std::uint16_t>(kServerFixedNewstyle | kServerNoZeroes));
    std::uint32_t client_flags = 0;
    if (!write_all(fd, hello) || !read_all(fd, &client_flags, sizeof client_flags)) {
        return false;
    }
    bool done = false;
    while (!done) {
        OptionHeader header;
        if (!read_all(fd, &header, sizeof header) || header.magic != kOptionMagic) {
            return false;
        }
        std::string data(header.length, '\0');
        if (!read_all(fd, data.data(), data.size()) || !pass_freeze() ||
            !option(fd, header.option, data, done)) {
            return false;
        }
    }
    return true;
}

bool FaultServer::option(int fd, std::uint32_t option, const std::string& data, bool& done) {
    std::unique_lock lock(mutex_);
    const Manners manners = manners_;
    lock.unlock();
    switch (static_cast<Option>(option)) {
        case Option::structured_reply:
            return write_all(fd, option_reply(option, manners.structured ? OptionReply::ack
                                                                         : OptionReply::err_unsup));
        case Option::set_meta_context: {
            std::string context;
            put(context, std::uint32_t{7});
            context += kBaseAllocation;
            const std::string first = manners.allocation_context
                                          ? option_reply(option, OptionReply::meta_context, context)
                                          : "";
            return write_all(fd, first + option_reply(option, OptionReply::ack));
        }
        case Option::go:
            return go(fd, option, data, done);
        default:
            return write_all(fd, option_reply(option, OptionReply::err_unsup));
    }
}

std::uint16_t FaultServer::flags() const {
    const auto when = [](bool has, std::uint16_t flag) { return has ? flag : std::uint16_t{0}; };
    return kFlagHasFlags | when(manners_.read_only, kFlagReadOnly) |
           when(manners_.multi_conn, kFlagCanMultiConn) | when(manners_.has_flush, kFlagSendFlush) |
           when(manners_.has_fua, kFlagSendFua) | when(manners_.has_zeroes, kFlagSendWriteZeroes) |
           when(manners_.has_trim, kFlagSendTrim);
}

bool FaultServer::go(int fd, std::uint32_t option, const std::string& data, bool& done) {
    std::string out;
    {
        const std::lock_guard lock(mutex_);
        asked_.push_back(data.substr(4, get<std::uint32_t>(data, 0)));
        if (manners_.unknown_export) {
            out = option_reply(option, OptionReply::err_unknown, "no such export here");
        } else {
            std::string info;
            put(info, std::uint16_t{0});
            put(info, manners_.claimed_size != 0 ? manners_.claimed_size
                                                 : std::uint64_t{content_.size()});
            put(info, flags());
            std::string blocks;
            put(blocks, std::uint16_t{3});
            put(blocks, manners_.minimum_block);
            put(blocks, std::max<std::uint32_t>(4096, manners_.minimum_block));
            put(blocks, manners_.maximum_payload);
            std::string description;
            put(description, std::uint16_t{2});
            description += manners_.description;
            out = option_reply(option, OptionReply::info, info) +
                  option_reply(option, OptionReply::info, blocks) +
                  (manners_.description.empty()
                       ? ""
                       : option_reply(option, OptionReply::info, description)) +
                  option_reply(option, OptionReply::ack);
            done = true;
        }
    }
    return write_all(fd, out);
}

bool FaultServer::transmit(int fd) {
    RequestHeader header;
    if (!read_all(fd, &header, sizeof header)) {
        return false;
    }
    {
        const std::lock_guard lock(mutex_);
        ++requests_;
        reads_ += header.command == static_cast<std::uint16_t>(Command::read) ? 1 : 0;
    }
    changed_.notify_all();
    return answer(fd, header.flags, header.command, header.cookie, header.offset, header.length);
}

bool FaultServer::answer(int fd, std::uint16_t flags, std::uint16_t command, std::uint64_t cookie,
                         std::uint64_t offset, std::uint32_t length) {
    Bytes payload;
    if (command == static_cast<std::uint16_t>(Command::write)) {
        payload.resize(length);
        if (!read_all(fd, payload.data(), payload.size())) {
            return false;
        }
    }
    if (command == static_cast<std::uint16_t>(Command::disconnect)) {
        ++farewells_;
        return false;
    }
    if (!pass_freeze()) {
        return false;
    }
    if (command == static_cast<std::uint16_t>(Command::read)) {
        const bool taken = reply_read(fd, cookie, offset, length);
        ++(taken ? answered_ : untaken_);
        return taken;
    }
    std::string out;
    if (command == static_cast<std::uint16_t>(Command::block_status)) {
        put(out, kChunkMagic);
        put(out, kChunkDone);
        put(out, static_cast<std::uint16_t>(Chunk::block_status));
        put(out, cookie);
        put(out, std::uint32_t{12});
        put(out, std::uint32_t{7});
        put(out, length);
        put(out, std::uint32_t{0});
        return write_all(fd, out);
    }
    put(out, kSimpleReplyMagic);
    put(out, apply(flags, command, offset, length, payload));
    put(out, cookie);
    return write_all(fd, out);
}

std::uint32_t FaultServer::apply(std::uint16_t flags, std::uint16_t command, std::uint64_t offset,
                                 std::uint32_t length, const Bytes& payload) {
    const std::lock_guard lock(mutex_);
    const auto at = content_.begin() + static_cast<std::ptrdiff_t>(offset);
    const auto asked = static_cast<Command>(command);
    if (manners_.write_error != 0 && asked != Command::flush && asked != Command::cache) {
        return manners_.write_error;
    }
    switch (asked) {
        case Command::write:
            std::copy(payload.begin(), payload.end(), at);
            break;
        case Command::trim:
        case Command::write_zeroes:
            std::fill(at, at + length, std::byte{0});
            break;
        case Command::flush:
            durable_ = content_;
            break;
        default:
            return 0;
    }
    if ((flags & kCommandFua) != 0) {
        const auto begin = static_cast<std::ptrdiff_t>(offset);
        std::copy(at, at + length, durable_.begin() + begin);
    }
    return 0;
}

bool FaultServer::reply_read(int fd, std::uint64_t cookie, std::uint64_t offset,
                             std::uint32_t length) {
    std::unique_lock lock(mutex_);
    const Bytes data(content_.begin() + static_cast<std::ptrdiff_t>(offset),
                     content_.begin() + static_cast<std::ptrdiff_t>(offset + length));
    const Manners manners = manners_;
    lock.unlock();
    if (manners.read_takes.count() > 0) {
        std::this_thread::sleep_for(manners.read_takes);
    }
    if (manners.reply != ReadReply::plain) {
        return write_all(fd, make_read_reply(manners.reply, cookie, offset, data)) &&
               manners.reply != ReadReply::dies;
    }
    std::string head;
    if (manners.structured) {
        put(head, kChunkMagic);
        put(head, kChunkDone);
        if (manners.read_error != 0) {
            put(head, static_cast<std::uint16_t>(Chunk::error));
            put(head, cookie);
            put(head, std::uint32_t{6});
            put(head, manners.read_error);
            put(head, std::uint16_t{0});
            return write_all(fd, head);
        }
        put(head, static_cast<std::uint16_t>(Chunk::offset_data));
        put(head, cookie);
        put(head, length + 8);
        put(head, offset);
    } else {
        put(head, kSimpleReplyMagic);
        put(head, manners.read_error);
        put(head, cookie);
    }
    if (!write_all(fd, head) || (manners.read_error != 0 && !manners.structured)) {
        return manners.read_error != 0;
    }
    if (manners.drip_bytes_per_tick == 0) {
        return write_all(fd, data.data(), data.size());
    }
    for (std::size_t sent = 0; sent < data.size();) {
        const auto piece = std::min<std::size_t>(
            static_cast<std::size_t>(manners.drip_bytes_per_tick), data.size() - sent);
        pollfd waits{.fd = fd, .events = 0, .revents = 0};
        if (!write_all(fd, data.data() + sent, piece) || ::poll(&waits, 1, 50) != 0) {
            return false;
        }
        sent += piece;
    }
    return true;
}

}  // namespace signpost::test
