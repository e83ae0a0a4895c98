// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/upstream_link.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "nbd-server/disk/relay_parts.h"
#include "nbd-server/disk/tcp_options.h"

namespace signpost {

namespace {

using std::chrono::milliseconds;
using Outcome = wire::ClientHandshake::Outcome;

// A head grows until it is worth a segment of its own; longer ones would be moved too often.
constexpr std::size_t kGatherBytes = 16 * 1024;
constexpr std::size_t kMaxParts = 64;
// Reads per wake-up, so that one busy server does not starve the rest of the loop.
constexpr int kReadsPerWake = 8;

// A dead machine sends no FIN: keepalive finds it when the link is idle, TCP_USER_TIMEOUT when
// there is unacknowledged data (R22).
constexpr TcpPatience kPeers{
    .idle_s = 10, .interval_s = 5, .probes = 3, .unacknowledged_ms = 15'000};

std::string errno_text(int error) {
    return std::strerror(error);
}

}  // namespace

UpstreamLink::UpstreamLink(EventLoop& loop, Owner& owner, Setting setting)
    : loop_(loop), owner_(owner), setting_(setting) {}

UpstreamLink::~UpstreamLink() {
    disconnect();
}

void UpstreamLink::dial(std::vector<DialTarget> targets) {
    targets_ = std::move(targets);
    target_ = 0;
    phase_ = Phase::connecting;
    // From a timer, so that a connect that fails at once does not call the owner from here.
    timer_ = loop_.call_at(loop_.now(), [this] { connect_next("no address", LinkError::refused); });
}

// Dials targets_[target_], or the first after it that takes a connection attempt.
void UpstreamLink::connect_next(const std::string& last_reason, LinkError last_error) {
    std::string reason = last_reason;
    for (; target_ < targets_.size(); ++target_) {
        const DialTarget& target = targets_[target_];
        phase_ = Phase::connecting;
        if (connect_to(target)) {
            const auto shares = std::min<std::size_t>(targets_.size(), 3);
            arm(setting_.limits.connect / static_cast<int>(shares), "connect");
            return;
        }
        reason = fmt::format("{}: {}", target.uri.endpoint(), errno_text(errno));
        last_error = LinkError::unreachable;
    }
    target_ = targets_.size() - 1;
    fail(last_error, reason);
}

bool UpstreamLink::connect_to(const DialTarget& target) {
    const int family = target.address.family();
    UniqueFd fd(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd) {
        return false;
    }
    if (family != AF_UNIX) {
        tune_tcp(fd.get(), kPeers);
    }
    const auto* address = reinterpret_cast<const sockaddr*>(&target.address.storage);
    if (::connect(fd.get(), address, target.address.length) != 0 && errno != EINPROGRESS) {
        return false;
    }
    wanted_ = EPOLLOUT;
    if (!loop_.watch(fd.get(), wanted_, *this)) {
        return false;
    }
    socket_ = std::move(fd);
    return true;
}

void UpstreamLink::arm(milliseconds limit, const char* what) {
    loop_.cancel(timer_);
    timer_ = loop_.call_at(EventLoop::Clock::now() + limit, [this, limit, what] {
        timer_.id = 0;
        dial_failed(LinkError::unreachable, fmt::format("no {} within {} ms", what, limit.count()));
    });
}

// Before the link is ready the server's other addresses are tried.
void UpstreamLink::dial_failed(LinkError error, const std::string& reason) {
    const std::string text = fmt::format("{}: {}", uri().endpoint(), reason);
    disconnect();
    if (target_ + 1 < targets_.size()) {
        ++target_;
        connect_next(text, error);
        return;
    }
    fail(error, text);
}

void UpstreamLink::fail(LinkError error, const std::string& reason) {
    disconnect();
    phase_ = Phase::closed;
    owner_.link_failed(*this, error, reason);
}

void UpstreamLink::disconnect() {
    loop_.cancel(timer_);
    loop_.cancel(static_cast<EventLoop::Posted&>(*this));
    tls_.reset();
    handshake_.reset();
    if (socket_) {
        loop_.unwatch(socket_.get());
        socket_.reset();
    }
    outgoing_.clear();
    sent_ = 0;
}

void UpstreamLink::close() {
    if (phase_ == Phase::ready) {
        std::string bytes;
        wire::append_request(bytes, wire::Command::disconnect, 0, 0, 0, 0);
        if (outgoing_.empty()) {
            const iovec part{bytes.data(), bytes.size()};
            send_some({&part, 1});
        }
    }
    disconnect();
    phase_ = Phase::closed;
}

void UpstreamLink::want(std::uint32_t events) {
    if (events != wanted_) {
        wanted_ = events;
        loop_.rewatch(socket_.get(), events, *this);
    }
}

void UpstreamLink::on_ready(std::uint32_t events) {
    switch (phase_) {
        case Phase::connecting:
            connected();
            return;
        case Phase::tls:
            drive_tls();
            return;
        case Phase::handshake:
            if ((events & EPOLLOUT) != 0) {
                flush();
            }
            if (phase_ == Phase::handshake && (events & ~EPOLLOUT) != 0) {
                read_handshake();
            }
            return;
        case Phase::ready:
            if ((events & EPOLLOUT) != 0) {
                flush();
            }
            if (phase_ == Phase::ready && (events & ~EPOLLOUT) != 0) {
                read_replies();
            }
            return;
        case Phase::idle:
        case Phase::closed:
            return;
    }
}

void UpstreamLink::connected() {
    int error = 0;
    socklen_t length = sizeof error;
    ::getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &error, &length);
    if (error != 0) {
        dial_failed(LinkError::unreachable, errno_text(error));
        return;
    }
    const NbdUri& peer = uri();
    wire::ClientHandshake::Wish wish;
    wish.export_name = peer.export_name;
    wish.tls = peer.tls ? wire::TlsMode::require : setting_.tls;
    if (wish.tls != wire::TlsMode::off && setting_.credentials == nullptr) {
        dial_failed(LinkError::refused, "the server wants TLS; give tls-certificates or tls-psk");
        return;
    }
    if (setting_.ticket) {
        auto ticket = setting_.ticket();
        if (!ticket) {
            dial_failed(LinkError::refused, ticket.error().message);
            return;
        }
        wish.ticket = std::move(*ticket);
        wish.ticket_required = true;
    }
    handshake_ = std::make_unique<wire::ClientHandshake>(std::move(wish));
    phase_ = Phase::handshake;
    arm(setting_.limits.handshake, "NBD handshake");
    want(EPOLLIN);
}

ssize_t UpstreamLink::receive_some(std::span<const iovec> parts) {
    ssize_t n = 0;
    do {
        n = tls_ ? tls_->receive(parts)
                 : ::readv(socket_.get(), parts.data(), static_cast<int>(parts.size()));
    } while (n < 0 && errno == EINTR);
    if (n > 0) {
        bytes_received_ += static_cast<std::uint64_t>(n);
    }
    return n;
}

ssize_t UpstreamLink::send_some(std::span<const iovec> parts) {
    if (tls_) {
        return tls_->send(parts);
    }
    msghdr message{};
    message.msg_iov = const_cast<iovec*>(parts.data());
    message.msg_iovlen = parts.size();
    ssize_t n = 0;
    do {
        n = ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n;
}

void UpstreamLink::read_handshake() {
    std::array<std::byte, 4096> buffer;
    const iovec part{buffer.data(), buffer.size()};
    while (phase_ == Phase::handshake) {
        const ssize_t n = receive_some({&part, 1});
        if (n < 0 && errno == EAGAIN) {
            return;
        }
        if (n <= 0) {
            dial_failed(LinkError::unreachable,
                        n == 0 ? "closed the connection in the handshake" : errno_text(errno));
            return;
        }
        const auto length = static_cast<std::size_t>(n);
        std::size_t consumed = 0;
        const Outcome outcome = handshake_->feed(std::span(buffer).first(length), consumed);
        follow(outcome, length - consumed);
    }
}

void UpstreamLink::follow(Outcome outcome, std::size_t left_over) {
    if (std::string bytes = handshake_->take_output(); !bytes.empty()) {
        outgoing_.push_back({std::move(bytes), nullptr});
        flush();
        if (phase_ != Phase::handshake) {
            return;
        }
    }
    switch (outcome) {
        case Outcome::pending:
            return;
        case Outcome::start_tls: {
            // STARTTLS has been answered, so it has left: nothing waits in outgoing_.
            auto client = start_tls_client(*setting_.credentials, socket_.get(), uri().host);
            if (!client) {
                dial_failed(LinkError::refused, client.error().message);
                return;
            }
            tls_ = std::move(*client);
            phase_ = Phase::tls;
            drive_tls();
            return;
        }
        case Outcome::ready:
            if (left_over > 0) {
                dial_failed(LinkError::protocol, "sent bytes behind the handshake");
                return;
            }
            become_ready();
            return;
        case Outcome::unknown:
            dial_failed(LinkError::unknown_export, handshake_->reason());
            return;
        case Outcome::refused:
            dial_failed(LinkError::refused, handshake_->reason());
            return;
        case Outcome::broken:
            dial_failed(LinkError::protocol, handshake_->reason());
            return;
    }
}

void UpstreamLink::drive_tls() {
    switch (tls_->handshake()) {
        case TlsClient::Step::want_read:
            want(EPOLLIN);
            return;
        case TlsClient::Step::want_write:
            want(EPOLLOUT);
            return;
        case TlsClient::Step::failed:
            dial_failed(LinkError::refused, "TLS: " + tls_->reason());
            return;
        case TlsClient::Step::done:
            phase_ = Phase::handshake;
            want(EPOLLIN);
            handshake_->tls_started();
            follow(handshake_->outcome(), 0);
            if (phase_ == Phase::handshake && tls_->has_buffered()) {
                read_handshake();
            }
            return;
    }
}

void UpstreamLink::become_ready() {
    loop_.cancel(timer_);
    info_ = handshake_->info();
    handshake_.reset();
    reader_ = std::make_unique<wire::ReplyReader>(
        wire::ReplyReader::Contract{.structured_replies = info_.structured_replies,
                                    .has_allocation_context = info_.allocation_context.has_value(),
                                    .allocation_context = info_.allocation_context.value_or(0)});
    phase_ = Phase::ready;
    owner_.link_ready(*this);
}

void UpstreamLink::send(const wire::Pending& pending, std::uint16_t flags, std::uint64_t cookie,
                        Payload payload) {
    reader_->expect(cookie, pending);
    if (outgoing_.empty() || outgoing_.back().payload ||
        outgoing_.back().head.size() >= kGatherBytes) {
        outgoing_.emplace_back().head = std::move(spare_head_);
        spare_head_.clear();
    }
    Chunk& chunk = outgoing_.back();
    wire::append_request(chunk.head, pending.command, flags, cookie, pending.offset,
                         pending.length);
    chunk.payload = std::move(payload);
}

void UpstreamLink::flush() {
    while (!outgoing_.empty()) {
        std::array<iovec, kMaxParts> parts;
        std::size_t count = 0;
        std::size_t skip = sent_;
        const auto add = [&](const void* data, std::size_t size) {
            const std::size_t skipped = std::min(skip, size);
            skip -= skipped;
            if (size > skipped && count < kMaxParts) {
                parts[count++] = {const_cast<char*>(static_cast<const char*>(data)) + skipped,
                                  size - skipped};
            }
        };
        for (const Chunk& chunk : outgoing_) {
            if (count == kMaxParts) {
                break;
            }
            add(chunk.head.data(), chunk.head.size());
            if (chunk.payload) {
                add(chunk.payload->data(), chunk.payload->size());
            }
        }
        const ssize_t n = send_some(std::span(parts).first(count));
        if (n < 0 && errno == EAGAIN) {
            want(EPOLLIN | EPOLLOUT);
            return;
        }
        if (n < 0 && phase_ == Phase::ready) {
            // What the server sent before it went is still worth reading: the read side reports
            // the end, and the owner is not called from inside its own flush().
            outgoing_.clear();
            sent_ = 0;
            ::shutdown(socket_.get(), SHUT_RDWR);
            break;
        }
        if (n < 0) {
            dial_failed(LinkError::unreachable, errno_text(errno));
            return;
        }
        consume_sent(static_cast<std::size_t>(n));
    }
    want(EPOLLIN);
}

void UpstreamLink::consume_sent(std::size_t n) {
    sent_ += n;
    while (!outgoing_.empty() && sent_ >= outgoing_.front().size()) {
        sent_ -= outgoing_.front().size();
        spare_head_ = std::move(outgoing_.front().head);
        spare_head_.clear();
        outgoing_.pop_front();
    }
}

void UpstreamLink::read_replies() {
    bool more = true;
    for (int i = 0; i < kReadsPerWake && more; ++i) {
        more = reader_->apart().landing != nullptr ? move_payload(i == 0) : receive_replies();
    }
    if (phase_ == Phase::ready && tls_ && tls_->has_buffered()) {
        loop_.post(*this);  // epoll does not see what TLS holds
    }
}

void UpstreamLink::run_posted() {
    if (phase_ == Phase::ready) {
        read_replies();
    }
}

// False: nothing more to be had now, or the link is closed.
bool UpstreamLink::receive_replies() {
    const wire::ReplyReader::Targets targets = reader_->targets();
    const std::array<iovec, 2> parts{iovec{targets.first.data(), targets.first.size()},
                                     iovec{targets.second.data(), targets.second.size()}};
    const std::size_t room = targets.first.size() + targets.second.size();
    const ssize_t n = receive_some(std::span(parts).first(targets.second.empty() ? 1 : 2));
    if (n <= 0) {
        lost(n);
        return false;
    }
    reader_->received(static_cast<std::size_t>(n), finished_);
    const bool all = static_cast<std::size_t>(n) == room;
    return settle() && (all || (tls_ && tls_->has_buffered()));
}

// As receive_replies(). FIRST: nothing has been read since the socket was found readable.
bool UpstreamLink::move_payload(bool first) {
    const auto [landing, left] = reader_->apart();
    auto& parts = static_cast<RelayParts&>(*landing);
    const ssize_t n = parts.move_from(socket_.get(), left);
    if (n > 0) {
        bytes_received_ += static_cast<std::uint64_t>(n);
        reader_->moved(static_cast<std::size_t>(n), finished_);
        return settle() && static_cast<std::size_t>(n) == left;
    }
    const bool refused = n < 0 && (errno == EINVAL || (errno == EAGAIN && first && has_input()));
    if (!refused) {
        lost(n);
        return false;
    }
    // The pipe is full, or this socket cannot be spliced from.
    reader_->land(parts.land_rest(left));
    return true;
}

bool UpstreamLink::has_input() const {
    int waiting = 0;
    return ::ioctl(socket_.get(), FIONREAD, &waiting) == 0 && waiting > 0;
}

// Hands over what is complete. False: the link is closed.
bool UpstreamLink::settle() {
    if (!finished_.empty()) {
        owner_.link_finished(*this, finished_);
        finished_.clear();
    }
    if (phase_ == Phase::ready && reader_->broken()) {
        fail(LinkError::protocol, fmt::format("{}: {}", uri().endpoint(), reader_->reason()));
    }
    return phase_ == Phase::ready;
}

// What a read of the socket that brought nothing means.
void UpstreamLink::lost(ssize_t result) {
    if (result < 0 && errno == EAGAIN) {
        return;
    }
    fail(LinkError::lost, fmt::format("{}: {}", uri().endpoint(),
                                      result == 0 ? "closed the connection" : errno_text(errno)));
}

void UpstreamLink::abandon(std::uint64_t cookie) {
    if (reader_) {
        reader_->abandon(cookie);
    }
}

}  // namespace signpost
