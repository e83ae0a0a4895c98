// SPDX-License-Identifier: BSD-3-Clause
//
// What a cache reads that others may have written: boot profiles of the catalog, and the rows of
// its own index. The first byte says which.

#include <stdlib.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "nbd-server/disk/boot_profile.h"
#include "nbd-server/disk/cached_content.h"

namespace {

using namespace signpost;

void require(bool holds) {
    if (!holds)
        abort();
}

class NoLog final : public Log {
    void error(std::string_view) override {}
    void info(std::string_view) override {}
    void debug(std::string_view) override {}
};

void check_profile(std::string_view text) {
    const auto profile = BootProfile::parse(text);
    if (!profile)
        return;
    std::uint64_t at = 0;
    std::uint64_t bytes = 0;
    for (const ReadRange& range : profile->ranges) {
        require(range.offset >= at && range.length > 0);
        require(range.offset <= profile->disk_size &&
                range.length <= profile->disk_size - range.offset);
        at = range.offset + range.length;
        bytes += range.length;
    }
    require(bytes <= BootProfile::kMostBytes);
    require(BootProfile::parse(profile->text()) == profile);
}

// An index of no use: nothing is stored, and no block is ever proven by it.
CacheIndex& index_of_none() {
    static NoLog log;
    static const auto index = [] {
        std::string directory = "/tmp/signpost-fuzz-XXXXXX";
        require(mkdtemp(directory.data()) != nullptr);
        return std::move(*CacheIndex::open(directory + "/cache.db", log));
    }();
    return *index;
}

template <class T>
T take(std::string_view& bytes) {
    T value{};
    const std::size_t size = std::min(sizeof value, bytes.size());
    std::memcpy(&value, bytes.data(), size);
    bytes.remove_prefix(size);
    return value;
}

void check_rows(std::string_view bytes) {
    static NoLog log;
    CachedContent::Commons commons{"/nonexistent", index_of_none(), log};
    const std::uint64_t size = 1 + take<std::uint64_t>(bytes) % (std::uint64_t{1} << 62);
    CachedContent content(commons, {.id = 1, .key = "k", .disk = "d", .size = size});
    while (!bytes.empty()) {
        CacheIndex::Chunk chunk;
        chunk.content = 1;
        chunk.index = take<std::uint64_t>(bytes);
        const auto present = BlockBits::from(bytes.substr(0, BlockBits::kBytes));
        bytes.remove_prefix(std::min(bytes.size(), BlockBits::kBytes));
        const auto zero = BlockBits::from(bytes.substr(0, BlockBits::kBytes));
        bytes.remove_prefix(std::min(bytes.size(), BlockBits::kBytes));
        chunk.present = present.value_or(BlockBits());
        chunk.zero = zero.value_or(BlockBits());
        content.load(chunk);
        const std::uint64_t begin = chunk.index % size;
        const std::uint64_t end = begin + std::min<std::uint64_t>(size - begin, 3 << 20);
        std::vector<ReadPart> parts;
        require(!content.locate_now(begin, end - begin, parts));  // nothing is proven
        for (std::uint64_t at = begin; at < end;) {
            const auto seen = content.look({at, end, kCacheBlock, false}, nullptr);
            require(seen.length > 0 && seen.length <= end - at);
            require(seen.kind == CachedContent::Seen::Kind::missing ||
                    seen.kind == CachedContent::Seen::Kind::to_prove ||
                    seen.kind == CachedContent::Seen::Kind::unproven);
            require(!seen.flight || (seen.flight->begin <= at && seen.flight->end() <= size &&
                                     seen.flight->end() >= at + seen.length));
            at += seen.length;
        }
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0)
        return 0;
    const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
    if (data[0] % 2 == 0)
        check_profile(text);
    else
        check_rows(text);
    return 0;
}
