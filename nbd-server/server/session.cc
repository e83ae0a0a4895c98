// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/server/session.h"

#include <fmt/format.h>
#include <linux/sockios.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "catalog/disk_name.h"

namespace signpost {

namespace {

constexpr std::chrono::seconds kStall{60};
constexpr std::chrono::milliseconds kLinger{500};
constexpr std::chrono::seconds kLeave{1};
constexpr std::size_t kMaxNegotiation = 128 * 1024;  // received and not consumed
constexpr int kDiscards = 16;                        // receives at a time

// Bytes that have left, but not reached the client's machine: there is no such place between the
// two ends of a Unix socket.
bool has_unacknowledged(int socket) {
    int domain = 0;
    socklen_t size = sizeof domain;
    ::getsockopt(socket, SOL_SOCKET, SO_DOMAIN, &domain, &size);
    int bytes = 0;
    return domain != AF_UNIX && ::ioctl(socket, SIOCOUTQ, &bytes) == 0 && bytes > 0;
}

}  // namespace

Session::Session(Service& service, UniqueFd socket, ClientIdentity client,
                 SessionsByAddress::Place place)
    : service_(service),
      number_(service.next_session()),
      stream_(std::move(socket)),
      client_(std::move(client)),
      out_(*this),
      place_(std::move(place)) {
    service_.sessions.fetch_add(1, std::memory_order_relaxed);
}

Session::~Session() {
    service_.sessions.fetch_sub(1, std::memory_order_relaxed);
}

void Session::begin(SessionLoop& home) {
    home_ = &home;
    const auto now = home_->loop().now();
    if (began_ == EventLoop::Time{}) {
        began_ = now;
        deadline_ = now + service_.limits().handshake_timeout;
    }
    last_moved_ = now;
    events_ = EPOLLIN;
    if (!home_->loop().watch(stream_.socket(), events_, *this)) {
        service_.log().error(fmt::format("session {}: {}", number_, std::strerror(errno)));
        close_now();
        return;
    }
    if (phase_ == Phase::handshake) {
        start_handshake();
    } else {
        go_on();
    }
    // It was on its way here when the others were told.
    if (service_.draining.load(std::memory_order_relaxed)) {
        drain();
    }
    settle();
}

void Session::on_ready(std::uint32_t events) {
    const auto self = shared_from_this();
    if (phase_ == Phase::tls) {
        drive_tls();
    }
    if ((events & EPOLLOUT) != 0) {
        flush();
        go_on();
    }
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) {
        receive();
    }
    // Nobody is there to take replies, and epoll would not cease to say so.
    if ((events & (EPOLLHUP | EPOLLERR)) != 0 && !reads()) {
        abort("the client has gone");
    }
    settle();
}

// Replies that have come in since the last turn of the loop leave together.
void Session::run_posted() {
    const auto self = shared_from_this();
    flush();
    go_on();
    settle();
}

// False: nothing came, or the stream has ended.
bool Session::receive_into(std::span<std::byte> buffer, std::size_t& got) {
    const iovec part{buffer.data(), buffer.size()};
    const ssize_t n = stream_.receive({&part, 1});
    if (n > 0) {
        got = static_cast<std::size_t>(n);
        return true;
    }
    if (n < 0 && errno == EAGAIN) {
        return false;
    }
    if (n < 0) {
        abort(fmt::format("the connection was lost: {}", std::strerror(errno)));
    } else {
        at_end_ = true;
        close_in_order("the client has left");
    }
    return false;
}

// Whether what the client sends is taken now.
bool Session::reads() const {
    switch (phase_) {
        case Phase::handshake:
            return negotiates();
        case Phase::transmission:
            return !at_end_ && may_take_more();
        case Phase::tls:
        case Phase::lingering:
            return true;
        default:
            return false;
    }
}

void Session::receive() {
    do {
        if (phase_ == Phase::handshake) {
            receive_options();
        } else if (phase_ == Phase::transmission) {
            receive_requests();
        } else if (phase_ == Phase::lingering) {
            discard_input();
        }
    } while ((phase_ == Phase::handshake || phase_ == Phase::transmission) && reads() &&
             stream_.has_buffered());
}

