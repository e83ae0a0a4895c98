// SPDX-License-Identifier: BSD-3-Clause
//
// UpstreamLink is one connection to one export of a server: it connects (trying the server's
// addresses in turn), starts TLS, negotiates, and then carries requests, many at a time. Everything
// before the first request has a deadline; what happens to requests that are not answered is the
// owner's business.
//
// Requests are gathered by send() and leave together at flush(), so that a burst costs one system
// call; replies are read straight into the readers' buffers, or large payloads moved into pipes.
//
// Lifetime: the loop, the owner and the credentials outlive it; it must not be destroyed inside a
// call to its owner. Threads: the loop's.

#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "nbd-server/disk/event_loop.h"
#include "nbd-server/disk/peer_address.h"
#include "nbd-server/disk/relay_engine.h"
#include "nbd-server/disk/tls.h"
#include "nbd-server/disk/unique_fd.h"
#include "nbd-server/wire/client_handshake.h"
#include "nbd-server/wire/reply_reader.h"

namespace signpost {

// One address of a server, with the URI that it came from.
struct DialTarget {
    PeerAddress address;
    NbdUri uri;
};

enum class LinkError {
    unreachable,     // no connection, or no handshake in time
    unknown_export,  // the server says that it has no such export
    refused,         // policy, TLS, unsuitable
    protocol,        // the server broke the protocol
    lost,            // the connection ended after it was ready
};

using Payload = std::shared_ptr<const std::vector<std::byte>>;

class UpstreamLink : private EventLoop::Watcher, private EventLoop::Posted {
   public:
    using Time = EventLoop::Time;
    using Finished = wire::ReplyReader::Finished;

    class Owner {
       public:
        virtual ~Owner() = default;
        virtual void link_ready(UpstreamLink& link) = 0;
        virtual void link_finished(UpstreamLink& link, std::span<const Finished> finished) = 0;
        // The last call. The link is closed; whatever was on it is unanswered.
        virtual void link_failed(UpstreamLink& link, LinkError error,
                                 const std::string& reason) = 0;
    };

    struct Setting {
        const RelayLimits& limits;
        const TlsCredentials* credentials = nullptr;  // null: no TLS configured
        wire::TlsMode tls = wire::TlsMode::off;       // for URIs that do not ask for TLS themselves
        std::function<Result<std::string>()> ticket;  // as Upstream::ticket
    };

    UpstreamLink(EventLoop& loop, Owner& owner, Setting setting);
    ~UpstreamLink() override;

    // Begins to dial. TARGETS is not empty. Never calls the owner before it returns.
    void dial(std::vector<DialTarget> targets);

    bool ready() const { return phase_ == Phase::ready; }
    const wire::ExportInfo& info() const { return info_; }
    const NbdUri& uri() const { return targets_[target_].uri; }

    // Only when ready. PENDING's buffer, landing (a RelayParts) and extents stay put until
    // finished, failed or abandoned.
    void send(const wire::Pending& pending, std::uint16_t flags, std::uint64_t cookie,
              Payload payload);

    // Payload can reach a pipe without passing through this process.
    bool can_splice() const { return tls_ == nullptr; }
    void flush();

    // The reply is still awaited, but dropped when it comes.
    void abandon(std::uint64_t cookie);

    // This process did not run for so long: what is waited for may come later by as much.
    void postpone(EventLoop::Clock::duration by) { loop_.postpone(timer_, by); }

    // Says DISC if it can, and closes. The owner is not called.
    void close();

    // Requests on the way, abandoned ones included.
    std::size_t outstanding() const { return reader_ ? reader_->outstanding() : 0; }
    std::uint64_t bytes_received() const { return bytes_received_; }

   private:
    enum class Phase { idle, connecting, tls, handshake, ready, closed };

    struct Chunk {
        std::string head;
        Payload payload;  // follows the head; may be null

        std::size_t size() const { return head.size() + (payload ? payload->size() : 0); }
    };

    void on_ready(std::uint32_t events) override;
    void connect_next(const std::string& last_reason, LinkError last_error);
    bool connect_to(const DialTarget& target);
    void connected();
    void drive_tls();
    void read_handshake();
    void follow(wire::ClientHandshake::Outcome outcome, std::size_t left_over);
    void become_ready();
    void run_posted() override;
    void read_replies();
    bool receive_replies();
    bool move_payload(bool first);
    bool has_input() const;
    bool settle();
    void lost(ssize_t result);
    void dial_failed(LinkError error, const std::string& reason);
    void fail(LinkError error, const std::string& reason);
    void arm(std::chrono::milliseconds limit, const char* what);
    void want(std::uint32_t events);
    ssize_t receive_some(std::span<const iovec> parts);
    ssize_t send_some(std::span<const iovec> parts);
    void disconnect();
    void consume_sent(std::size_t n);

    EventLoop& loop_;
    Owner& owner_;
    const Setting setting_;
    Phase phase_ = Phase::idle;
    std::vector<DialTarget> targets_;
    std::size_t target_ = 0;
    UniqueFd socket_;
    std::uint32_t wanted_ = 0;
    EventLoop::Timer timer_;
    std::unique_ptr<TlsClient> tls_;
    std::unique_ptr<wire::ClientHandshake> handshake_;
    std::unique_ptr<wire::ReplyReader> reader_;
    wire::ExportInfo info_;
    std::deque<Chunk> outgoing_;
    std::string spare_head_;  // keeps its memory from batch to batch
    std::size_t sent_ = 0;    // bytes of outgoing_.front() that have left
    std::vector<Finished> finished_;
    std::uint64_t bytes_received_ = 0;
};

}  // namespace signpost
