// SPDX-License-Identifier: BSD-3-Clause
//
// The caller's thread asks, the disk's own thread brings, the takers hash and write. Slots go round
// between them, so memory is kSlots chunks, whatever the disk's size.

#include "nbd-server/disk/chunk_sweep.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "nbd-server/disk/beneath.h"
#include "nbd-server/disk/digest_tree.h"
#include "nbd-server/wire/protocol.h"

namespace signpost {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kChunk = DigestTree::kChunkBytes;
constexpr std::size_t kSlots = 6;
constexpr unsigned kTakers = 2;
constexpr std::uint64_t kMapChunks = 256;  // one stretch of the allocation map

// How many bytes of each chunk of a stretch are zero.
struct ZeroMap {
    std::uint64_t first = 0;  // chunk
    std::uint64_t chunks = 0;
    std::array<std::uint64_t, kMapChunks> zero_bytes{};

    bool covers(std::uint64_t index) const { return index >= first && index - first < chunks; }
};

class Sweep {
   public:
    Sweep(Disk& disk, const SweepPlan& plan)
        : disk_(disk), plan_(plan), size_(disk.traits().size), use_map_(plan.trust_map) {
        for (Slot& slot : slots_) {
            slot.owner = this;
            free_.push_back(&slot);
        }
    }

    Result<void> run() {
        std::vector<std::jthread> takers;
        for (unsigned i = 0; i < kTakers; ++i) {
            takers.emplace_back([this] { take_chunks(); });
        }
        for (std::uint64_t offset = 0; offset < size_ && go_on(); offset += kChunk) {
            ask(offset);
        }
        finish();
        takers.clear();
        if (!error_) {
            look();
        }
        return error_ ? Result<void>(std::unexpected(*error_)) : Result<void>();
    }

   private:
    struct Slot {
        Request request;
        std::unique_ptr<std::byte[]> bytes;
        Sweep* owner = nullptr;
        int error = 0;
    };

    void ask(std::uint64_t offset) {
        const std::uint64_t index = offset / kChunk;
        const std::uint64_t length = std::min(kChunk, size_ - offset);
        if (plan_.wanted && !plan_.wanted(index)) {
            count(length);
        } else if (is_hole(index, length)) {
            hand_over({.index = index, .offset = offset, .length = length, .bytes = {}});
        } else if (Slot* slot = free_slot(length)) {
            read(*slot, offset, length);
        }
    }

    void read(Slot& slot, std::uint64_t offset, std::uint64_t length) {
        if (!slot.bytes) {
            slot.bytes = std::make_unique_for_overwrite<std::byte[]>(kChunk);
        }
        slot.request = {};
        slot.request.op = Op::read;
        slot.request.offset = offset;
        slot.request.length = length;
        slot.request.buffer = slot.bytes.get();
        slot.request.context = &slot;
        slot.request.done = [](Request& request, int error) {
            Slot& arrived = *static_cast<Slot*>(request.context);
            arrived.error = error;
            arrived.owner->arrived(arrived);
        };
        disk_.submit(slot.request);
    }

    void arrived(Slot& slot) {
        const std::lock_guard lock(mutex_);
        arrived_.push_back(&slot);
        work_.notify_one();
    }

    // A slot, when its turn has come; null when the sweep is over.
    Slot* free_slot(std::uint64_t length) {
        wait_for_rate(length);
        std::unique_lock lock(mutex_);
        while (free_.empty() && !error_) {
            freed_.wait_for(lock, kSweepWatch);
            lock.unlock();
            look();
            lock.lock();
        }
        if (error_) {
            return nullptr;
        }
        Slot* slot = free_.back();
        free_.pop_back();
        return slot;
    }

    // Bytes that come late do not count as credit: the rate is never exceeded afterwards.
    void wait_for_rate(std::uint64_t length) {
        if (plan_.rate == 0) {
            return;
        }
        while (go_on()) {
            const auto now = Clock::now();
            if (now >= next_read_) {
                const std::chrono::duration<double> cost(static_cast<double>(length) /
                                                         static_cast<double>(plan_.rate));
                next_read_ = std::max(next_read_, now - kSweepWatch) +
                             std::chrono::duration_cast<Clock::duration>(cost);
                return;
            }
            std::this_thread::sleep_for(std::min<Clock::duration>(next_read_ - now, kSweepWatch));
        }
    }

    // ---- the takers

    void take_chunks() {
        std::unique_lock lock(mutex_);
        while (true) {
            work_.wait(lock, [this] { return !arrived_.empty() || ending_; });
            if (arrived_.empty()) {
                return;
            }
            Slot& slot = *arrived_.front();
            arrived_.pop_front();
            const bool wanted = !error_;
            lock.unlock();
            if (wanted) {
                take(slot);
            }
            lock.lock();
            free_.push_back(&slot);
            freed_.notify_one();
        }
    }