void Session::receive_options() {
    std::size_t got = 0;
    if (!negotiates() || !receive_into(home_->input().first(16 * 1024), got)) {
        return;
    }
    input_.append(reinterpret_cast<const char*>(home_->input().data()), got);
    if (input_.size() > kMaxNegotiation) {
        abort("the client sends more than it may in the negotiation");
        return;
    }
    negotiate();
}

// What waits goes first, so that the end of the stream is not seen before all that came with it.
void Session::receive_requests() {
    serve_waiting();
    if (phase_ != Phase::transmission || !starved_ || !reads()) {
        return;
    }
    std::size_t got = 0;
    if (filling_) {
        const std::size_t left = filling_->asked.payload_length - filling_->filled;
        if (receive_into({filling_->memory.get() + filling_->filled, left}, got)) {
            filling_->filled += static_cast<std::uint32_t>(got);
            payload_received_ += got;
            payload_complete();
        }
        return;
    }
    const auto room = home_->input();
    const std::size_t before = input_.size();
    std::memcpy(room.data(), input_.data(), before);
    if (receive_into(room.subspan(before), got)) {
        serve_input(room.first(before + got));
    }
}

void Session::serve_waiting() {
    if (phase_ == Phase::transmission && !starved_ && may_take_more() && !filling_) {
        const std::string waiting = std::exchange(input_, {});
        serve_input(std::as_bytes(std::span(waiting)));
    }
}

// Goes on with what has come and had to wait: here, or inside TLS.
void Session::go_on() {
    serve_waiting();
    if (phase_ != Phase::tls && reads() && stream_.has_buffered()) {
        receive();
    }
}

void Session::flush() {
    if (phase_ == Phase::closed || phase_ == Phase::tls) {
        return;
    }
    const auto sent = out_.empty() ? Outgoing::Sent::all : out_.send(stream_);
    if (sent == Outgoing::Sent::broken) {
        abort(phase_ == Phase::handshake
                  ? "the client has gone while it was answered"
                  : "the connection was lost while replies were sent, or the image has changed");
    } else if (sent == Outgoing::Sent::all && list_waits_) {
        list_waits_ = false;
        list_exports();
    } else if (sent == Outgoing::Sent::all && phase_ == Phase::transmission && reads() &&
               (!starved_ || stream_.has_buffered())) {
        flush_soon();
    }
}

// What the state has come to: a session that is done ends, another waits for what it needs.
void Session::settle() {
    const bool idle = operations_ == 0 && out_.empty();
    if (phase_ == Phase::transmission && leaving_ && idle && (starved_ || moving_)) {
        close_in_order("the server stops");
    }
    if (phase_ == Phase::closing && operations_ == 0 && out_.empty()) {
        linger();
    }
    if (phase_ != Phase::closed) {
        want_events();
        tell_meter();
    }
}

void Session::tell_meter() {
    if (meter_ != nullptr) {
        meter_->read.store(out_.sent(), std::memory_order_relaxed);
        meter_->written.store(bytes_written_, std::memory_order_relaxed);
    }
}

void Session::want_events() {
    std::uint32_t wanted = 0;
    if (phase_ == Phase::tls) {
        wanted = tls_waits_for_write_ ? EPOLLOUT : EPOLLIN;
    } else {
        wanted = (reads() ? EPOLLIN : 0u) | (out_.empty() ? 0u : EPOLLOUT);
    }
    if (wanted != events_) {
        events_ = wanted;
        home_->loop().rewatch(stream_.socket(), events_, *this);
    }
}

void Session::close_in_order(std::string reason) {
    if (phase_ == Phase::closed || phase_ == Phase::closing || phase_ == Phase::lingering) {
        return;
    }
    const bool in_tls_handshake = phase_ == Phase::tls;
    phase_ = Phase::closing;
    closing_reason_ = std::move(reason);
    list_waits_ = false;
    filling_.reset();
    if (!in_tls_handshake) {
        flush();
    }
}

