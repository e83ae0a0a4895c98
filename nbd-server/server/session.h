// SPDX-License-Identifier: BSD-3-Clause
//
// Session is one client's connection: the only place that knows both the protocol and the disk. It
// negotiates, opens the disk that the client asks for, and carries requests to it and replies back.
//
// A request whose bytes are at hand is answered at once, on the loop's thread: small reads are
// gathered and sent together, large ones go from the file to the socket inside the kernel. All else
// becomes an Operation: at a relayed disk, which lives on the same loop, or on a worker thread.
//
// What one client can hold is bounded: requests under way, bytes of them in memory, replies that it
// does not read. Beyond that it is not read from until it has caught up.
//
// session.cc has the life of the connection, session_handshake.cc the negotiation,
// session_requests.cc the way down, session_replies.cc the way back.
//
// Lifetime: its SessionLoop owns it, and keeps it until the last operation has ended. Threads: the
// loop's.

#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "nbd-server/disk/burst_watch.h"
#include "nbd-server/disk/disk.h"
#include "nbd-server/disk/event_loop.h"
#include "nbd-server/server/client_identity.h"
#include "nbd-server/server/client_stream.h"
#include "nbd-server/server/operation.h"
#include "nbd-server/server/outgoing.h"
#include "nbd-server/server/service.h"
#include "nbd-server/wire/reply_head.h"
#include "nbd-server/wire/request_reader.h"
#include "nbd-server/wire/server_handshake.h"

