// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/disk/disk_difference.h"

#include <algorithm>
#include <cerrno>

#include "nbd-server/wire/protocol.h"

namespace signpost {

namespace {

constexpr std::size_t kMaxExtents = 4096;
constexpr unsigned kMaxRounds = 64;

int extents_as_origins(Disk& disk, std::uint64_t offset, std::uint64_t length,
                       std::vector<Origin>& found) {
    std::vector<Extent> extents;
    Request request;
    request.op = Op::extents;
    request.offset = offset;
    request.length = length;
    request.extents = &extents;
    const int error = submit_and_wait(disk, request);
    for (const Extent& extent : extents) {
        found.push_back({.length = std::min(extent.length, length),
                         .zero = (extent.flags & wire::kStateZero) != 0});
        length -= found.back().length;
        if (length == 0) {
            break;
        }
    }
    return error;
}

// What a disk has from a place on, asked for piece by piece.
class Origins {
   public:
    Origins(Disk& disk, std::uint64_t at) : disk_(disk), at_(at) {}

    // The next ones, to END at most. Null: they cannot be learned.
    Origin* next(std::uint64_t end) {
        if (index_ == found_.size()) {
            found_.clear();
            index_ = 0;
            error_ = list_origins(disk_, at_, end - at_, found_);
            if (error_ != 0 || found_.empty()) {
                error_ = error_ == 0 ? EIO : error_;
                return nullptr;
            }
            ++rounds_;
        }
        return &found_[index_];
    }

    void advance(std::uint64_t by) {
        at_ += by;
        found_[index_].advance(by);
        index_ += found_[index_].length == 0 ? 1 : 0;
    }

    int error() const { return error_; }
    unsigned rounds() const { return rounds_; }

   private:
    Disk& disk_;
    std::uint64_t at_;
    std::vector<Origin> found_;
    std::size_t index_ = 0;
    int error_ = 0;
    unsigned rounds_ = 0;
};

bool add(std::vector<Extent>& extents, std::uint64_t length, bool differs) {
    const std::uint32_t flags = differs ? kDiffers : 0;
    if (!extents.empty() && extents.back().flags == flags) {
        extents.back().length += length;
        return true;
    }
    if (extents.size() == kMaxExtents) {
        return false;
    }
    extents.push_back({.length = length, .flags = flags});
    return true;
}

}  // namespace

bool Origin::same_as(const Origin& other) const {
    const bool same_place = in_file && other.in_file && device == other.device &&
                            inode == other.inode && at == other.at && packed == other.packed &&
                            skip == other.skip;
    return same_place || (zero && other.zero);
}

void Origin::advance(std::uint64_t by) {
    length -= by;
    at += packed ? 0 : by;
    skip += packed ? static_cast<std::uint32_t>(by) : 0;
}

int list_origins(Disk& disk, std::uint64_t offset, std::uint64_t length,
                 std::vector<Origin>& found) {
    auto* teller = dynamic_cast<OriginTeller*>(&disk);
    return teller != nullptr ? teller->origins(offset, length, found)
                             : extents_as_origins(disk, offset, length, found);
}

int list_differences(Disk& disk, Disk& other, std::uint64_t offset, std::uint64_t length,
                     std::vector<Extent>& extents) {
    extents.clear();
    const std::uint64_t end = offset + length;
    const std::uint64_t both = std::clamp(other.traits().size, offset, end);
    Origins here(disk, offset);
    Origins there(other, offset);
    std::uint64_t at = offset;
    while (at < both && here.rounds() + there.rounds() < kMaxRounds) {
        const Origin* one = here.next(both);
        const Origin* two = one == nullptr ? nullptr : there.next(both);
        if (two == nullptr) {
            return one == nullptr ? here.error() : there.error();
        }
        const std::uint64_t part = std::min({one->length, two->length, both - at});
        if (!add(extents, part, !one->same_as(*two))) {
            break;
        }
        here.advance(part);
        there.advance(part);
        at += part;
    }
    if (at == both && both < end) {
        add(extents, end - both, true);
    }
    const ReadRange range{offset, std::max<std::uint64_t>(at - offset, 1)};
    const bool hold =
        disk.content_holds({&range, 1}) && (both == offset || other.content_holds({&range, 1}));
    return hold ? 0 : EIO;
}

}  // namespace signpost