// A socket that is closed while bytes of the client's wait in it resets the connection, and what is
// still on its way to the client is lost. So they are taken, and if need be waited for.
void Session::linger() {
    phase_ = Phase::lingering;
    const bool all_arrived = at_end_ || !has_unacknowledged(stream_.socket());
    stream_.finish();
    discard_input();
    if (phase_ == Phase::closed) {
        return;
    }
    if (all_arrived) {
        close_now();
        return;
    }
    deadline_ = home_->loop().now() + kLinger;
    home_->loop().call_at(deadline_, [weak = weak_from_this()] {
        if (const auto self = weak.lock()) {
            self->close_now();
        }
    });
}

void Session::discard_input() {
    for (int i = 0; i < kDiscards; ++i) {
        const auto room = home_->input();
        const ssize_t n = ::recv(stream_.socket(), room.data(), room.size(), MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
            close_now();
            return;
        }
        if (n < 0 && errno == EAGAIN) {
            return;
        }
    }
}

void Session::abort(const std::string& reason) {
    if (phase_ != Phase::closed) {
        closing_reason_ = reason;
        close_now();
    }
}

// Operations may still be under way; the session object stays until they have ended.
void Session::close_now() {
    if (std::exchange(phase_, Phase::closed) == Phase::closed) {
        return;
    }
    home_->loop().unwatch(stream_.socket());
    home_->loop().cancel(static_cast<EventLoop::Posted&>(*this));
    ::shutdown(stream_.socket(), SHUT_RDWR);
    service_.log().debug(fmt::format("session {} {}: {}", number_, client_.str(), closing_reason_));
    service_.audit({.op = "close",
                    .session = number_,
                    .client = &asker(),
                    .export_name = export_name_,
                    .bytes_read = out_.sent(),
                    .bytes_written = bytes_written_,
                    .duration = std::chrono::duration_cast<std::chrono::microseconds>(
                        home_->loop().now() - began_),
                    .reason = closing_reason_});
    if (const auto meter = std::exchange(meter_, nullptr)) {
        meter->read.store(out_.sent(), std::memory_order_relaxed);
        service_.live().end(*meter);
    }
    filling_.reset();
    out_.drop();
    forget();
}

// Lets go of a session that is closed, once nobody else needs it.
void Session::forget() {
    if (operations_ == 0 && !asking_) {
        home_->remove(*this);
    }
}

// What was asked is answered. A client that asks on and on is left without a word after a while:
// QEMU hands ESHUTDOWN to its guest as an I/O error, but asks again on a new connection for what
// this one has not answered.
void Session::drain() {
    if (phase_ == Phase::handshake) {
        list_waits_ = false;
        handshake_->shutting_down();
        out_.text(handshake_->take_output());
        receive();
    } else if (phase_ == Phase::transmission) {
        leaving_ = true;
        deadline_ = home_->loop().now() + kLeave;
        receive();
    }
    if (phase_ != Phase::transmission) {
        close_in_order("the server stops");
    }
    settle();
}

void Session::look_at_clock(EventLoop::Time now) {
    if (phase_ == Phase::closed) {
        return;
    }
    if (meter_ != nullptr && meter_->ended.load(std::memory_order_relaxed)) {
        abort("an operator has ended the session");
        return;
    }
    if ((phase_ == Phase::handshake || phase_ == Phase::tls) && !asking_ && now > deadline_) {
        abort("the negotiation took too long");
        return;
    }
    const std::uint64_t moved = out_.sent() + payload_received_;
    const bool owes = !out_.empty() || (filling_ && reads());
    if (!owes || moved != moved_then_) {
        moved_then_ = moved;
        last_moved_ = now;
    } else if (now - last_moved_ > kStall) {
        abort("the client neither takes its replies nor sends what it has announced");
    }
}

// The disk lives on another loop: so shall the session, because then no request of it has to change
// threads.
void Session::move_home() {
    moving_ = false;
    SessionLoop* const target = service_.loop_of(disk_->home_loop());
    if (phase_ != Phase::transmission) {
        return;
    }
    home_->loop().unwatch(stream_.socket());
    home_->loop().cancel(static_cast<EventLoop::Posted&>(*this));
    auto self = home_->release(*this);
    target->loop().post([target, self]() mutable {
        target->add(self);
        self->begin(*target);
    });
}

}  // namespace signpost
