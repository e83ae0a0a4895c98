// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/disk/backup_disk.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "nbd-server/disk/chain_disk.h"
#include "nbd-server/disk/file_extent.h"
#include "nbd-server/disk/image_file.h"
#include "nbd-server/disk/image_fingerprint.h"

namespace signpost {

namespace {

constexpr std::size_t kKeptPieces = 4 << 20;  // some 100 MB
constexpr std::size_t kKeptIndexes = 4096;
constexpr unsigned kMostReading = 4;  // opens of other disks need threads, too
constexpr std::chrono::seconds kPatience{2};
// Programs that copy read at four places at the same time, and the usual block has 32 MiB.
constexpr std::size_t kUnpackedMost = 160 << 20;
constexpr std::uint64_t kGranule = 64 << 10;  // what QEMU's bitmaps count

class BackupTables final : public ImageTables {
   public:
    BackupTables(int fd, BackupIndexes::Index index) : fd_(fd), index_(std::move(index)) {}

    std::uint64_t granule() const override { return kGranule; }

    Result<void> look(std::uint64_t begin, std::uint64_t end, std::uint16_t file,
                      std::vector<ImageRun>& runs) const override {
        index_->look(begin, end, file, runs);
        return {};
    }

    Result<std::vector<std::byte>> unpack(const ImageRun& run) const override {
        std::vector<std::byte> from(run.packed_bytes);
        const auto got = read_up_to(fd_, run.at, from);
        if (!got) {
            return std::unexpected(got.error());
        }
        from.resize(*got);
        auto bytes = unpack_lz4(from, run.unpacked_bytes);
        if (!bytes) {
            return fail(Errc::io, fmt::format("has a compressed block at {} that {}", run.at,
                                              bytes.error().message));
        }
        return bytes;
    }

   private:
    const int fd_;
    const BackupIndexes::Index index_;
};

Result<BackupIndex> read_index(int fd) {
    struct stat status {};
    if (::fstat(fd, &status) != 0) {
        return fail(Errc::io, "cannot be examined");
    }
    const auto bytes = image_bytes(fd, static_cast<std::uint64_t>(status.st_size));
    const auto meta = read_backup_meta(bytes);
    return meta ? BackupIndex::read(bytes, *meta) : std::unexpected(meta.error());
}

}  // namespace

std::shared_ptr<BackupIndexes::Kept> BackupIndexes::find(const std::string& state) {
    const auto found =
        std::ranges::find(kept_, state, [](const auto& kept) { return kept->state; });
    if (found == kept_.end()) {
        kept_.push_front(std::make_shared<Kept>());
        kept_.front()->state = state;
    } else {
        kept_.splice(kept_.begin(), kept_, found);
    }
    return kept_.front();
}

void BackupIndexes::drop_oldest() {
    std::size_t pieces = 0;
    for (const auto& kept : kept_) {
        pieces += kept->index ? kept->index->pieces() : 0;
    }
    while (kept_.size() > 1 && (pieces > kKeptPieces || kept_.size() > kKeptIndexes)) {
        pieces -= kept_.back()->index ? kept_.back()->index->pieces() : 0;
        kept_.pop_back();
    }
}

Result<BackupIndexes::Index> BackupIndexes::get(int fd) {
    const auto state = image_fingerprint({&fd, 1}, false);
    if (!state) {
        return std::unexpected(state.error());
    }
    std::unique_lock lock(mutex_);
    const auto kept = find(*state);
    const auto may_go_on = [&] {
        return kept->index || (!kept->reading && reading_ < kMostReading);
    };
    if (!ended_.wait_for(lock, kPatience, may_go_on)) {
        return fail(Errc::unavailable,
                    "is being read for the first time, which takes a while: try again");
    }
    if (kept->index) {
        return kept->index;
    }
    kept->reading = true;
    ++reading_;
    lock.unlock();
    auto read = read_index(fd);
    lock.lock();
    kept->reading = false;
    --reading_;
    ended_.notify_all();
    if (!read) {
        return std::unexpected(read.error());
    }
    kept->index = std::make_shared<const BackupIndex>(std::move(*read));
    drop_oldest();
    return kept->index;
}

Result<std::shared_ptr<Disk>> make_backup_disk(OpenImage image, BackupIndexes& indexes, Log& log) {
    std::size_t pieces = 0;
    const auto read_tables = [&](const ImageFile& file) -> Result<ChainFile> {
        auto index = indexes.get(file.fd.get());
        if (!index) {
            return std::unexpected(index.error());
        }
        pieces += (*index)->pieces();
        if (pieces > BackupIndex::kMostPieces) {
            return fail(Errc::invalid, fmt::format("it and what is based on it have more than {} "
                                                   "parts",
                                                   BackupIndex::kMostPieces));
        }
        const std::uint64_t size = (*index)->size();
        return ChainFile{
            .fd = file.fd.get(),
            .size = size,
            .tables = std::make_shared<BackupTables>(file.fd.get(), std::move(*index))};
    };
    return make_chain_disk(std::move(image),
                           {.read_tables = read_tables,
                            .unpacked_most = kUnpackedMost,
                            .unpacked_budget = indexes.budget()},
                           log);
}

}  // namespace signpost
