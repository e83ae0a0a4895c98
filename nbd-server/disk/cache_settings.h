// SPDX-License-Identifier: BSD-3-Clause
//
// What an operator says of the cache of what is relayed. Values; threads: any.

#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace signpost {

struct CacheSettings {
    std::string directory;                            // empty: no cache
    std::uint64_t size = std::uint64_t{10} << 30;     // bytes that contents may take
    std::uint64_t fill_rate = 0;                      // bytes per second, of all disks; 0: none
    std::uint64_t memory = std::uint64_t{256} << 20;  // of flights that are not durable yet
    std::chrono::milliseconds pause{std::chrono::seconds(30)};  // after a failure of the storage
};

inline constexpr std::uint64_t kLeastCacheSize = std::uint64_t{64} << 20;

}  // namespace signpost
