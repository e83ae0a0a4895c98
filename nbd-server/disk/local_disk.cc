// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/local_disk.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <mutex>
#include <utility>

#include "nbd-server/disk/beneath.h"
#include "nbd-server/disk/cached_pages.h"
#include "nbd-server/disk/content_guard.h"
#include "nbd-server/disk/disk_description.h"
#include "nbd-server/disk/disk_difference.h"
#include "nbd-server/disk/file_extent.h"
#include "nbd-server/disk/group_sync.h"
#include "nbd-server/disk/image_fingerprint.h"
#include "nbd-server/wire/protocol.h"

namespace signpost {

namespace {

constexpr std::size_t kMaxExtents = 1024;  // per request
constexpr std::uint64_t kMaxReadAhead = kMaxPayload;
constexpr std::size_t kZeroChunk = 256 * 1024;
constexpr int kPunch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
constexpr int kZeroRange = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;

// What Disk promises to its callers.
int client_error(int error) {
    switch (error) {
        case ENOSPC:
        case EDQUOT:
        case EFBIG:
            return ENOSPC;
        case EPERM:
        case EROFS:
            return EPERM;
        default:
            return EIO;
    }
}

// Runs the hook until it has succeeded once. Callers that come meanwhile wait for its result.
class FirstWrite {
   public:
    explicit FirstWrite(std::function<Result<void>()> hook) : hook_(std::move(hook)) {
        state_ = hook_ ? State::pending : State::done;
    }

    Result<void> prepare() {
        while (true) {
            State seen = state_.load(std::memory_order_acquire);
            if (seen == State::done) {
                return {};
            }
            if (seen == State::running) {
                state_.wait(seen, std::memory_order_acquire);
            } else if (state_.compare_exchange_strong(seen, State::running)) {
                auto result = hook_();
                state_.store(result ? State::done : State::pending, std::memory_order_release);
                state_.notify_all();
                return result;
            }
        }
    }

   private:
    enum class State { pending, running, done };

    const std::function<Result<void>()> hook_;
    std::atomic<State> state_;
};

class LocalDisk final : public Disk, public OriginTeller {
   public:
    LocalDisk(OpenImage image, LocalDiskHooks hooks, Log& log)
        : file_(std::move(image.chain.front().fd)),
          label_(fmt::format("disk '{}': file {}", escaped(image.name.str()),
                             escaped(image.chain.front().path))),
          log_(log),
          cached_(file_.get()),
          guard_(file_.get(), image.writable, label_, log),
          first_write_(std::move(hooks.before_first_write)),
          sync_(file_.get()) {
        traits_.size = image.size;
        traits_.read_only = !image.writable;
        traits_.fast_zero = image.writable;
        traits_.description = size_for_people(image.size) + " raw";
    }

    // The state in which the file is now is the one to hold to; it must be the one that was opened.
    Result<void> begin(const std::string& fingerprint) {
        if (auto begun = guard_.begin(); !begun) {
            return begun;
        }
        struct stat status {};
        if (::fstat(file_.get(), &status) != 0) {
            return fail(Errc::io, fmt::format("{}: {}", label_, error_text(errno)));
        }
        block_device_ = S_ISBLK(status.st_mode);
        device_ = status.st_dev;
        inode_ = status.st_ino;
        // Of a writable image what is a hole now may soon be none.
        sparse_ = !block_device_ && traits_.read_only &&
                  static_cast<std::uint64_t>(status.st_blocks) * 512 < traits_.size;
        const int fd = file_.get();
        auto now = image_fingerprint({&fd, 1}, !traits_.read_only);
        if (!now) {
            return fail(now.error().code, fmt::format("{}: {}", label_, now.error().message));
        }
        const bool cut =
            !block_device_ && static_cast<std::uint64_t>(status.st_size) < traits_.size;
        if (cut || (!fingerprint.empty() && fingerprint != *now)) {
            return fail(Errc::conflict,
                        fmt::format("{} changed while it was opened; open it again", label_));
        }
        return {};
    }

    const DiskTraits& traits() const override { return traits_; }

    int origins(std::uint64_t offset, std::uint64_t length, std::vector<Origin>& found) override {
        if (!traits_.read_only) {
            found.push_back({.length = length});  // what it has now says nothing of a minute later
            return 0;
        }
        const std::uint64_t end = offset + length;
        for (std::uint64_t at = offset; at < end && found.size() < kMaxExtents;) {
            const Extent extent = extent_at(at, end);
            found.push_back({.length = extent.length,
                             .zero = (extent.flags & wire::kStateZero) != 0,
                             .in_file = true,
                             .device = device_,
                             .inode = inode_,
                             .at = at});
            at += extent.length;
        }
        return 0;
    }

