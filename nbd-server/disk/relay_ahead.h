// SPDX-License-Identifier: BSD-3-Clause
//
// RelayAhead decides what a relay reads before it is asked for, from a server so far away that a
// client with few requests under way would mostly wait: it finds the clients that read in sequence,
// and keeps blocks of the disk that such a client will want next. How far it looks ahead grows each
// time that a client has to wait for a block, and each block is kept until it has been taken once.
//
// Bounded: by kMaxBytes for a disk, and by a budget for all disks. For disks whose content cannot
// change only.
//
// Pure: time comes in as an argument, and who reads the blocks is the owner's business. Lifetime:
// the budget outlives it. Threads: one at a time; the budget any.

#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <vector>

namespace signpost {

class ByteBudget {
   public:
    explicit ByteBudget(std::uint64_t bytes) : left_(static_cast<std::int64_t>(bytes)) {}

    bool take(std::uint64_t bytes) {
        const auto wanted = static_cast<std::int64_t>(bytes);
        if (left_.fetch_sub(wanted) >= wanted) {
            return true;
        }
        give(bytes);
        return false;
    }
    void give(std::uint64_t bytes) { left_.fetch_add(static_cast<std::int64_t>(bytes)); }

   private:
    std::atomic<std::int64_t> left_;
};

class RelayAhead {
   public:
    using Time = std::chrono::steady_clock::time_point;

    static constexpr std::uint64_t kBlock = 256 * 1024;
    static constexpr std::uint64_t kMaxBytes = 64 * 1024 * 1024;

    struct Block {
        std::uint64_t offset = 0;
        std::uint32_t length = 0;
        std::unique_ptr<std::byte[]> bytes;
        bool here = false;           // else on its way
        std::uint32_t taken = 0;     // bytes that clients have got of it
        std::vector<void*> waiters;  // the owner's
    };

    RelayAhead(std::uint64_t disk_size, ByteBudget& budget) : size_(disk_size), budget_(budget) {}
    RelayAhead(const RelayAhead&) = delete;
    RelayAhead& operator=(const RelayAhead&) = delete;
    ~RelayAhead();

    // A client asks for this.
    void note(std::uint64_t offset, std::uint64_t length, Time now);

    // The block that holds all of a range, if there is one.
    Block* find(std::uint64_t offset, std::uint64_t length);

    // A client that asked for a range of this block had to wait for it: look further ahead.
    void waited_for(const Block& block);

    // A block that should be read now, new in the table; null: none. The owner reads it, and says
    // arrived(), or drops it.
    Block* next_wanted();

    // May drop it at once, when the client that would have wanted it has gone elsewhere.
    void arrived(Block& block);
    void drop(Block& block);

    // LENGTH bytes of the block have gone to a client; whole blocks are dropped with that.
    void took(Block& block, std::uint32_t length);

    // Forgets what nobody has asked for since then.
    void forget_before(Time then);

    bool empty() const { return blocks_.empty(); }

   private:
    // A client, or one of several, that reads in sequence.
    struct Stream {
        std::uint64_t next = 0;   // where it will go on
        std::uint64_t asked = 0;  // up to where blocks have been asked for
        std::uint64_t window = 0;
        unsigned steps = 0;  // requests that went on where others ended
        Time used{};
    };

    Stream* stream_at(std::uint64_t offset);
    Block* next_wanted_of(Stream& stream, std::uint64_t window);
    bool make_room(const Stream& stream, std::uint64_t length);
    void end_stream(Stream& stream);
    void drop_range(std::uint64_t begin, std::uint64_t end);

    const std::uint64_t size_;
    ByteBudget& budget_;
    std::array<Stream, 8> streams_;
    std::map<std::uint64_t, Block> blocks_;  // by offset
    std::uint64_t bytes_ = 0;                // of blocks_
};

}  // namespace signpost
