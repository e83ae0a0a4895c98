// SPDX-License-Identifier: BSD-3-Clause
//
// A ring of slots, one chunk of the digest tree each. Slots are filled in any order, as replies
// come, and hashed in the order of the disk: the oldest slot is hashed as soon as it is full and
// then takes the next chunk. So memory is kSlots chunks, whatever the disk's size and the server's
// manners.

#include "cli/location_digest.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>

#include "nbd-server/disk/digest_tree.h"

namespace signpost {

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::uint64_t kChunk = DigestTree::kChunkBytes;
constexpr std::size_t kSlots = 8;
constexpr std::uint64_t kRequestBytes = 1024 * 1024;
constexpr std::uint64_t kSmallestRequest = 64 * 1024;
constexpr std::uint64_t kMapBytes = 256 * kChunk;  // one question to the allocation map

struct Slot {
    std::vector<std::byte> bytes;
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
    unsigned pending = 0;  // requests without a reply
    bool zero = false;
};

// Which chunks of a stretch of the disk are zero from end to end.
struct ZeroMap {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
    std::array<std::uint64_t, kMapBytes / kChunk> zero_bytes{};

    bool covers(std::uint64_t offset) const { return offset >= begin && offset < end; }
    bool all_zero(std::uint64_t offset, std::uint64_t length) const {
        return zero_bytes[(offset - begin) / kChunk] == length;
    }
};

class Reader {
 public:
    Reader(PeerConnection& connection, const DigestPlan& plan, DigestTree tree)
        : connection_(connection),
          plan_(plan),
          tree_(std::move(tree)),
          use_map_(plan.trust_map && plan.facts.allocation),
          request_bytes_(plan.facts.maximum_payload == 0
                             ? kRequestBytes
                             : std::clamp<std::uint64_t>(plan.facts.maximum_payload,
                                                         kSmallestRequest, kRequestBytes)) {}

    Result<DigestReading> run();

 private:
    Result<void> fill(Slot& slot);
    Result<void> request(Slot& slot);
    Result<void> hash_oldest();
    Result<void> ask_map(std::uint64_t offset);
    Result<void> wait_reply();
    void note_runs(const std::vector<PeerConnection::Run>& runs);