    // Anything but all the bytes is left to read(), which may wait and knows how to complain.
    Now read_now(std::uint64_t offset, std::span<std::byte> to) override {
        return cached_.read(offset, to) ? Now::done : Now::would_wait;
    }

    Now locate_now(std::uint64_t offset, std::uint32_t length,
                   std::vector<ReadPart>& parts) override {
        const std::size_t before = parts.size();
        const std::uint64_t end = offset + length;
        for (std::uint64_t at = offset; at < end;) {
            const Extent extent = sparse_ ? known_extents_.at(at, end, *this)
                                          : Extent{.length = end - at, .flags = 0};
            ReadPart part;
            part.place = extent.flags == 0 ? ReadPart::Place::file : ReadPart::Place::hole;
            part.offset = part.at = at;
            part.length = static_cast<std::uint32_t>(extent.length);
            part.file = file_.get();
            if (part.place == ReadPart::Place::file && !cached_.covers(at, part.length)) {
                parts.resize(before);
                return Now::would_wait;
            }
            parts.push_back(std::move(part));
            at += extent.length;
        }
        return Now::done;
    }

    bool content_holds(std::span<const ReadRange>) override { return guard_.holds(); }

   private:
    // The last extent that was asked for: a client that reads through a disk asks once for each.
    class KnownExtent {
       public:
        Extent at(std::uint64_t offset, std::uint64_t end, const LocalDisk& disk) {
            const std::lock_guard lock(mutex_);
            if (offset < begin_ || offset >= end_) {
                const Extent found = disk.extent_at(offset, disk.traits_.size);
                begin_ = offset;
                end_ = offset + found.length;
                flags_ = found.flags;
            }
            return {.length = std::min(end, end_) - offset, .flags = flags_};
        }

       private:
        std::mutex mutex_;  // guards all below
        std::uint64_t begin_ = 0;
        std::uint64_t end_ = 0;
        std::uint32_t flags_ = 0;
    };

    void start(Request& request) override { request.done(request, run(request)); }

    int run(Request& request) {
        switch (request.op) {
            case Op::read:
                return read(request);
            case Op::write:
                return change(request, &LocalDisk::write);
            case Op::trim:
                return change(request, &LocalDisk::trim);
            case Op::write_zeroes:
                return change(request, &LocalDisk::write_zeroes);
            case Op::flush:
                return traits_.read_only ? 0 : flush();
            case Op::cache:
                return cache(request);
            case Op::extents:
                return list_extents(request);
        }
        return EINVAL;
    }

    int read(Request& request) {
        std::uint64_t done = 0;
        while (done < request.length) {
            const ssize_t got = ::pread(file_.get(), request.buffer + done, request.length - done,
                                        static_cast<off_t>(request.offset + done));
            if (got > 0) {
                done += static_cast<std::uint64_t>(got);
            } else if (got == 0) {
                guard_.condemn("ends before it should");
                return EIO;
            } else if (errno != EINTR) {
                return failed("cannot be read", errno);
            }
        }
        return guard_.holds() ? 0 : EIO;
    }

    // All requests that change the content pass here. validate() has held them to the size, and the
    // guard says that the file still has it, so none extends the file.
    int change(Request& request, int (LocalDisk::*what)(const Request&)) {
        if (!guard_.holds()) {
            return EIO;
        }
        if (auto prepared = first_write_.prepare(); !prepared) {
            log_.error(
                fmt::format("{} is not written to, because the catalog could not be told: {}",
                            label_, prepared.error().message));
            return EIO;
        }
        const int error = (this->*what)(request);
        if (error == 0 && (request.flags & kRequestFua) != 0) {
            return flush();
        }
        return error;
    }

    int write(const Request& request) {
        return write_all(request.buffer, request.length, request.offset);
    }

    int write_all(const std::byte* from, std::uint64_t length, std::uint64_t offset) {
        while (length > 0) {
            const ssize_t put = ::pwrite(file_.get(), from, length, static_cast<off_t>(offset));
            if (put < 0 && errno == EINTR) {
                continue;
            }
            if (put <= 0) {
                return failed("cannot be written to", put < 0 ? errno : EIO);
            }
            from += put;
            length -= static_cast<std::uint64_t>(put);
            offset += static_cast<std::uint64_t>(put);
        }
        return 0;
    }

    // Space given back is a wish; the file system may not know how.
    int trim(const Request& request) {
        const int error = allocate(kPunch, request);
        return error == 0 || not_possible(error) ? 0 : failed("cannot give back space", error);
    }

    int write_zeroes(const Request& request) {
        const bool keep = (request.flags & kRequestNoHole) != 0;
        const bool fast = (request.flags & kRequestFastZero) != 0;
        const int error =
            keep ? zero_keeping_space(request, fast) : zero_giving_space(request, fast);
        if (!not_possible(error)) {
            return error == 0 ? 0 : failed("cannot be zeroed", error);
        }
        return fast ? ENOTSUP : write_zero_bytes(request);
    }

