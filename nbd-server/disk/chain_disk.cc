// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/disk/chain_disk.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <bitset>
#include <cerrno>
#include <cstring>
#include <deque>
#include <utility>

#include "nbd-server/disk/beneath.h"
#include "nbd-server/disk/cached_pages.h"
#include "nbd-server/disk/content_guard.h"
#include "nbd-server/disk/disk_description.h"
#include "nbd-server/disk/disk_difference.h"
#include "nbd-server/disk/file_extent.h"
#include "nbd-server/disk/image_fingerprint.h"
#include "nbd-server/wire/protocol.h"

namespace signpost {

namespace {

using Kind = ImageRun::Kind;

constexpr std::size_t kMaxExtents = 1024;  // per request
constexpr std::uint64_t kMaxReadAhead = kMaxPayload;

// A file of the chain, with what is known of its pages and its content.
struct Member {
    Member(ImageFile opened, std::string label, Log& log)
        : file(std::move(opened)),
          name(std::move(label)),
          cached(file.fd.get()),
          guard(file.fd.get(), false, name, log) {
        struct stat status {};
        if (::fstat(file.fd.get(), &status) == 0) {
            device = status.st_dev;
            inode = status.st_ino;
        }
    }

    ImageFile file;
    std::string name;
    CachedPages cached;
    ContentGuard guard;
    std::uint64_t device = 0;
    std::uint64_t inode = 0;
};

class ChainDisk final : public Disk, public OriginTeller {
   public:
    ChainDisk(const OpenImage& image, std::deque<Member> members, std::vector<ChainFile> files,
              const ChainDiskTerms& terms, Log& log)
        : members_(std::move(members)),
          files_(std::move(files)),
          map_(files_),
          blocks_(terms.unpacked_most, terms.unpacked_budget),
          log_(log) {
        traits_.size = image.size;
        traits_.preferred_block = static_cast<std::uint32_t>(
            std::max<std::uint64_t>(4096, files_.front().tables->granule()));
        traits_.description = fmt::format("{} {}", size_for_people(image.size),
                                          to_string(members_.front().file.format));
    }

    const DiskTraits& traits() const override { return traits_; }

    Now read_now(std::uint64_t offset, std::span<std::byte> to) override {
        return each_known_run(offset, to.size(), [&](const ImageRun& run) {
            return copy_now(run, to.subspan(run.begin - offset, run.length()));
        });
    }

    Now locate_now(std::uint64_t offset, std::uint32_t length,
                   std::vector<ReadPart>& parts) override {
        const std::size_t before = parts.size();
        const Now end = each_known_run(offset, length, [&](const ImageRun& run) {
            ReadPart part;
            part.place = run.kind == Kind::data ? ReadPart::Place::file : ReadPart::Place::hole;
            part.offset = run.begin;
            part.at = run.at;
            part.length = static_cast<std::uint32_t>(run.length());
            if (run.kind == Kind::data) {
                Member& member = members_[run.file];
                part.file = member.file.fd.get();
                if (!member.cached.covers(part.at, part.length)) {
                    return false;
                }
            }
            parts.push_back(std::move(part));
            return run.kind == Kind::data || run.kind == Kind::zero;
        });
        if (end != Now::done) {
            parts.resize(before);
        }
        return end;
    }

    int origins(std::uint64_t offset, std::uint64_t length, std::vector<Origin>& found) override {
        const std::uint64_t end = std::min(offset + length, leaf_end(offset, offset + length));
        return each_run(offset, end - offset, [&](const ImageRun& run) {
            found.push_back(origin_of(run));
            return 0;
        });
    }

    // Of the files that the ranges come from; of all where that is not known any more.
    bool content_holds(std::span<const ReadRange> ranges) override {
        std::bitset<kMaxChainFiles> looked;
        bool good = true;
        for (const ReadRange& range : ranges) {
            const Now end = each_known_run(range.offset, range.length, [&](const ImageRun& run) {
                const bool counts = run.kind == Kind::data || run.kind == Kind::packed;
                if (counts && !looked[run.file]) {
                    looked.set(run.file);
                    good = good && members_[run.file].guard.holds();
                }
                return true;
            });
            if (end != Now::done) {
                return all_hold();
            }
        }
        return good;
    }

