// SPDX-License-Identifier: BSD-3-Clause
//
// A BootProfile is what clients read of a disk in the first two minutes: when a machine starts from
// it, much the same each time. A server that has seen it tells the others by way of the catalog, as
// a text; whoever opens the disk next has these blocks fetched before they are asked for.
//
// A hint: what a text says is bounded, and costs traffic at worst.
//
// Values. One thread at a time.

#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "nbd-server/disk/block_bits.h"
#include "nbd-server/disk/disk.h"

namespace signpost {

struct BootProfile {
    static constexpr std::uint64_t kMostBytes = std::uint64_t{1} << 30;
    static constexpr std::size_t kMostText = 64 * 1024;

    std::uint64_t disk_size = 0;
    std::vector<ReadRange> ranges;  // whole blocks, in order, apart

    // Nothing when it is no such text, or its ranges do not fit into the disk or the bound.
    static std::optional<BootProfile> parse(std::string_view text);

    // Of at most kMostText bytes: if need be ranges that are near each other become one.
    std::string text() const;

    bool operator==(const BootProfile&) const = default;
};

// Notes reads until it has seen enough.
class BootRecorder {
   public:
    explicit BootRecorder(std::uint64_t disk_size) : disk_size_(disk_size) {}

    // Within the disk.
    void note(std::uint64_t offset, std::uint64_t length);

    // Nothing when too little or too much was read for a start.
    std::optional<BootProfile> profile() const;

   private:
    static constexpr std::uint64_t kLeastBytes = std::uint64_t{1} << 20;

    std::uint64_t disk_size_;
    std::uint64_t bytes_ = 0;
    std::map<std::uint64_t, BlockBits> read_;  // by chunk
};

}  // namespace signpost
