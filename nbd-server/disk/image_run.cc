// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/disk/image_run.h"

#include <algorithm>

namespace signpost {

namespace {

using Kind = ImageRun::Kind;

// What follows it in the file follows it on the disk.
bool continues(const ImageRun& last, const ImageRun& run) {
    if (last.kind != run.kind || last.file != run.file || last.end != run.begin) {
        return false;
    }
    switch (run.kind) {
        case Kind::data:
            return last.at + last.length() == run.at;
        case Kind::packed:
            return last.at == run.at && last.skip + last.length() == run.skip;
        default:
            return true;
    }
}

}  // namespace

void append_run(std::vector<ImageRun>& runs, const ImageRun& run) {
    if (run.begin == run.end) {
        return;
    }
    if (!runs.empty() && continues(runs.back(), run)) {
        runs.back().end = run.end;
    } else {
        runs.push_back(run);
    }
}

std::vector<ImageRun> runs_between(const std::vector<ImageRun>& runs, std::uint64_t begin,
                                   std::uint64_t end) {
    std::vector<ImageRun> between;
    auto at = std::ranges::upper_bound(runs, begin, {}, &ImageRun::end);
    for (; at != runs.end() && at->begin < end; ++at) {
        ImageRun run = *at;
        run.begin = std::max(run.begin, begin);
        run.end = std::min(run.end, end);
        const std::uint64_t cut = run.begin - at->begin;
        run.at += run.kind == Kind::data ? cut : 0;
        run.skip += run.kind == Kind::packed ? static_cast<std::uint32_t>(cut) : 0;
        between.push_back(run);
    }
    return between;
}

}  // namespace signpost