    void take(const Slot& slot) {
        const Request& request = slot.request;
        if (slot.error != 0) {
            failed({Errc::io, fmt::format("it cannot be read at byte {}: {}", request.offset,
                                          error_text(slot.error))});
            return;
        }
        const std::span<const std::byte> bytes(slot.bytes.get(), request.length);
        hand_over({.index = request.offset / kChunk,
                   .offset = request.offset,
                   .length = request.length,
                   .bytes = is_zero(bytes) ? std::span<const std::byte>() : bytes});
    }

    void hand_over(const Chunk& chunk) {
        if (const auto taken = plan_.take(chunk); !taken) {
            failed(taken.error());
        } else {
            count(chunk.length);
        }
    }

    // ---- how far it is

    void count(std::uint64_t bytes) {
        const std::lock_guard lock(mutex_);
        done_ += bytes;
    }

    void failed(const Error& error) {
        const std::lock_guard lock(mutex_);
        if (!error_) {
            error_ = error;
        }
    }

    bool go_on() {
        if (Clock::now() >= next_look_) {
            look();
        }
        const std::lock_guard lock(mutex_);
        return !error_;
    }

    void look() {
        next_look_ = Clock::now() + kSweepWatch;
        std::uint64_t done = 0;
        {
            const std::lock_guard lock(mutex_);
            done = done_;
        }
        if (!plan_.watch) {
            return;
        }
        if (const auto watched = plan_.watch(done); !watched) {
            failed(watched.error());
        }
    }

    // Waits until all slots are back, and lets the takers go.
    void finish() {
        std::unique_lock lock(mutex_);
        while (free_.size() < slots_.size()) {
            freed_.wait_for(lock, kSweepWatch);
            lock.unlock();
            (void)go_on();
            lock.lock();
        }
        ending_ = true;
        work_.notify_all();
    }

    // ---- the allocation map

    bool is_hole(std::uint64_t index, std::uint64_t length) {
        if (!use_map_) {
            return false;
        }
        if (!map_.covers(index)) {
            ask_map(index);
        }
        return use_map_ && map_.covers(index) && map_.zero_bytes[index - map_.first] == length;
    }

    void ask_map(std::uint64_t index) {
        const std::uint64_t begin = index * kChunk;
        const std::uint64_t end = begin + std::min(kMapChunks * kChunk, size_ - begin);
        map_ = {.first = index, .chunks = (end - begin + kChunk - 1) / kChunk};
        for (std::uint64_t at = begin; at < end;) {
            std::vector<Extent> extents;
            Request request;
            request.op = Op::extents;
            request.offset = at;
            request.length = end - at;
            request.extents = &extents;
            const std::uint64_t before = at;
            if (submit_and_wait(disk_, request) == 0) {
                for (const Extent& extent : extents) {
                    at = note(extent, at, end);
                }
            }
            if (at == before) {
                use_map_ = false;  // advice, and there is none
                return;
            }
        }
    }

    // What is beyond the stretch is asked for again with the next.
    std::uint64_t note(const Extent& extent, std::uint64_t at, std::uint64_t end) {
        const std::uint64_t stop = at + std::min(extent.length, end - at);
        const bool zero = (extent.flags & wire::kStateZero) != 0;
        while (zero && at < stop) {
            const std::uint64_t chunk = at / kChunk;
            const std::uint64_t part = std::min(stop, (chunk + 1) * kChunk);
            map_.zero_bytes[chunk - map_.first] += part - at;
            at = part;
        }
        return stop;
    }

    Disk& disk_;
    const SweepPlan& plan_;
    const std::uint64_t size_;

    // The caller's thread's own.
    bool use_map_;
    ZeroMap map_;
    Clock::time_point next_read_{};
    Clock::time_point next_look_{};

    std::mutex mutex_;  // guards all below, but for what a slot holds while it is somebody's
    std::condition_variable work_;
    std::condition_variable freed_;
    std::array<Slot, kSlots> slots_;
    std::vector<Slot*> free_;
    std::deque<Slot*> arrived_;
    bool ending_ = false;
    std::uint64_t done_ = 0;
    std::optional<Error> error_;
};

}  // namespace

std::uint64_t mapped_bytes(Disk& disk) {
    constexpr std::uint64_t kStretch = kMapChunks * kChunk;
    const std::uint64_t size = disk.traits().size;
    std::uint64_t data = 0;
    for (std::uint64_t at = 0; at < size;) {
        std::vector<Extent> extents;
        Request request;
        request.op = Op::extents;
        request.offset = at;
        request.length = std::min(kStretch, size - at);
        request.extents = &extents;
        const std::uint64_t before = at;
        const int error = submit_and_wait(disk, request);
        for (const Extent& extent : extents) {
            const std::uint64_t length = std::min(extent.length, size - at);
            data += (extent.flags & wire::kStateZero) != 0 ? 0 : length;
            at += length;
        }
        if (error != 0 || at == before) {
            return size;
        }
    }
    return data;
}

// Each byte equals the one before it, and the first is zero.
bool is_zero(std::span<const std::byte> bytes) {
    return bytes.front() == std::byte{0} &&
           std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
}

Result<void> sweep(Disk& disk, const SweepPlan& plan) {
    return Sweep(disk, plan).run();
}

}  // namespace signpost