namespace signpost {

class ReadBatch;

class Session final : private EventLoop::Watcher,
                      private EventLoop::Posted,
                      private Outgoing::Prover,
                      private ReadSink,
                      public std::enable_shared_from_this<Session> {
   public:
    Session(Service& service, UniqueFd socket, ClientIdentity client,
            SessionsByAddress::Place place = {});
    ~Session() override;

    // On HOME's thread. From then on the session is on its own.
    void begin(SessionLoop& home);

    // An operation has ended; called by SessionLoop.
    void ended(Operation& operation);

    // Once a second: deadlines.
    void look_at_clock(EventLoop::Time now);

    // The server stops: what is under way is finished, what is new gets the protocol's word for
    // it, and the connection ends.
    void drain();

    // Closes now.
    void abort(const std::string& reason);

    std::uint64_t number() const { return number_; }

   private:
    friend class ReadBatch;

    enum class Phase {
        handshake,
        tls,
        transmission,
        closing,    // takes nothing more; replies are still to come, or to leave
        lingering,  // all was sent; the client may not have it yet
        closed,
    };

    // --- the connection: session.cc
    void on_ready(std::uint32_t events) override;
    void run_posted() override;
    void receive();
    void receive_options();
    void receive_requests();
    bool receive_into(std::span<std::byte> buffer, std::size_t& got);
    bool reads() const;
    void serve_waiting();
    void go_on();
    void flush();
    void settle();
    void tell_meter();
    void want_events();
    void close_in_order(std::string reason);
    void linger();
    void discard_input();
    void close_now();
    void forget();
    void move_home();
    bool negotiates() const { return phase_ == Phase::handshake && !asking_ && !list_waits_; }
    void flush_soon() { home_->loop().post(static_cast<EventLoop::Posted&>(*this)); }

    // --- the negotiation: session_handshake.cc
    void start_handshake();
    void negotiate();
    void follow(wire::ServerHandshake::Outcome outcome);
    void negotiate_on();
    void answer_question();
    void open_export();
    void let_go();
    void opened(const std::string& name, Result<std::shared_ptr<Disk>> disk, Access access);
    bool reach_first();
    void reached(const Result<void>& answer);
    void accept();
    bool open_others();
    std::shared_ptr<Disk> open_other(const std::string& context);
    void others_opened(std::map<std::string, std::shared_ptr<Disk>> others);
    void refuse_export(const Error& why);
    void audit_opened(std::string_view refusal);
    wire::ExportFacts facts_of(const Disk& disk) const;
    void list_exports();
    void listed(Result<Federation::Listing> page);
    void take_ticket();
    void begin_tls();
    void drive_tls();
    void begin_transmission();
    void begin_meter();
    bool may_see(std::string_view disk) const;
    // For whom this session asks: who is connected, or whom its ticket names.
    const ClientIdentity& asker() const { return ticket_ ? ticket_->client : client_; }
    void begin_question();
    void end_question();

    // --- requests: session_requests.cc
    void serve_input(std::span<const std::byte> bytes);
    std::size_t serve(std::span<const std::byte> bytes);
    bool may_take_more() const;
    bool take(const wire::Request& request, std::span<const std::byte>& rest, ReadBatch& batch);
    void refuse(const wire::Request& request, std::uint32_t error, std::string_view sentence);
    bool read(const wire::Request& request, ReadBatch& batch);
    bool read_moved(const wire::Request& request);
    bool start_read(const wire::Request& request);
    bool start_with_payload(const wire::Request& request, std::span<const std::byte>& rest);
    void payload_complete();
    bool start(const wire::Request& request);
    Operation& new_operation(const wire::Request& request);
    void compare(Operation& operation) const;
    void run(Operation& operation);
    bool claim(std::uint64_t bytes, MemoryBudget::Share& share);
    wire::ReplyTo reply_to(const wire::Request& request) const {
        return {style_, request.cookie, request.offset};
    }

    // --- replies: session_replies.cc
    Proof prove(const Outgoing::Moved& moved, bool could_read, std::span<std::byte> to) override;
    void take(Request& request, ReadPart part) override;
    void reply(Operation& operation);
    void reply_read(Operation& operation);
    void reply_parts(Operation& operation);
    void reply_status(Operation& operation);
    void reply_error(const wire::Request& request, std::uint32_t error, std::string_view sentence);
    void reply_success(const wire::Request& request);
    void keep(std::span<const std::byte> bytes);
    void expect_soon(std::uint64_t length);
    void send_chunk(const wire::Request& request, ReadPart part, MemoryBudget::Share share);
    bool in_one_chunk(const wire::Request& request) const {
        return style_ == wire::ReplyStyle::simple || request.has(wire::kCommandDf);
    }
    std::uint32_t placement() const;
    void send_status(const Operation& operation, const wire::ServerHandshake::Context& context,
                     wire::Ending ending);

    Service& service_;
    const std::uint64_t number_;
    ClientStream stream_;
    ClientIdentity client_;
    SessionLoop* home_ = nullptr;
    Phase phase_ = Phase::handshake;
    std::uint32_t events_ = 0;  // that epoll waits for
    EventLoop::Time began_{};
    EventLoop::Time deadline_{};    // of the negotiation, or of lingering
    EventLoop::Time last_moved_{};  // when bytes that the client owes had moved, at the last look
    std::uint64_t moved_then_ = 0;
    std::string closing_reason_;

    std::string input_;  // received, not consumed
    BurstWatch bursts_;
    bool starved_ = true;   // what is in input_ is not a whole request
    bool leaving_ = false;  // as soon as nothing is under way
    Outgoing out_;

    // Negotiation only.
    std::unique_ptr<wire::ServerHandshake> handshake_;
    std::shared_ptr<const Policy> policy_;
    std::optional<TicketClaims> ticket_;
    unsigned reopened_ = 0;  // for the question: as the catalog was wrong about a copy
    bool asking_ = false;    // a question is with another thread, since asked_at_
    EventLoop::Time asked_at_{};
    bool list_waits_ = false;  // the next page of an export list, for the client to read this one
    std::string opened_name_;
    std::string opened_disk_;               // what that name meant
    Access access_;                         // by which it was opened
    std::vector<std::string> diffs_asked_;  // for the question, as they were answered
    SessionsByAddress::Place place_;
    std::string list_after_;

    // Transmission.
    std::shared_ptr<Disk> disk_;
    std::optional<wire::RequestReader> requests_;
    std::vector<wire::ServerHandshake::Context> contexts_;
    std::map<std::string, std::shared_ptr<Disk>>
        others_;  // by kDiffPrefix contexts, that disk_ has
    wire::ReplyStyle style_ = wire::ReplyStyle::simple;
    std::string export_name_;
    unsigned operations_ = 0;
    std::uint64_t bytes_under_way_ = 0;
    std::unique_ptr<Operation> filling_;  // its payload is being received
    std::uint64_t dropping_ = 0;          // bytes of a refused payload still to come
    bool waits_for_memory_ = false;
    bool moving_ = false;  // to the disk's own loop
    bool at_end_ = false;  // the client has said or sent its last
    bool tls_waits_for_write_ = false;
    SessionRoute route_ = SessionRoute::local;
    std::shared_ptr<SessionMeter> meter_;  // null: no disk is open, or it is closed
    std::uint64_t bytes_written_ = 0;
    std::uint64_t payload_received_ = 0;
};

}  // namespace signpost
