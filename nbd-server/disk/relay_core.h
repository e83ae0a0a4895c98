// SPDX-License-Identifier: BSD-3-Clause
//
// RelayCore is the inside of a relayed disk: it turns requests into pieces that a server accepts,
// puts them on links, and moves what a dead or hung server has not answered to another route.
//
// The words: a *route* is one location that may serve; a *lane* is one link to a route; a *piece*
// is one NBD request, with at most two *attempts* at a time. The rules:
//
//   * Content is pinned by the first lane that comes up. Another route is used only when the
//     catalog says that its generation and digest are the pinned ones and its server shows the
//     fingerprint that the digest was taken from; the same server only when it still shows the same
//     fingerprint. Who shows another fingerprint than the catalog has comes up first only when
//     nobody else can: nothing would be interchangeable with it.
//   * A read that has waited on a silent lane is also asked of another route, and the first answer
//     wins. It waits for min(hedge, max(hedge_floor, 4 times the 99th percentile of the route's
//     answers)); for `hedge` while there are too few of these. New reads pass a silent lane by, and
//     one that is overtaken after `hedge` is dropped. With no other route, a fresh lane to the same
//     server is tried after `hang`, and the old lane is kept, because the server may just be slow.
//   * Writes go to one image only and are never asked twice while the first may still be carried
//     out. After a loss all that is not known durable is written again before anything else
//     (write_log.h).
//   * No piece outlives its deadline: then EIO. Lanes come back as long as pieces wait.
//
//   * What is read for a sink goes to it piece by piece, each when its whole reply has been found
//     good. So a client is never sent bytes that another server would have to complete.
//
//   * To a far server there are more lanes, and what a client that reads in sequence will want next
//     is read ahead (read-only disks).
//
//   * The route in use is left for another one when the catalog names it no longer (its server is
//     drained, its copy is damaged), and for a better one that is well again when failback is on:
//     a lane to the other is made first, what is on its way ends where it is.
//
// relay_core.cc holds requests, relay_pieces.cc pieces on their way, relay_lanes.cc lanes,
// relay_routes.cc routes, relay_moves.cc going from one to another, relay_reach.cc whether there is
// one, relay_watch.cc time, relay_core_ahead.cc reading ahead, relay_writes.cc writes.
//
// Lifetime: shared by its RelayedDisk and by calls under way; destroyed on the loop's thread.
// Threads: the loop's, but for accept().

#pragma once

#include <array>
#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "nbd-server/disk/burst_watch.h"
#include "nbd-server/disk/relay_ahead.h"
#include "nbd-server/disk/relay_latency.h"
#include "nbd-server/disk/relay_parts.h"
#include "nbd-server/disk/relay_services.h"
#include "nbd-server/disk/relayed_disk.h"
#include "nbd-server/disk/upstream_link.h"
#include "nbd-server/disk/write_log.h"

