// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/disk/qcow2_disk.h"

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

#include "nbd-server/disk/backing_chain.h"
#include "nbd-server/disk/beneath.h"
#include "nbd-server/disk/cached_pages.h"
#include "nbd-server/disk/content_guard.h"
#include "nbd-server/disk/disk_description.h"
#include "nbd-server/disk/file_extent.h"
#include "nbd-server/disk/image_file.h"
#include "nbd-server/disk/image_fingerprint.h"
#include "nbd-server/disk/qcow2_clusters.h"
#include "nbd-server/disk/qcow2_map.h"
#include "nbd-server/wire/protocol.h"

namespace signpost {

namespace {

using Kind = Qcow2Run::Kind;

constexpr std::size_t kMaxExtents = 1024;  // per request
constexpr std::uint64_t kMaxReadAhead = kMaxPayload;

// A file of the chain, with what is known of its pages and its content.
struct Member {
    Member(ImageFile opened, std::string label, Log& log)
        : file(std::move(opened)),
          name(std::move(label)),
          cached(file.fd.get()),
          guard(file.fd.get(), false, name, log) {}

    ImageFile file;
    std::string name;
    CachedPages cached;
    ContentGuard guard;
};

class Qcow2Disk final : public Disk {
   public:
    Qcow2Disk(const OpenImage& image, std::deque<Member> members, std::vector<ChainFile> files,
              Log& log)
        : members_(std::move(members)), files_(std::move(files)), map_(files_), log_(log) {
        traits_.size = image.size;
        traits_.preferred_block = static_cast<std::uint32_t>(
            std::max<std::uint64_t>(4096, files_.front().tables->geometry().subcluster()));
        traits_.description = size_for_people(image.size) + " qcow2";
    }

    const DiskTraits& traits() const override { return traits_; }

    Now read_now(std::uint64_t offset, std::span<std::byte> to) override {
        return each_known_run(offset, to.size(), [&](const Qcow2Run& run) {
            return copy_now(run, to.subspan(run.begin - offset, run.length()));
        });
    }

    Now locate_now(std::uint64_t offset, std::uint32_t length,
                   std::vector<ReadPart>& parts) override {
        const std::size_t before = parts.size();
        const Now end = each_known_run(offset, length, [&](const Qcow2Run& run) {
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

    // Of the files that the ranges come from; of all where that is not known any more.
    bool content_holds(std::span<const ReadRange> ranges) override {
        std::bitset<kMaxChain> looked;
        bool good = true;
        for (const ReadRange& range : ranges) {
            const Now end = each_known_run(range.offset, range.length, [&](const Qcow2Run& run) {
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
            for (const Qcow2Run& run : runs_between(*leaf, at, until)) {
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
            for (const Qcow2Run& run : runs_between(**leaf, at, until)) {
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

    bool copy_now(const Qcow2Run& run, std::span<std::byte> to) {
        switch (run.kind) {
            case Kind::data:
                return members_[run.file].cached.read(run.at, to);
            case Kind::zero:
                std::ranges::fill(to, std::byte{0});
                return true;
            case Kind::packed:
                if (const auto bytes = clusters_.known(run)) {
                    copy_from(*bytes, run, to);
                    return true;
                }
                return false;
            default:
                return false;
        }
    }

    static void copy_from(const std::vector<std::byte>& cluster, const Qcow2Run& run,
                          std::span<std::byte> to) {
        std::memcpy(to.data(), cluster.data() + run.begin % cluster.size(), to.size());
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
        const int error = each_run(request.offset, request.length, [&](const Qcow2Run& run) {
            return copy(run, {request.buffer + (run.begin - request.offset), run.length()});
        });
        const ReadRange range{request.offset, request.length};
        return error == 0 && !content_holds({&range, 1}) ? EIO : error;
    }

    int copy(const Qcow2Run& run, std::span<std::byte> to) {
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

    int read_file(const Qcow2Run& run, std::span<std::byte> to) {
        Member& member = members_[run.file];
        std::uint64_t at = run.at;
        while (!to.empty()) {
            const ssize_t got =
                ::pread(member.file.fd.get(), to.data(), to.size(), static_cast<off_t>(at));
            if (got > 0) {
                to = to.subspan(static_cast<std::size_t>(got));
                at += static_cast<std::uint64_t>(got);
            } else if (got == 0) {
                member.guard.condemn("ends before it should");
                return EIO;
            } else if (errno != EINTR) {
                return failed(member, fmt::format("cannot be read: {}", error_text(errno)));
            }
        }
        return 0;
    }

    int unpack(const Qcow2Run& run, std::span<std::byte> to) {
        const auto bytes = clusters_.get({files_[run.file], run});
        if (!bytes) {
            return failed(members_[run.file], bytes.error().message);
        }
        copy_from(**bytes, run, to);
        return 0;
    }

    int cache(const Request& request) {
        const auto length = std::min(request.length, kMaxReadAhead);
        return each_run(request.offset, length, [&](const Qcow2Run& run) {
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
        const int error = each_run(request.offset, request.length, [&](const Qcow2Run& run) {
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
    Extent extent_in(const Qcow2Run& run, std::uint64_t from) const {
        if (run.kind == Kind::data) {
            return file_extent(members_[run.file].file.fd.get(), run.at + from,
                               run.at + run.length());
        }
        return {.length = run.length() - from,
                .flags = run.kind == Kind::zero ? wire::kStateHole | wire::kStateZero : 0};
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
    Qcow2Map map_;
    Qcow2Clusters clusters_;
    Log& log_;
    DiskTraits traits_;
    std::atomic<std::uint64_t> failures_{0};
};

Result<ChainFile> chain_file(const Member& member) {
    struct stat status {};
    const int fd = member.file.fd.get();
    const off_t end = ::fstat(fd, &status) == 0 ? ::lseek(fd, 0, SEEK_END) : -1;
    if (end < 0) {
        return fail(Errc::io, fmt::format("{}: {}", member.name, error_text(errno)));
    }
    ChainFile file{.fd = fd, .size = static_cast<std::uint64_t>(end)};
    if (member.file.format == ImageFormat::raw) {
        return file;
    }
    const auto geometry = read_qcow2_geometry(image_bytes(fd, file.size));
    if (!geometry) {
        return fail(geometry.error().code,
                    fmt::format("{}: {}", member.name, geometry.error().message));
    }
    file.tables.emplace(fd, file.size, *geometry);
    file.size = geometry->size;
    return file;
}

}  // namespace

bool is_plain_qcow2(const OpenImage& image) {
    return !image.writable && image.format() == ImageFormat::qcow2 &&
           std::ranges::all_of(image.chain, [](const ImageFile& file) {
               return file.format == ImageFormat::qcow2 || file.format == ImageFormat::raw;
           });
}

Result<std::shared_ptr<Disk>> make_qcow2_disk(OpenImage image, Log& log) {
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
        auto file = chain_file(member);
        if (!file) {
            return std::unexpected(file.error());
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
    return std::make_shared<Qcow2Disk>(image, std::move(members), std::move(files), log);
}

}  // namespace signpost