   private:
    // Gives USE the runs from OFFSET on while it says true. would_wait: it said false, or not all
    // of the map is at hand.
    template <class Use>
    Now each_known_run(std::uint64_t offset, std::uint64_t length, Use use) {
        const std::uint64_t end = offset + length;
        for (std::uint64_t at = offset; at < end;) {
            const auto leaf = map_.known(at);
            if (leaf == nullptr) {
                return Now::would_wait;
            }
            const std::uint64_t until = leaf_end(at, end);
            for (const ImageRun& run : runs_between(*leaf, at, until)) {
                if (!use(run)) {
                    return Now::would_wait;
                }
            }
            at = until;
        }
        return Now::done;
    }

    // The same, and waits. 0, or the error of USE or of the map.
    template <class Use>
    int each_run(std::uint64_t offset, std::uint64_t length, Use use) {
        const std::uint64_t end = offset + length;
        for (std::uint64_t at = offset; at < end;) {
            const auto leaf = map_.leaf(at);
            if (!leaf) {
                return failed(members_.front(), leaf.error().message);
            }
            const std::uint64_t until = leaf_end(at, end);
            for (const ImageRun& run : runs_between(**leaf, at, until)) {
                if (const int error = use(run); error != 0) {
                    return error;
                }
            }
            at = until;
        }
        return 0;
    }

    std::uint64_t leaf_end(std::uint64_t at, std::uint64_t end) const {
        return std::min(end, (at / map_.leaf_bytes() + 1) * map_.leaf_bytes());
    }

    bool copy_now(const ImageRun& run, std::span<std::byte> to) {
        switch (run.kind) {
            case Kind::data:
                return members_[run.file].cached.read(run.at, to);
            case Kind::zero:
                std::ranges::fill(to, std::byte{0});
                return true;
            case Kind::packed:
                if (const auto bytes = blocks_.known(run)) {
                    copy_from(*bytes, run, to);
                    return true;
                }
                return false;
            default:
                return false;
        }
    }

    static void copy_from(const std::vector<std::byte>& block, const ImageRun& run,
                          std::span<std::byte> to) {
        std::memcpy(to.data(), block.data() + run.skip, to.size());
    }

    void start(Request& request) override { request.done(request, run(request)); }

    int run(Request& request) {
        switch (request.op) {
            case Op::read:
                return read(request);
            case Op::flush:
                return 0;
            case Op::cache:
                return cache(request);
            case Op::extents:
                return list_extents(request);
            default:
                return EPERM;
        }
    }

    int read(const Request& request) {
        const int error = each_run(request.offset, request.length, [&](const ImageRun& run) {
            return copy(run, {request.buffer + (run.begin - request.offset), run.length()});
        });
        const ReadRange range{request.offset, request.length};
        return error == 0 && !content_holds({&range, 1}) ? EIO : error;
    }

    int copy(const ImageRun& run, std::span<std::byte> to) {
        switch (run.kind) {
            case Kind::data:
                return read_file(run, to);
            case Kind::packed:
                return unpack(run, to);
            case Kind::zero:
                std::ranges::fill(to, std::byte{0});
                return 0;
            default:
                return failed(
                    members_[run.file],
                    fmt::format("is damaged: its tables say what cannot be of the disk at "
                                "{}; see: qemu-img check",
                                run.begin));
        }
    }

    int read_file(const ImageRun& run, std::span<std::byte> to) {
        Member& member = members_[run.file];
        const auto got = read_up_to(member.file.fd.get(), run.at, to);
        if (!got) {
            return failed(member, got.error().message);
        }
        if (*got < to.size()) {
            member.guard.condemn("ends before it should");
            return EIO;
        }
        return 0;
    }

    int unpack(const ImageRun& run, std::span<std::byte> to) {
        const auto bytes = blocks_.get(*files_[run.file].tables, run);
        if (!bytes) {
            return failed(members_[run.file], bytes.error().message);
        }
        copy_from(**bytes, run, to);
        return 0;
    }