    // On a block device, ZERO_RANGE may write every block itself; a punched hole never does.
    int zero_giving_space(const Request& request, bool fast) {
        const int error = allocate(kPunch, request);
        if (!not_possible(error) || (fast && block_device_)) {
            return error;
        }
        return allocate(kZeroRange, request);
    }

    // Where there is no ZERO_RANGE (tmpfs), a hole is punched and filled again.
    int zero_keeping_space(const Request& request, bool fast) {
        if (block_device_ && fast) {
            return EOPNOTSUPP;
        }
        int error = allocate(kZeroRange, request);
        if (not_possible(error) && !block_device_) {
            error = allocate(kPunch, request);
            if (error == 0) {
                error = allocate(FALLOC_FL_KEEP_SIZE, request);
            }
        }
        return error;
    }

    int allocate(int mode, const Request& request) const {
        while (::fallocate(file_.get(), mode, static_cast<off_t>(request.offset),
                           static_cast<off_t>(request.length)) != 0) {
            if (errno != EINTR) {
                return errno;
            }
        }
        return 0;
    }

    // EINVAL: a block device whose blocks are larger than what was asked.
    bool not_possible(int error) const {
        return error == EOPNOTSUPP || error == ENOSYS || (block_device_ && error == EINVAL);
    }

    int write_zero_bytes(const Request& request) {
        const std::vector<std::byte> zeroes(std::min<std::uint64_t>(request.length, kZeroChunk));
        for (std::uint64_t done = 0; done < request.length;) {
            const auto part = std::min<std::uint64_t>(request.length - done, zeroes.size());
            if (const int error = write_all(zeroes.data(), part, request.offset + done)) {
                return error;
            }
            done += part;
        }
        return 0;
    }

    // What was acknowledged may be gone from a file that shrank, so that no flush succeeds either.
    int flush() {
        const auto outcome = sync_.sync();
        if (outcome.first) {
            log_.error(
                fmt::format("{} could not be made durable ({}): every flush fails until it is "
                            "opened again; check the storage, and the image's content",
                            label_, error_text(outcome.error)));
        }
        return outcome.error == 0 && guard_.holds() ? 0 : EIO;
    }

    int cache(const Request& request) const {
        const auto length = std::min(request.length, kMaxReadAhead);
        ::posix_fadvise(file_.get(), static_cast<off_t>(request.offset), static_cast<off_t>(length),
                        POSIX_FADV_WILLNEED);
        return 0;
    }

    int list_extents(Request& request) {
        const std::uint64_t end = request.offset + request.length;
        const std::size_t most = (request.flags & kRequestOneExtent) != 0 ? 1 : kMaxExtents;
        request.extents->clear();
        for (std::uint64_t at = request.offset; at < end && request.extents->size() < most;) {
            const Extent extent = extent_at(at, end);
            request.extents->push_back(extent);
            at += extent.length;
        }
        return guard_.holds() ? 0 : EIO;
    }

    Extent extent_at(std::uint64_t at, std::uint64_t end) const {
        return block_device_ ? Extent{.length = end - at, .flags = 0}
                             : file_extent(file_.get(), at, end);
    }

    // A broken medium fails many requests: lines 1, 2, 4, 8 and so on are enough.
    int failed(const char* what, int error) {
        const auto count = failures_.fetch_add(1, std::memory_order_relaxed) + 1;
        if (std::has_single_bit(count)) {
            log_.error(fmt::format("{} {}: {} (failed requests so far: {})", label_, what,
                                   error_text(error), count));
        }
        return client_error(error);
    }

    const UniqueFd file_;
    const std::string label_;
    Log& log_;
    DiskTraits traits_;
    bool block_device_ = false;
    bool sparse_ = false;
    std::uint64_t device_ = 0;
    std::uint64_t inode_ = 0;
    CachedPages cached_;
    KnownExtent known_extents_;
    ContentGuard guard_;
    FirstWrite first_write_;
    GroupSync sync_;
    std::atomic<std::uint64_t> failures_{0};
};

}  // namespace

Result<std::shared_ptr<Disk>> make_local_disk(OpenImage image, LocalDiskHooks hooks, Log& log) {
    if (image.chain.size() != 1 || image.chain.front().format != ImageFormat::raw) {
        return fail(Errc::invalid, fmt::format("disk '{}': only a raw image of one file is served "
                                               "directly",
                                               escaped(image.name.str())));
    }
    const std::string fingerprint = image.fingerprint;
    auto disk = std::make_shared<LocalDisk>(std::move(image), std::move(hooks), log);
    if (auto begun = disk->begin(fingerprint); !begun) {
        return std::unexpected(begun.error());
    }
    return disk;
}

}  // namespace signpost
