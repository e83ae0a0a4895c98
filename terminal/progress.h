// SPDX-License-Identifier: BSD-3-Clause
//
// A progress line on standard error for work that lasts: only on a terminal, only after two
// seconds, a few times a second, gone when the work is done.
//
// Lifetime: the console outlives it. Threads: one.

#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "terminal/console.h"

namespace signpost {

class Progress {
   public:
    Progress(Console& console, std::string what, std::uint64_t bytes);
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;
    ~Progress();

    void reached(std::uint64_t bytes);

   private:
    using Clock = std::chrono::steady_clock;

    Console& console_;
    std::string what_;
    std::uint64_t bytes_;
    Clock::time_point start_ = Clock::now();
    Clock::time_point shown_ = start_;
};

// "web01/vda on beta  [#####...........] 31 %  12/40 GiB  410 MiB/s  ETA 1:36"
std::string progress_line(std::string_view what, std::uint64_t done, std::uint64_t all,
                          std::chrono::milliseconds passed);

// The same for work that was begun before: MOVED bytes of DONE were done in the time that PASSED.
std::string progress_line(std::string_view what, std::uint64_t done, std::uint64_t all,
                          std::chrono::milliseconds passed, std::uint64_t moved);

}  // namespace signpost
