// SPDX-License-Identifier: BSD-3-Clause
//
// A verified disk relays from other servers and believes none of them: every chunk of the digest
// tree is hashed and compared before a byte of it is given to a client. A chunk that is not what
// the catalog's digest says is asked of all the other copies; the client gets a good one or EIO,
// and the copy that had the bad one becomes `damaged` in the catalog. Which bytes are zero is known
// from the digests too, not from anybody's allocation map.
//
// While no server gives the chunk digests, a disk that must be checked cannot be had. One that is
// to be checked if it can be is relayed as it is, they are asked for again and again, and once they
// are known no byte goes unchecked any more.
//
// verified_core.h says how. Threads and lifetime: as Disk; VerifyServices outlives the disks.

#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "catalog/catalog.h"
#include "nbd-server/disk/disk.h"
#include "nbd-server/disk/event_loop.h"
#include "nbd-server/disk/log.h"
#include "nbd-server/disk/relayed_disk.h"
#include "nbd-server/disk/worker_pool.h"

namespace signpost {

// Memory for chunks, of all disks together. It goes back to the pool when its last owner lets go of
// it, which keeps the pool alive till then. A chunk whose bytes a client is being sent is lent: it
// stays as it is until the client has taken them; so at most half of all chunks are. Threads: any.
class ChunkPool : public std::enable_shared_from_this<ChunkPool> {
   public:
    using Buffer = std::shared_ptr<std::byte[]>;  // of DigestTree::kChunkBytes
    using Loan = std::shared_ptr<const std::byte>;

    explicit ChunkPool(std::size_t most) : most_(most) {}

    Buffer try_take();  // null when there are MOST
    Buffer take();      // one more than that, if it must be

    // Holds BUFFER until all copies of the loan have ended: on the loop of the chunk's disk, if
    // that is to fill it again. Null when too many are lent, or memory is short.
    Loan lend(const Buffer& buffer);

   private:
    using Memory = std::unique_ptr<std::byte[]>;

    void give_back(Memory memory);
    void end_loan();

    const std::size_t most_;
    std::mutex mutex_;  // guards all below
    std::size_t taken_ = 0;
    std::size_t lent_ = 0;
    std::vector<Memory> spare_;  // warm: a fresh one costs a page fault for each page
};

// What verified disks share. Lifetime: the destructor waits until nothing is under way, so the
// relay engine outlives it. Threads: any.
class VerifyServices {
   public:
    struct Parts {
        std::function<std::shared_ptr<Disk>(RelayPlan)> relay;
        Catalog& catalog;
        std::chrono::milliseconds patience{12'000};  // with one request
        std::size_t chunks = 64;                     // in memory, as a rule; 4 MiB each
        bool must_check =
            true;  // false: what cannot be checked, or not yet, is served all the same

        // Of a disk that need not be checked: how long its clients wait for the chunk digests, and
        // when these are asked for again; then after twice the time, up to a minute.
        std::chrono::milliseconds search{2'000};
        std::chrono::milliseconds again{1'000};
    };

    VerifyServices(Parts parts, Log& lines);
    VerifyServices(const VerifyServices&) = delete;
    VerifyServices& operator=(const VerifyServices&) = delete;
    ~VerifyServices();

    // Held by whatever will come back to a verified disk.
    class Busy {
       public:
        explicit Busy(VerifyServices& services);
        Busy(Busy&& other) noexcept : services_(std::exchange(other.services_, nullptr)) {}
        Busy& operator=(Busy&&) = delete;
        ~Busy();

       private:
        VerifyServices* services_;
    };

    // Reads LENGTH bytes of DISK at OFFSET into TO, and calls DONE on LOOP. DISK lives until then.
    using ReadDone = std::move_only_function<void(int error)>;
    void read(EventLoop& loop, std::shared_ptr<Disk> disk, std::uint64_t offset,
              std::uint64_t length, std::byte* to, ReadDone done);

    // Runs WORK on a thread of its own, and then THEN on LOOP.
    template <class Work, class Then>
    void work(EventLoop& loop, Work work, Then then) {
        workers_.run(
            [&loop, work = std::move(work), then = std::move(then), busy = Busy(*this)]() mutable {
                loop.post([answer = work(), then = std::move(then),
                           busy = std::move(busy)]() mutable { then(std::move(answer)); });
            });
    }

    // Says in the catalog that this copy is damaged. Does not block.
    void report_damage(const DiskName& disk, const Location& location);

    std::shared_ptr<Disk> relay(RelayPlan plan) const { return parts_.relay(std::move(plan)); }

    const Parts& parts() const { return parts_; }

    const std::chrono::milliseconds patience;
    Log& log;
    const std::shared_ptr<ChunkPool> pool;

   private:
    const Parts parts_;
    std::mutex mutex_;
    std::condition_variable idle_;
    std::size_t busy_ = 0;  // guarded by mutex_
    WorkerPool workers_;
};

// A disk larger than this is not checked: its chunk digests would take too much memory.
inline constexpr std::uint64_t kMaxVerifiedBytes = std::uint64_t{16} << 40;

// The digest to hold PLAN's disk to: that of the first copy that has one. Empty: there is none, or
// the disk is too large.
std::string digest_to_hold(const RelayPlan& plan);

// PLAN is read-only, and one of its copies has DIGEST. CHECKS, if it is not null, is set to what
// says on the disk's loop whether all that is asked of it from now on is checked.
std::shared_ptr<Disk> make_verified_disk(VerifyServices& services, RelayPlan plan,
                                         std::string digest,
                                         std::function<bool()>* checks = nullptr);

}  // namespace signpost
