// SPDX-License-Identifier: BSD-3-Clause

#define FUSE_USE_VERSION 35

#include "cli/raw_view.h"

#include <fmt/format.h>
#include <fuse_lowlevel.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>

namespace signpost {

namespace {

constexpr double kForEver = 1e9;
constexpr fuse_ino_t kFirstFile = FUSE_ROOT_ID + 1;

struct stat status_of(fuse_ino_t inode, const RawVolume* volume) {
    struct stat status {};
    status.st_ino = inode;
    status.st_mode = volume == nullptr ? S_IFDIR | 0555 : S_IFREG | 0444;
    status.st_nlink = 1;
    status.st_size = volume == nullptr ? 0 : static_cast<off_t>(volume->length);
    return status;
}

}  // namespace

// What the kernel calls; the names are libfuse's.
struct RawViewCalls {
    static RawView& view(fuse_req_t request) {
        return *static_cast<RawView*>(::fuse_req_userdata(request));
    }

    static void lookup(fuse_req_t request, fuse_ino_t parent, const char* name) {
        const std::string_view text = name;
        unsigned number = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
        const RawVolume* volume = view(request).volume_of(kFirstFile + number);
        if (parent != FUSE_ROOT_ID || error != std::errc{} || end != text.data() + text.size() ||
            volume == nullptr) {
            ::fuse_reply_err(request, ENOENT);
            return;
        }
        fuse_entry_param entry{};
        entry.ino = kFirstFile + number;
        entry.attr = status_of(entry.ino, volume);
        entry.attr_timeout = kForEver;
        entry.entry_timeout = kForEver;
        ::fuse_reply_entry(request, &entry);
    }

    static void getattr(fuse_req_t request, fuse_ino_t inode, fuse_file_info* /*file*/) {
        const RawVolume* volume = view(request).volume_of(inode);
        if (volume == nullptr && inode != FUSE_ROOT_ID) {
            ::fuse_reply_err(request, ENOENT);
            return;
        }
        const struct stat status = status_of(inode, volume);
        ::fuse_reply_attr(request, &status, kForEver);
    }

    static void open(fuse_req_t request, fuse_ino_t inode, fuse_file_info* file) {
        if (view(request).volume_of(inode) == nullptr) {
            ::fuse_reply_err(request, EISDIR);
            return;
        }
        file->keep_cache = 1;
        ::fuse_reply_open(request, file);
    }

    static void read(fuse_req_t request, fuse_ino_t inode, std::size_t size, off_t offset,
                     fuse_file_info* /*file*/) {
        RawView& self = view(request);
        const RawVolume* volume = self.volume_of(inode);
        const auto at = static_cast<std::uint64_t>(offset);
        if (volume == nullptr || offset < 0 || at >= volume->length) {
            ::fuse_reply_buf(request, nullptr, 0);
            return;
        }
        self.reads_.push_back(
            {request, volume, at, std::min<std::uint64_t>(size, volume->length - at)});
    }
};

Result<std::unique_ptr<RawView>> RawView::serve(UniqueFd fuse, std::vector<RawVolume> volumes) {
    std::unique_ptr<RawView> view(new RawView(std::move(volumes)));
    fuse_lowlevel_ops calls{};
    calls.lookup = RawViewCalls::lookup;
    calls.getattr = RawViewCalls::getattr;
    calls.open = RawViewCalls::open;
    calls.read = RawViewCalls::read;
    char name[] = "signpost";
    char* words[] = {name, nullptr};
    fuse_args arguments = FUSE_ARGS_INIT(1, words);
    view->session_ = ::fuse_session_new(&arguments, &calls, sizeof calls, view.get());
    const std::string place = fmt::format("/dev/fd/{}", fuse.get());
    if (view->session_ == nullptr || ::fuse_session_mount(view->session_, place.c_str()) != 0) {
        return fail(Errc::io, "the disk cannot be shown as a file");
    }
    fuse.release();  // the session's
    return view;
}

RawView::~RawView() {
    if (session_ != nullptr) {
        ::fuse_session_destroy(session_);
    }
}

int RawView::fd() const {
    return over_ ? -1 : ::fuse_session_fd(session_);
}

const RawVolume* RawView::volume_of(std::uint64_t inode) const {
    return inode >= kFirstFile && inode - kFirstFile < volumes_.size()
               ? &volumes_[inode - kFirstFile]
               : nullptr;
}

// False: not yet.
bool RawView::answer(const Read& read) {
    std::vector<std::byte> bytes(read.length);
    const auto look = read.volume->disk->look(read.volume->start + read.offset, bytes);
    if (look == DiskBlocks::Look::here) {
        ::fuse_reply_buf(read.request, reinterpret_cast<const char*>(bytes.data()), bytes.size());
    } else if (look == DiskBlocks::Look::failed) {
        ::fuse_reply_err(read.request, EIO);
    }
    return look != DiskBlocks::Look::coming;
}

void RawView::turn(bool readable) {
    if (readable && !over_) {
        fuse_buf buffer{};
        const int got = ::fuse_session_receive_buf(session_, &buffer);
        if (got > 0) {
            ::fuse_session_process_buf(session_, &buffer);
        }
        over_ = got == 0 || (got < 0 && got != -EINTR && got != -EAGAIN);
        std::free(buffer.mem);
    }
    std::erase_if(reads_, [this](const Read& read) { return answer(read); });
}

}  // namespace signpost
