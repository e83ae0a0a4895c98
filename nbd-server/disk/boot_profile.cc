// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/boot_profile.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace signpost {

namespace {

// "1 DISK-SIZE SKIP+COUNT SKIP+COUNT …", numbers of blocks in base 36.
constexpr std::string_view kVersion = "1";
constexpr int kBase = 36;

std::uint64_t blocks_of(std::uint64_t bytes) {
    return (bytes + kCacheBlock - 1) / kCacheBlock;
}

void put_number(std::string& text, std::uint64_t number) {
    char digits[16];
    const auto end = std::to_chars(digits, digits + sizeof digits, number, kBase).ptr;
    text.append(digits, end);
}

std::optional<std::uint64_t> take_number(std::string_view& text) {
    std::uint64_t number = 0;
    const auto [end, error] =
        std::from_chars(text.data(), text.data() + text.size(), number, kBase);
    if (error != std::errc() || end == text.data()) {
        return std::nullopt;
    }
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    return number;
}

bool take(std::string_view& text, std::string_view what) {
    if (!text.starts_with(what)) {
        return false;
    }
    text.remove_prefix(what.size());
    return true;
}

std::string text_of(std::uint64_t disk_size, const std::vector<ReadRange>& ranges) {
    std::string text = fmt::format("{} ", kVersion);
    put_number(text, disk_size);
    std::uint64_t at = 0;
    for (const ReadRange& range : ranges) {
        text += ' ';
        put_number(text, range.offset / kCacheBlock - at);
        text += '+';
        put_number(text, blocks_of(range.length));
        at = range.offset / kCacheBlock + blocks_of(range.length);
    }
    return text;
}

// Those that are no farther apart become one.
std::vector<ReadRange> joined(const std::vector<ReadRange>& ranges, std::uint64_t apart) {
    std::vector<ReadRange> result;
    for (const ReadRange& range : ranges) {
        if (!result.empty() &&
            range.offset - (result.back().offset + result.back().length) <= apart) {
            result.back().length = range.offset + range.length - result.back().offset;
        } else {
            result.push_back(range);
        }
    }
    return result;
}

}  // namespace

std::optional<BootProfile> BootProfile::parse(std::string_view text) {
    BootProfile profile;
    if (text.size() > kMostText || !take(text, kVersion) || !take(text, " ")) {
        return std::nullopt;
    }
    const auto size = take_number(text);
    if (!size || *size == 0 || *size > std::uint64_t{1} << 62) {
        return std::nullopt;
    }
    profile.disk_size = *size;
    const std::uint64_t blocks = blocks_of(*size);
    std::uint64_t at = 0;
    std::uint64_t left = kMostBytes / kCacheBlock;
    while (!text.empty()) {
        const bool begun = take(text, " ");
        const auto skip = begun ? take_number(text) : std::nullopt;
        const auto count = skip && take(text, "+") ? take_number(text) : std::nullopt;
        if (!count || *count == 0 || *skip > blocks - at || *count > blocks - at - *skip ||
            *count > left) {
            return std::nullopt;
        }
        const std::uint64_t begin = (at + *skip) * kCacheBlock;
        at += *skip + *count;
        left -= *count;
        profile.ranges.push_back({begin, std::min(at * kCacheBlock, *size) - begin});
    }
    return profile;
}

std::string BootProfile::text() const {
    std::vector<ReadRange> kept = ranges;
    std::string text = text_of(disk_size, kept);
    for (std::uint64_t apart = kCacheBlock; text.size() > kMostText; apart *= 2) {
        kept = joined(ranges, apart);
        text = text_of(disk_size, kept);
    }
    return text;
}

void BootRecorder::note(std::uint64_t offset, std::uint64_t length) {
    const std::uint64_t end = blocks_of(offset + length);
    for (std::uint64_t block = offset / kCacheBlock;
         block < end && bytes_ <= BootProfile::kMostBytes; ++block) {
        BlockBits& bits = read_[block / BlockBits::kBits];
        const auto bit = static_cast<unsigned>(block % BlockBits::kBits);
        bytes_ += bits.test(bit) ? 0 : kCacheBlock;
        bits.set(bit);
    }
}

std::optional<BootProfile> BootRecorder::profile() const {
    if (bytes_ < kLeastBytes || bytes_ > BootProfile::kMostBytes) {
        return std::nullopt;
    }
    BootProfile profile{.disk_size = disk_size_, .ranges = {}};
    for (const auto& [chunk, bits] : read_) {
        for (unsigned at = 0; at < BlockBits::kBits;) {
            const unsigned until = at + bits.run(at);
            if (bits.test(at)) {
                const std::uint64_t begin = chunk * kCacheChunk + at * kCacheBlock;
                const std::uint64_t end =
                    std::min(chunk * kCacheChunk + until * kCacheBlock, disk_size_);
                profile.ranges.push_back({begin, end - begin});
            }
            at = until;
        }
    }
    profile.ranges = joined(profile.ranges, 0);
    return profile;
}

}  // namespace signpost