namespace signpost {

class RelayCore final : private UpstreamLink::Owner,
                        private EventLoop::Posted,
                        public std::enable_shared_from_this<RelayCore> {
   public:
    RelayCore(RelayServices& services, RelayPlan plan);
    ~RelayCore() override;

    const DiskTraits& traits() const { return plan_.traits; }

    // From any thread.
    void accept(Request& request);

    // As Disk::reach. On the loop's thread.
    void reach(Disk::Told told);

    // No request is under way any more: closes the links.
    void shut_down();

   private:
    using Time = EventLoop::Time;

    struct Lane;
    struct Transfer;

    struct Attempt {
        Lane* lane = nullptr;  // null: none
        std::uint64_t cookie = 0;
        Time sent{};
        bool alone = false;      // nothing else was on the lane
        std::uint32_t skip = 0;  // bytes before the piece's own in what was asked for
        // Where the reply goes when it is not the client's own buffer.
        std::unique_ptr<std::byte[]> bounce;
        RelayParts parts;
        std::vector<Extent> extents;
    };

    // reach: waits for a lane and is not sent.
    enum class Purpose { request, replay, flush_log, probe, ahead, reach };

    struct PieceTerms {
        Purpose purpose = Purpose::request;
        Transfer* transfer = nullptr;  // null unless purpose is request
        wire::Command command{};
        std::uint16_t flags = 0;
        std::uint64_t offset = 0;
        std::uint32_t length = 0;
        std::byte* buffer = nullptr;
        bool to_sink = false;  // instead of the buffer
        Payload payload;
        std::uint64_t refused_by = 0;  // a bit for each route that answered with an error
        Time deadline{};
        std::optional<WriteLog::Handle> logged;
        std::uint64_t flush_epoch = 0;
        bool in_replay = false;
        // Request: the block that it waits for, having no attempt of its own. Ahead: what it reads.
        RelayAhead::Block* awaits = nullptr;
    };

    // Attempts keep their memory from use to use.
    struct Piece : PieceTerms {
        std::array<Attempt, 2> attempts;
        std::size_t index = 0;  // in pieces_

        bool changes_content() const;
        bool under_way() const { return attempts[0].lane || attempts[1].lane; }
    };

    struct Transfer {
        Request* request = nullptr;
        unsigned pieces_left = 0;
        int error = 0;
        bool flush_after = false;  // FUA that the server cannot do by itself
        Time deadline{};
    };

    struct Route {
        Upstream upstream;
        std::size_t number = 0;    // its bit in Piece::refused_by
        std::string stale_reason;  // empty: usable
        Time stale_until{};
        unsigned dials = 0;  // in a worker or on a lane that is not ready
        Time dial_began{};   // the last of them
        RelayLatency latency;
        std::chrono::milliseconds hedge{};  // at the last tick
        bool left = false;  // as a spare, or named no longer: only while nobody else can serve
        bool reported_down = false;
        bool lost = false;           // a lane that was in use has ended, and none was ready since
        bool unknown_there = false;  // the server says that it has no such export
        bool untrue = false;         // the image there is not of the size that the catalog says
        bool changed = false;        // the image there is not the one that the content is held to
        bool doubted = false;        // others had their turn before it, as its image is another
        std::string trouble;         // why the last dial or lane ended

        std::string name() const;
    };

    struct Lane {
        std::unique_ptr<UpstreamLink> link;
        Route* route = nullptr;
        std::size_t pieces = 0;   // attempts on it
        std::uint64_t bytes = 0;  // of their payloads
        bool ready = false;
        bool dirty = false;  // has unsent requests
        bool quiet = false;  // at the last tick: silent, and should not have been
        Time busy_since{};   // while something is on the way
        Time ready_since{};
        Time last_used{};
        Time last_wanted{};    // as last_used, without probes
        Time retired_until{};  // only while it is in retired_
        // What had arrived at recent ticks, oldest first; for the minimum-progress rule.
        std::deque<std::pair<Time, std::uint64_t>> samples;
    };

    struct Slot {
        std::uint64_t cookie = 0;
        Piece* piece = nullptr;
        unsigned which = 0;
    };

    // --- requests, and pieces that wait: relay_core.cc
    void run_posted() override;
    void take(Request& request);
    Transfer* new_transfer(Request& request);
    void free_transfer(Transfer* transfer);
    Piece& new_piece(Purpose purpose, wire::Command command, std::uint64_t offset,
                     std::uint32_t length);
    void cut(Request& request, Transfer& transfer, wire::Command command, std::uint16_t flags);
    void pump();
    bool place_waiting(Piece& piece);
    bool answer_without_server(Piece& piece, const wire::ExportInfo& info);
    void split(Piece& piece, std::uint32_t maximum);
    void free_piece(Piece& piece);

    // --- pieces on their way: relay_pieces.cc
    void place(Piece& piece, unsigned which, Lane& lane);
    wire::Pending shape(const Piece& piece, Attempt& attempt, bool first,
                        const UpstreamLink& link) const;
    void settle_fua(Piece& piece, const wire::ExportInfo& info);
    void finish(Piece& piece, int error);
    void finish_transfer(Transfer& transfer);
    void drop_attempt(Piece& piece, unsigned which, bool abandon);
    void answered(Piece& piece, unsigned which, const wire::Pending& reply);
    void refused(Piece& piece, const Route& route, std::uint32_t nbd_error);
    void deliver(Piece& piece, Attempt& attempt);
    void deliver_parts(Piece& piece, Attempt& attempt);
    std::uint64_t take_slot(Piece& piece, unsigned which);
    void flush_lanes();

    // --- lanes and routes: relay_lanes.cc
    void link_ready(UpstreamLink& link) override;
    void link_finished(UpstreamLink& link,
                       std::span<const UpstreamLink::Finished> finished) override;
    void link_failed(UpstreamLink& link, LinkError error, const std::string& reason) override;
    Lane* choose_lane(const Piece& piece, const Route* except);
    Lane* best_lane(const Route& route) const;
    bool has_lane(const Route& route) const;
    bool may_serve(const Route& route, Time now) const;
    bool others_left(const Piece& piece, const Route& except) const;
    void widen(Route& route);
    bool has_room(const Lane& lane) const;
    static bool is_far(const Route& route);
    void dial(Route& route);
    void dial_now(Route& route, Result<std::vector<DialTarget>> targets);
    void lose_lane(Lane& lane, const std::string& reason);
    void bury_lane(Lane& lane);
    void leave_lanes();
    void linger();
    void retire_lane(Lane& lane);
    void end_retirement(Time now);
    bool is_retired(const Lane& lane) const;
    void requeue(Lane& lane);
    std::string unsuitable(const Lane& lane) const;
    std::string doubt(const Lane& lane) const;
    void note_size(Route& route, std::uint64_t shown);
    std::string wrong_content(const Route& route, const std::string& fingerprint) const;
    void pin(const Route& route, const std::string& fingerprint);
    void hold_to(const Location& copy);
    void make_stale(Route& route, const std::string& reason);
    void hasten_others(const Route& lost);
    void report_down(Route& route, const std::string& reason);
    Lane* lane_of(const UpstreamLink& link);
    void prefer(Route& route);
    CircuitBreaker& breaker(const Route& route) const;
    std::vector<Route*> in_order() const;
    void put_troubled_last(std::vector<Route*>& order) const;
    bool is_pinned(const Route& route) const;
    void consult();
    void consulted(Result<std::vector<Upstream>> answer);
    bool adopt(const Upstream& upstream);
    void learn_of_pinned(const Location& row);
    void learn_of_others(const std::vector<Upstream>& answer);

    // --- from one route to another: relay_moves.cc
    void hear_news(Time now);
    void follow_referral(const std::vector<Upstream>& upstreams);
    Route* better_route(Time now) const;
    void seek_better(Time now);
    void close_left_lanes();

    // --- whether it can be had: relay_reach.cc
    void reached(int error);
    Error out_of_reach() const;
    std::string trouble_of(const Route& route) const;

    // --- time: relay_watch.cc
    void watch_time();
    void tick();
    void forgive(EventLoop::Clock::duration standstill);
    void sample_lanes(Time now);
    std::chrono::milliseconds hedge_of(const Route& route) const;
    Time next_look(Time now) const;
    std::chrono::milliseconds tick_length() const;
    void expire(Time now);
    void second_attempt(Piece& piece, Time now);
    void drop_hung_lanes(Time now);
    bool silent(const Lane& lane, Time now, std::chrono::milliseconds window) const;
    void probe_idle_lanes(Time now);
    void close_spare_lanes(Time now);
    void give_up_if_nobody_has_it();

    // --- reading ahead: relay_core_ahead.cc
    bool reads_ahead() const;
    bool serve_from_ahead(Piece& piece);
    void give_from(RelayAhead::Block& block, Piece& piece, bool alone);
    void place_ahead();
    Lane* spare_lane();
    void block_ended(RelayAhead::Block& block, int error);
    void stop_awaiting(Piece& piece);
    void forget_ahead(Time now);

    // --- writes: relay_writes.cc
    void hold_first_write();
    void write_permitted(const Result<void>& answer);
    void log_write(Piece& piece);
    bool write_may_go(const Piece& piece) const;
    void write_answered(Piece& piece, bool success);
    void flush_log_if_large();
    void prepare_replay();
    void forget_replay();
    bool replay_pending() const { return !replay_.empty() || replaying_ > 0; }
    void place_replays();

    RelayServices& services_;
    const RelayPlan plan_;
    const RelayLimits& limits_;

    std::mutex inbox_mutex_;
    std::vector<Request*> inbox_;         // guarded by inbox_mutex_
    std::atomic<bool> has_inbox_{false};  // whether it holds anything
    std::vector<Request*> inbox_here_;    // from the loop's own thread
    std::vector<Request*> taking_;

    std::vector<std::unique_ptr<Piece>> pieces_;  // not finished
    std::vector<std::unique_ptr<Piece>> spare_;   // for use again
    std::vector<std::unique_ptr<Transfer>> spare_transfers_;
    std::deque<Piece*> waiting_;      // of pieces_: without an attempt
    std::deque<Piece*> passing_;      // of these, while pump() looks at them
    std::vector<Disk::Told> askers_;  // of reach()
    std::vector<Slot> slots_;
    std::vector<std::uint16_t> free_slots_;
    std::uint64_t next_sequence_ = 1;

    std::vector<std::unique_ptr<Route>> routes_;  // in the order in which to try them
    Route* preferred_ = nullptr;                  // the one in use
    std::string served_from_;                     // its server, as last told
    std::vector<std::unique_ptr<Lane>> lanes_;
    std::vector<std::unique_ptr<Lane>> retired_;    // given up, but answers are still to come
    std::vector<std::unique_ptr<Lane>> graveyard_;  // destroyed when no call is inside them
    bool shut_down_ = false;
    bool pumping_ = false;
    bool pump_again_ = false;

    // What the pinned content is. The route's row may learn a digest later, and another generation,
    // rightly or not: by all that it had with its digest the same content is known.
    struct Pin {
        const Route* route;  // null: there is none to that copy
        Location location;
        std::string fingerprint;
        std::vector<std::uint64_t> generations = {};  // the newest last

        bool is_content_of(const Location& other) const;
        void note_generation(std::uint64_t generation);
    };
    std::optional<Pin> pin_;

    RelayAhead ahead_;
    EventLoop::Timer tick_;
    std::uint64_t heard_news_;  // of RelayServices::news()
    Time next_news_{};
    bool consulting_ = false;
    bool consulted_in_vain_ = false;  // since the last route became stale
    Time next_consultation_{};

    enum class FirstWrite { none_yet, asking, permitted };
    FirstWrite first_write_ = FirstWrite::none_yet;
    BurstWatch bursts_;  // of replies
    WriteLog write_log_;
    std::deque<Piece*> replay_;  // to be placed, in order, before anything else
    std::size_t replaying_ = 0;  // placed and not yet answered
    bool flushing_log_ = false;
    bool writes_lost_ = false;  // an acknowledged write could not be repeated: flushes fail
};

}  // namespace signpost
