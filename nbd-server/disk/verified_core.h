// SPDX-License-Identifier: BSD-3-Clause
//
// VerifiedCore is the inside of a verified disk. It keeps chunks in memory, each in one of these
// states: wanted (no memory for it yet), reading (from the relay), checking (on a worker thread),
// suspect (it was not what its digest says), good. Requests wait at the chunks that they need, and
// are answered piece by piece from good ones only.
//
//   * A client that reads in sequence has the next chunks read ahead, so that the network, hashing
//     and the client's own reading go on at the same time.
//   * A suspect is asked of each copy by itself (an *examination*, one at a time). So it is known
//     which copy is bad. The first good answer goes to the client; the relay is then made anew
//     without the bad copies, and other suspects are read again through it.
//   * Where a disk need not be checked, and its chunk digests are not known, requests *pass*: they
//     go to the relay as they are. The bytes are held back until all have come; if the digests have
//     become known by then, they are dropped, and the request is served from good chunks.
//   * Large reads are not copied: the client is sent a chunk's own bytes, which are lent meanwhile.
//   * Memory: at most kMostChunks for each disk and VerifyServices' number for all; beyond that one
//     for each disk, so that none stands still. Disks that nobody reads give it back.
//
// Lifetime: shared by its disk and by what is under way. Threads: the loop's.

#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "nbd-server/disk/digest_tree.h"
#include "nbd-server/disk/event_loop.h"
#include "nbd-server/disk/verified_disk.h"
#include "nbd-server/disk/verified_leaves.h"

namespace signpost {

class VerifiedCore : public std::enable_shared_from_this<VerifiedCore> {
   public:
    VerifiedCore(VerifyServices& services, RelayPlan plan, std::string digest);

    const DiskTraits& traits() const { return plan_.traits; }
    EventLoop& loop() const { return loop_; }

    // Whether what is asked from now on is checked. On the loop.
    bool checks() const { return leaves_ != nullptr; }
    VerifyServices& services() const { return services_; }

    void take(Request& request);
    void reach(Disk::Told told);

    // Nobody asks any more.
    void close();

   private:
    using Time = EventLoop::Time;

    // A request of a client's that is under way.
    struct Ask {
        Request* request = nullptr;
        std::uint64_t parts_left = 0;
        int error = 0;
        Time due{};
    };

    struct Chunk {
        enum class State { wanted, reading, checking, suspect, good };

        State state = State::wanted;
        ChunkPool::Buffer bytes;
        std::weak_ptr<const std::byte> loan;  // of them, to clients that are being sent them
        std::vector<Ask*> waiting;
        std::uint64_t used = 0;  // the later the larger
        unsigned relay = 0;      // which of the relays it was read from
        bool asked_for = false;  // by a client, not only read ahead
    };

    // Of one suspect, at all copies.
    struct Examination {
        std::uint64_t index = 0;
        std::size_t left = 0;  // copies that have not answered
        bool found = false;
        std::vector<Location> bad;
    };

    // --- the chunk digests
    void find_out();
    void found_out(LeafAnswer answer);
    Result<void> learn(const DigestTree::Leaves& leaves);
    void answer_askers(const Result<void>& answer);
    void refuse(const std::string& why);
    void do_without(const std::string& why);
    void look_again();

    // --- while they are not known
    struct Pass;
    void pass(Request& request, Time due);
    void passed(Pass& pass, int error);

    // --- requests
    void begin(Request& request, Time due);
    void serve(Ask& ask);
    void serve_read(Ask& ask);
    void list_extents(Request& request) const;
    void want(Ask& ask, std::uint64_t index);
    void read_ahead(std::uint64_t index);
    void deliver(Ask& ask, std::uint64_t index, Chunk* chunk);
    ReadPart part_of(Chunk& chunk, std::uint64_t at, std::uint64_t length);
    ChunkPool::Loan lend(Chunk& chunk);
    void part_done(Ask& ask, int error);
    void answer_finished();

    // --- chunks
    bool is_zero(std::uint64_t index) const;
    std::uint64_t bytes_of(std::uint64_t index) const;
    ChunkPool::Buffer memory(bool must);
    void start_wanted();
    void read(std::uint64_t index);
    void read_done(std::uint64_t index, int error);
    void checked(std::uint64_t index, bool good);
    void settle(std::uint64_t index);
    void give_up(std::uint64_t index);
    void forget(std::uint64_t index);

    // --- bad copies
    void suspect(std::uint64_t index);
    void examine_next();
    void examine(std::uint64_t index);
    void ask_copy(std::uint64_t index, const Upstream& copy);
    void copy_answered(const Location& copy, int error, bool good, ChunkPool::Buffer bytes);
    void end_examination();
    void adopt(const Result<std::vector<Upstream>>& answer);
    bool is_bad(const Location& copy) const;
    RelayPlan plan_without_bad() const;

    // --- time
    void watch_time();
    void tick();
    void expire(Time now);
    void drop_idle(Time now);

    VerifyServices& services_;
    RelayPlan plan_;  // its upstreams: all copies with the digest
    const std::string digest_;
    std::set<std::pair<std::string, std::uint64_t>> bad_;  // copies: server and generation
    std::shared_ptr<Disk> relay_;                          // made of the above
    unsigned relays_ = 0;                                  // made before this one
    EventLoop& loop_;

    std::shared_ptr<const DigestTree::Leaves> leaves_;  // null: not known yet
    DigestTree::ChunkDigest zero_chunk_{};
    DigestTree::ChunkDigest zero_end_{};  // of the last chunk, if it is shorter
    bool finding_out_ = false;
    bool asked_before_ = false;
    bool unchecked_ = false;  // requests pass, until the digests are known
    EventLoop::Timer search_;
    EventLoop::Timer again_;
    EventLoop::Clock::duration again_in_;
    std::string told_trouble_;
    std::vector<Disk::Told> askers_;

    std::set<Ask*> asks_;
    std::deque<Ask*> finished_;
    std::map<std::uint64_t, Chunk> chunks_;
    std::deque<std::uint64_t> wanted_;
    std::size_t reading_ = 0;
    std::uint64_t uses_ = 0;
    Time last_asked_{};

    std::deque<std::uint64_t> suspects_;
    std::optional<Examination> examination_;
    bool odd_told_ = false;

    EventLoop::Timer tick_;
    bool closed_ = false;
};

}  // namespace signpost