    PeerConnection& connection_;
    const DigestPlan& plan_;
    DigestTree tree_;
    DigestTree::Leaves leaves_;
    bool use_map_;
    std::uint64_t request_bytes_;
    std::array<Slot, kSlots> slots_;
    std::uint64_t next_ = 0;    // first byte that no slot has taken
    std::uint64_t hashed_ = 0;  // first byte that the tree does not have
    std::uint64_t bytes_read_ = 0;
    std::uint64_t replies_ = 0;
    steady_clock::time_point last_reply_ = steady_clock::now();
    std::optional<Error> read_error_;
    ZeroMap map_;
    bool map_answered_ = false;
};

Result<DigestReading> Reader::run() {
    const std::uint64_t size = plan_.facts.size;
    while (hashed_ < size) {
        while (next_ < size && next_ - hashed_ < kSlots * kChunk) {
            if (const auto filled = fill(slots_[next_ / kChunk % kSlots]); !filled) {
                return std::unexpected(filled.error());
            }
        }
        if (const auto done = hash_oldest(); !done) {
            return std::unexpected(done.error());
        }
    }
    auto digest = tree_.finish();
    if (!digest) {
        return std::unexpected(digest.error());
    }
    return DigestReading{std::move(*digest), std::move(leaves_), bytes_read_};
}

Result<void> Reader::fill(Slot& slot) {
    slot.offset = next_;
    slot.length = std::min(kChunk, plan_.facts.size - next_);
    slot.zero = false;
    if (use_map_ && !map_.covers(slot.offset)) {
        if (const auto asked = ask_map(slot.offset); !asked) {
            return asked;
        }
    }
    next_ += slot.length;
    if (use_map_ && map_.covers(slot.offset) && map_.all_zero(slot.offset, slot.length)) {
        slot.zero = true;
        return {};
    }
    return request(slot);
}

Result<void> Reader::request(Slot& slot) {
    slot.bytes.resize(slot.length);
    for (std::uint64_t begin = 0; begin < slot.length; begin += request_bytes_) {
        const std::uint64_t length = std::min(request_bytes_, slot.length - begin);
        ++slot.pending;
        const auto done = [this, &slot, begin, length](int error) {
            --slot.pending;
            ++replies_;
            bytes_read_ += length;
            if (error != 0 && !read_error_) {
                read_error_ = Error{
                    error == ENOTCONN ? Errc::unavailable : Errc::io,
                    fmt::format("read at byte {}: {}", slot.offset + begin, std::strerror(error))};
            }
        };
        const auto started = connection_.start_read(std::span(slot.bytes).subspan(begin, length),
                                                    slot.offset + begin, done);
        if (!started) {
            return started;
        }
    }
    return {};
}

Result<void> Reader::wait_reply() {
    const std::uint64_t before = replies_;
    while (replies_ == before) {
        const auto idle = std::chrono::ceil<milliseconds>(steady_clock::now() - last_reply_);
        if (idle >= plan_.stall) {
            return fail(Errc::unavailable, fmt::format("no progress for {} s at byte {}",
                                                       plan_.stall.count() / 1000, hashed_));
        }
        const auto turned = connection_.turn(plan_.stall - idle);
        if (!turned) {
            return turned;
        }
        if (read_error_) {
            return std::unexpected(*read_error_);
        }
    }
    last_reply_ = steady_clock::now();
    return {};
}

Result<void> Reader::hash_oldest() {
    Slot& slot = slots_[hashed_ / kChunk % kSlots];
    while (slot.pending > 0) {
        if (const auto waited = wait_reply(); !waited) {
            return waited;
        }
    }
    if (read_error_) {
        return std::unexpected(*read_error_);
    }
    const auto added = slot.zero ? tree_.add_zero_chunk() : tree_.add(slot.bytes);
    if (!added) {
        return added;
    }
    leaves_.push_back(tree_.last());
    hashed_ += slot.length;
    last_reply_ = steady_clock::now();  // our own hashing is no silence of the server's
    if (plan_.progress) {
        plan_.progress(hashed_);
    }
    return {};
}

void Reader::note_runs(const std::vector<PeerConnection::Run>& runs) {
    std::uint64_t known = map_.begin;
    for (const auto& run : runs) {
        if (run.offset != known || run.length == 0 || run.length > map_.end - known) {
            break;  // gaps, or beyond what was asked: believe what came before
        }
        const std::uint64_t end = run.offset + run.length;
        for (std::uint64_t at = run.offset; run.zero && at < end;) {
            const std::uint64_t chunk = (at - map_.begin) / kChunk;
            const std::uint64_t stop = std::min(end, map_.begin + (chunk + 1) * kChunk);
            map_.zero_bytes[chunk] += stop - at;
            at = stop;
        }
        known = end;
    }
    // A chunk that is known in part is read; the next question begins behind it.
    const bool to_the_end = known == plan_.facts.size;
    const std::uint64_t whole = to_the_end ? known : known - (known - map_.begin) % kChunk;
    map_.end = std::max(whole, std::min(map_.begin + kChunk, plan_.facts.size));
}

Result<void> Reader::ask_map(std::uint64_t offset) {
    map_ = {.begin = offset, .end = offset + std::min(kMapBytes, plan_.facts.size - offset)};
    const auto done = [this](int error, const std::vector<PeerConnection::Run>& runs) {
        ++replies_;
        map_.zero_bytes.fill(0);
        if (error != 0) {
            use_map_ = false;
        } else {
            note_runs(runs);
        }
        map_answered_ = true;
    };
    map_answered_ = false;
    if (const auto asked = connection_.start_runs(offset, map_.end - offset, done); !asked) {
        return asked;
    }
    while (!map_answered_) {
        if (const auto waited = wait_reply(); !waited) {
            return waited;
        }
    }
    return {};
}

}  // namespace

Result<DigestReading> digest_export(PeerConnection& connection, const DigestPlan& plan) {
    auto tree = DigestTree::start(plan.facts.size);
    if (!tree) {
        return std::unexpected(tree.error());
    }
    Reader reader(connection, plan, std::move(*tree));
    auto reading = reader.run();
    if (!reading) {
        connection.close();  // before the slots go: replies may still be on their way into them
    }
    return reading;
}

}  // namespace signpost