    int cache(const Request& request) {
        const auto length = std::min(request.length, kMaxReadAhead);
        return each_run(request.offset, length, [&](const ImageRun& run) {
            if (run.kind == Kind::data) {
                ::posix_fadvise(members_[run.file].file.fd.get(), static_cast<off_t>(run.at),
                                static_cast<off_t>(run.length()), POSIX_FADV_WILLNEED);
            }
            return 0;
        });
    }

    int list_extents(Request& request) {
        const std::size_t most = (request.flags & kRequestOneExtent) != 0 ? 1 : kMaxExtents;
        std::vector<Extent>& extents = *request.extents;
        extents.clear();
        constexpr int kEnough = -1;
        const auto add = [&](const Extent& extent) {
            if (!extents.empty() && extents.back().flags == extent.flags) {
                extents.back().length += extent.length;
            } else if (extents.size() < most) {
                extents.push_back(extent);
            } else {
                return false;
            }
            return true;
        };
        const int error = each_run(request.offset, request.length, [&](const ImageRun& run) {
            for (std::uint64_t done = 0; done < run.length();) {
                const Extent extent = extent_in(run, done);
                if (!add(extent)) {
                    return kEnough;
                }
                done += extent.length;
            }
            return 0;
        });
        if (error > 0) {
            return error;
        }
        return all_hold() ? 0 : EIO;
    }

    // A cluster of a file need not be allocated there, either.
    Extent extent_in(const ImageRun& run, std::uint64_t from) const {
        if (run.kind == Kind::data) {
            return file_extent(members_[run.file].file.fd.get(), run.at + from,
                               run.at + run.length());
        }
        return {.length = run.length() - from,
                .flags = run.kind == Kind::zero ? wire::kStateHole | wire::kStateZero : 0};
    }

    Origin origin_of(const ImageRun& run) const {
        Origin origin{.length = run.length()};
        origin.zero = run.kind == Kind::zero;
        if (run.kind == Kind::data || run.kind == Kind::packed) {
            const Member& member = members_[run.file];
            origin.in_file = true;
            origin.device = member.device;
            origin.inode = member.inode;
            origin.at = run.at;
            origin.packed = run.kind == Kind::packed;
            origin.skip = run.skip;
        }
        return origin;
    }

    bool all_hold() {
        return std::ranges::all_of(members_, [](Member& member) { return member.guard.holds(); });
    }

    // A broken medium fails many requests: lines 1, 2, 4, 8 and so on are enough.
    int failed(const Member& member, const std::string& why) {
        const auto count = failures_.fetch_add(1, std::memory_order_relaxed) + 1;
        if (std::has_single_bit(count)) {
            log_.error(fmt::format("{} {} (failed requests so far: {})", member.name, why, count));
        }
        return EIO;
    }

    std::deque<Member> members_;
    const std::vector<ChainFile> files_;
    ChainMap map_;
    UnpackedBlocks blocks_;
    Log& log_;
    DiskTraits traits_;
    std::atomic<std::uint64_t> failures_{0};
};

}  // namespace

Result<std::shared_ptr<Disk>> make_chain_disk(OpenImage image, const ChainDiskTerms& terms,
                                              Log& log) {
    std::deque<Member> members;
    std::vector<ChainFile> files;
    std::vector<int> descriptors;
    for (ImageFile& opened : image.chain) {
        std::string name =
            fmt::format("disk '{}': file {}", escaped(image.name.str()), escaped(opened.path));
        Member& member = members.emplace_back(std::move(opened), std::move(name), log);
        if (auto begun = member.guard.begin(); !begun) {
            return std::unexpected(begun.error());
        }
        auto file = terms.read_tables(member.file);
        if (!file) {
            return fail(file.error().code,
                        fmt::format("{}: {}", member.name, file.error().message));
        }
        descriptors.push_back(file->fd);
        files.push_back(std::move(*file));
    }
    const auto now = image_fingerprint(descriptors, false);
    if (!now) {
        return std::unexpected(now.error());
    }
    if (*now != image.fingerprint || files.front().size != image.size) {
        return fail(Errc::conflict, fmt::format("disk '{}' changed while it was opened; open it "
                                                "again",
                                                escaped(image.name.str())));
    }
    return std::make_shared<ChainDisk>(image, std::move(members), std::move(files), terms, log);
}

}  // namespace signpost
