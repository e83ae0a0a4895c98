// SPDX-License-Identifier: BSD-3-Clause

#include "terminal/progress.h"

#include <fmt/format.h>

#include <algorithm>

#include "nbd-server/disk/disk_description.h"

namespace signpost {

namespace {

constexpr std::chrono::seconds kQuiet{2};
constexpr std::chrono::milliseconds kInterval{200};
constexpr std::size_t kBarPlaces = 16;

}  // namespace

Progress::Progress(Console& console, std::string what, std::uint64_t bytes)
    : console_(console), what_(std::move(what)), bytes_(bytes) {}

Progress::~Progress() {
    console_.progress("");
}

void Progress::reached(std::uint64_t bytes) {
    const auto now = Clock::now();
    if (!console_.shows_progress() || now - start_ < kQuiet || now - shown_ < kInterval) {
        return;
    }
    shown_ = now;
    const auto passed = std::chrono::duration_cast<std::chrono::milliseconds>(now - start_);
    console_.progress(progress_line(what_, bytes, bytes_, passed));
}

std::string progress_line(std::string_view what, std::uint64_t done, std::uint64_t all,
                          std::chrono::milliseconds passed) {
    return progress_line(what, done, all, passed, done);
}

std::string progress_line(std::string_view what, std::uint64_t done, std::uint64_t all,
                          std::chrono::milliseconds passed, std::uint64_t moved) {
    const double share =
        all == 0 ? 1.0 : std::min(1.0, static_cast<double>(done) / static_cast<double>(all));
    const auto filled = static_cast<std::size_t>(share * kBarPlaces);
    const double seconds = std::max(static_cast<double>(passed.count()) / 1000, 0.001);
    const double rate = static_cast<double>(moved) / seconds;
    const double rest = rate > 0 ? static_cast<double>(all - std::min(done, all)) / rate : 0;
    const auto left = static_cast<std::uint64_t>(std::min(rest, 359999.0));
    return fmt::format("{}  [{}{}] {} %  {} of {}  {}/s  ETA {}:{:02}", what,
                       std::string(filled, '#'), std::string(kBarPlaces - filled, '.'),
                       static_cast<int>(share * 100), size_for_people(done), size_for_people(all),
                       size_for_people(static_cast<std::uint64_t>(rate)), left / 60, left % 60);
}

}  // namespace signpost
