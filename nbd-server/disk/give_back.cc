// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/disk/give_back.h"

#include <algorithm>
#include <map>
#include <utility>

#include "catalog/store_rules.h"

namespace signpost {

namespace {

constexpr std::size_t kPage = 1000;
// As a rule a catalog has lost everything or nothing: so few look-ups tell.
constexpr std::size_t kSamples = 64;

using Candidates = std::vector<DiskRecord>;  // each with our location alone

const Location* location_at(const DiskRecord& disk, const std::string& server) {
    const auto found = std::ranges::find(disk.locations, server, &Location::server);
    return found == disk.locations.end() ? nullptr : &*found;
}

Result<Candidates> unchanged_in(Catalog& stubs, const std::string& server,
                                const std::vector<Image>& images) {
    std::map<std::string_view, const Image*> held;
    for (const Image& image : images) {
        held.emplace(image.name.str(), &image);
    }
    Candidates candidates;
    std::string after;
    for (;;) {
        auto page = stubs.list("", after, kPage);
        if (!page) {
            return std::unexpected(std::move(page.error()));
        }
        for (const DiskRecord& disk : *page) {
            const Location* const ours = location_at(disk, server);
            const auto image = held.find(disk.name.str());
            if (ours != nullptr && image != held.end() &&
                compare(*image->second, *ours) != ImageChange::content) {
                candidates.push_back({disk.name, {*ours}});
            }
        }
        if (page->size() < kPage) {
            return candidates;
        }
        after = page->back().name.str();
    }
}

Result<bool> is_lost(Catalog& live, const DiskRecord& candidate) {
    auto there = live.find(candidate.name);
    if (!there) {
        return std::unexpected(std::move(there.error()));
    }
    const Location& ours = candidate.locations.front();
    const Location* const known = *there ? location_at(**there, ours.server) : nullptr;
    return known == nullptr || known->generation < ours.generation;
}

Result<bool> any_is_lost(Catalog& live, const Candidates& candidates) {
    const std::size_t step = std::max<std::size_t>(1, candidates.size() / kSamples);
    for (std::size_t i = 0; i < candidates.size(); i += step) {
        auto lost = is_lost(live, candidates[i]);
        if (!lost || *lost) {
            return lost;
        }
    }
    return false;
}

Result<void> put_back(Catalog& live, Restoration& piece, std::uint64_t& count) {
    if (piece.disks.empty()) {
        return {};
    }
    if (auto restored = live.restore(piece); !restored) {
        return restored;
    }
    count += piece.disks.size();
    piece.disks.clear();
    return {};
}

}  // namespace

Result<std::uint64_t> give_back(Catalog& live, Catalog& stubs, const std::string& server,
                                const std::vector<Image>& images) {
    const auto candidates = unchanged_in(stubs, server, images);
    if (!candidates) {
        return std::unexpected(candidates.error());
    }
    const auto lost = any_is_lost(live, *candidates);
    const auto newest = stubs.newest_generation();
    if (!lost || !newest) {
        return std::unexpected(lost ? newest.error() : lost.error());
    }
    std::uint64_t count = 0;
    Restoration piece{.only_of = server, .generation_floor = *newest};
    for (std::size_t i = 0; *lost && i < candidates->size(); ++i) {
        const auto needed = is_lost(live, (*candidates)[i]);
        if (!needed) {
            return std::unexpected(needed.error());
        }
        if (*needed) {
            piece.disks.push_back((*candidates)[i]);
        }
        if (piece.disks.size() == kPage) {
            if (auto put = put_back(live, piece, count); !put) {
                return std::unexpected(put.error());
            }
        }
    }
    if (auto put = put_back(live, piece, count); !put) {
        return std::unexpected(put.error());
    }
    return count;
}

}  // namespace signpost
