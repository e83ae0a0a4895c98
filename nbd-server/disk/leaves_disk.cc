// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/leaves_disk.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <tuple>

namespace signpost {

namespace {

constexpr std::uint64_t kLeafBytes = std::tuple_size_v<DigestTree::ChunkDigest>;
constexpr std::uint64_t kRunBytes = DigestStore::kRun * kLeafBytes;

class LeavesDisk final : public Disk {
   public:
    LeavesDisk(DigestStore& store, std::int64_t id, std::uint64_t size) : store_(store), id_(id) {
        traits_.size = chunk_count(size) * kLeafBytes;
        traits_.description = fmt::format("digests of {} chunks", chunk_count(size));
    }

    const DiskTraits& traits() const override { return traits_; }

   private:
    void start(Request& request) override { request.done(request, run(request)); }

    int run(Request& request) {
        if (request.op == Op::extents) {
            *request.extents = {Extent{request.length, 0}};
        }
        return request.op == Op::read ? read(request) : 0;
    }

    int read(const Request& request) {
        for (std::uint64_t done = 0; done < request.length;) {
            const std::uint64_t at = request.offset + done;
            const std::uint64_t skip = at % kRunBytes;
            const auto run = store_.leaves(id_, (at - skip) / kLeafBytes);
            if (!run || run->size() * kLeafBytes <= skip) {
                return EIO;
            }
            const auto bytes = std::as_bytes(std::span(*run)).subspan(skip);
            const auto take = std::min<std::uint64_t>(bytes.size(), request.length - done);
            std::memcpy(request.buffer + done, bytes.data(), take);
            done += take;
        }
        return 0;
    }

    DigestStore& store_;
    const std::int64_t id_;
    DiskTraits traits_;
};

}  // namespace

std::shared_ptr<Disk> make_leaves_disk(DigestStore& store, const DigestStore::Entry& entry,
                                       std::uint64_t size) {
    return std::make_shared<LeavesDisk>(store, entry.id, size);
}

}  // namespace signpost
