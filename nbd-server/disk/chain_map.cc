// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/disk/chain_map.h"

#include <algorithm>
#include <utility>

namespace signpost {

namespace {

using Kind = ImageRun::Kind;

constexpr std::uint64_t kEntriesOfLeaf = 1024;
constexpr std::uint64_t kPlainGranule = 64 * 1024;
constexpr std::size_t kMostRuns = 256 * 1024;  // in all leaves: some 10 MB

// A leaf has at most some thousand runs, whatever is in the tables.
std::uint64_t leaf_bytes_of(const std::vector<ChainFile>& files) {
    std::uint64_t granule = kPlainGranule;
    for (const ChainFile& file : files) {
        if (file.tables) {
            granule = std::min(granule, file.tables->granule());
        }
    }
    return granule * kEntriesOfLeaf;
}

ImageRun run(Kind kind, std::uint64_t begin, std::uint64_t end) {
    return {.kind = kind, .begin = begin, .end = end};
}

}  // namespace

ChainMap::ChainMap(std::vector<ChainFile> files)
    : files_(std::move(files)), size_(files_.front().size), leaf_bytes_(leaf_bytes_of(files_)) {}

ChainMap::LeafPtr ChainMap::known(std::uint64_t offset) {
    const std::lock_guard lock(mutex_);
    const auto found = leaves_.find(offset / leaf_bytes_);
    if (found == leaves_.end()) {
        return nullptr;
    }
    uses_.splice(uses_.begin(), uses_, found->second.use);
    return found->second.leaf;
}

Result<ChainMap::LeafPtr> ChainMap::leaf(std::uint64_t offset) {
    if (auto leaf = known(offset)) {
        return leaf;
    }
    const std::uint64_t index = offset / leaf_bytes_;
    auto leaf = read(index * leaf_bytes_, std::min(size_, (index + 1) * leaf_bytes_));
    if (!leaf) {
        return std::unexpected(leaf.error());
    }
    auto kept = std::make_shared<const Leaf>(std::move(*leaf));
    keep(index, kept);
    return kept;
}

void ChainMap::keep(std::uint64_t index, const LeafPtr& leaf) {
    const std::lock_guard lock(mutex_);
    if (leaves_.contains(index)) {
        return;
    }
    uses_.push_front(index);
    leaves_.emplace(index, Kept{leaf, uses_.begin()});
    runs_ += leaf->size();
    while (runs_ > kMostRuns && uses_.size() > 1) {
        const auto oldest = leaves_.find(uses_.back());
        runs_ -= oldest->second.leaf->size();
        leaves_.erase(oldest);
        uses_.pop_back();
    }
}

// What one file does not have is asked of the next one.
Result<ChainMap::Leaf> ChainMap::read(std::uint64_t begin, std::uint64_t end) const {
    Leaf found;
    std::vector<ImageRun> wanted{run(Kind::absent, begin, end)};
    for (std::uint16_t file = 0; file < files_.size() && !wanted.empty(); ++file) {
        std::vector<ImageRun> absent;
        if (auto resolved = resolve(file, wanted, found, absent); !resolved) {
            return std::unexpected(resolved.error());
        }
        wanted = std::move(absent);
    }
    for (ImageRun& rest : wanted) {
        rest.kind = Kind::zero;
        found.push_back(rest);
    }
    std::ranges::sort(found, {}, &ImageRun::begin);
    Leaf leaf;
    for (ImageRun& part : found) {
        // Whose zeroes they are does not matter.
        part.file = part.kind == Kind::zero ? std::uint16_t{0} : part.file;
        append_run(leaf, part);
    }
    return leaf;
}

Result<void> ChainMap::resolve(std::uint16_t file, const std::vector<ImageRun>& wanted, Leaf& found,
                               std::vector<ImageRun>& absent) const {
    const ChainFile& image = files_[file];
    const std::uint64_t begin = wanted.front().begin;
    const std::uint64_t end = wanted.back().end;
    const std::uint64_t until = std::clamp(image.size, begin, end);
    std::vector<ImageRun> parts;
    if (image.tables && until > begin) {
        if (auto looked = image.tables->look(begin, until, file, parts); !looked) {
            return looked;
        }
    } else if (until > begin) {
        parts.push_back(
            {.kind = Kind::data, .file = file, .begin = begin, .end = until, .at = begin});
    }
    // Behind the end of a shorter file there are zeroes.
    append_run(parts, run(Kind::zero, until, end));
    for (const ImageRun& want : wanted) {
        for (const ImageRun& part : runs_between(parts, want.begin, want.end)) {
            append_run(part.kind == Kind::absent ? absent : found, part);
        }
    }
    return {};
}

}  // namespace signpost
