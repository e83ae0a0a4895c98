// SPDX-License-Identifier: BSD-3-Clause

#define FUSE_USE_VERSION 35

#include "cli/guest_mount.h"

#include <fmt/format.h>
#include <fuse_lowlevel.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "cli/guest_walk.h"
#include "nbd-server/disk/beneath.h"
#include "nbd-server/disk/unique_fd.h"

namespace signpost {

namespace {

constexpr double kLong = 3600;  // seconds that the kernel may remember: nothing changes
constexpr std::size_t kListings = 64;
constexpr std::size_t kMaxNodes = 20'000'000;
constexpr std::uint64_t kPiecesAtOnce = std::uint64_t{1} << 30;
constexpr std::chrono::milliseconds kTurn{1000};

int errno_of(const Error& error) {
    return error.code == Errc::not_found ? ENOENT : EIO;
}

mode_t type_bits(files::FileType type) {
    switch (type) {
        case files::FileType::directory:
            return S_IFDIR;
        case files::FileType::symlink:
            return S_IFLNK;
        case files::FileType::block_device:
            return S_IFBLK;
        case files::FileType::character_device:
            return S_IFCHR;
        case files::FileType::fifo:
            return S_IFIFO;
        case files::FileType::socket:
            return S_IFSOCK;
        case files::FileType::regular:
        case files::FileType::unknown:
            break;
    }
    return S_IFREG;
}

struct stat status_of(std::uint64_t number, const files::Entry& entry) {
    const bool is_directory = entry.type == files::FileType::directory;
    struct stat status {};
    status.st_ino = number;
    // Some file systems have no permissions.
    const mode_t mode = entry.mode != 0 ? entry.mode & 0777 : is_directory ? 0755 : 0644;
    status.st_mode = type_bits(entry.type) | mode;
    status.st_nlink = std::max(entry.links, 1U);
    status.st_uid = static_cast<uid_t>(entry.uid);
    status.st_gid = static_cast<gid_t>(entry.gid);
    status.st_size = static_cast<off_t>(entry.size);
    status.st_blocks = static_cast<blkcnt_t>(entry.size / 512);
    status.st_mtim = {entry.modified, static_cast<long>(entry.modified_ns)};
    status.st_ctim = status.st_atim = status.st_mtim;
    return status;
}

}  // namespace

// What the kernel calls; the names are libfuse's.
struct GuestMountCalls {
    static GuestMount& mount(fuse_req_t request) {
        return *static_cast<GuestMount*>(::fuse_req_userdata(request));
    }

    static void lookup(fuse_req_t request, fuse_ino_t parent, const char* name) {
        GuestMount& self = mount(request);
        const auto entries = self.list(parent);
        if (!entries) {
            ::fuse_reply_err(request, errno_of(entries.error()));
            return;
        }
        const auto found =
            std::ranges::lower_bound(**entries, std::string_view(name), {}, &files::Entry::name);
        if (found == (*entries)->end() || found->name != name) {
            ::fuse_reply_err(request, ENOENT);
            return;
        }
        fuse_entry_param entry{};
        entry.ino = self.number_of(*found);
        entry.attr = status_of(entry.ino, *found);
        entry.attr_timeout = kLong;
        entry.entry_timeout = kLong;
        ::fuse_reply_entry(request, &entry);
    }

    static void getattr(fuse_req_t request, fuse_ino_t inode, fuse_file_info* /*file*/) {
        const GuestMount::Node* node = mount(request).node(inode);
        if (node == nullptr) {
            ::fuse_reply_err(request, ENOENT);
            return;
        }
        const struct stat status = status_of(inode, node->entry);
        ::fuse_reply_attr(request, &status, kLong);
    }

    static void readlink(fuse_req_t request, fuse_ino_t inode) {
        const GuestMount::Node* node = mount(request).node(inode);
        if (node == nullptr || node->entry.target.empty()) {
            ::fuse_reply_err(request, EINVAL);
            return;
        }
        ::fuse_reply_readlink(request, node->entry.target.c_str());
    }

    static void open(fuse_req_t request, fuse_ino_t inode, fuse_file_info* file) {
        const GuestMount::Node* node = mount(request).node(inode);
        if (node == nullptr || node->entry.type != files::FileType::regular) {
            ::fuse_reply_err(request, EACCES);
            return;
        }
        file->keep_cache = 1;
        ::fuse_reply_open(request, file);
    }

    static void read(fuse_req_t request, fuse_ino_t inode, std::size_t size, off_t offset,
                     fuse_file_info* /*file*/) {
        GuestMount& self = mount(request);
        GuestMount::Node* node = self.node(inode);
        const auto at = static_cast<std::uint64_t>(offset);
        if (node == nullptr || offset < 0 || at >= node->entry.size) {
            ::fuse_reply_buf(request, nullptr, 0);
            return;
        }
        std::vector<std::byte> bytes(std::min<std::uint64_t>(size, node->entry.size - at));
        if (const auto read = self.read(*node, at, bytes); !read) {
            ::fuse_reply_err(request, errno_of(read.error()));
            return;
        }
        ::fuse_reply_buf(request, reinterpret_cast<const char*>(bytes.data()), bytes.size());
    }

    static void readdir(fuse_req_t request, fuse_ino_t inode, std::size_t size, off_t offset,
                        fuse_file_info* /*file*/) {
        GuestMount& self = mount(request);
        const auto entries = self.list(inode);
        if (!entries) {
            ::fuse_reply_err(request, errno_of(entries.error()));
            return;
        }
        std::string answer;
        std::vector<char> one;
        for (auto i = static_cast<std::size_t>(offset); i < (*entries)->size() + 2; ++i) {
            const bool is_dot = i < 2;
            const std::string name = i == 0 ? "." : is_dot ? ".." : (**entries)[i - 2].name;
            struct stat status {};
            status.st_ino = is_dot ? inode : self.number_of((**entries)[i - 2]);
            status.st_mode = is_dot ? S_IFDIR : type_bits((**entries)[i - 2].type);
            const std::size_t length =
                ::fuse_add_direntry(request, nullptr, 0, name.c_str(), nullptr, 0);
            if (answer.size() + length > size) {
                break;
            }
            one.resize(length);
            ::fuse_add_direntry(request, one.data(), length, name.c_str(), &status,
                                static_cast<off_t>(i + 1));
            answer.append(one.data(), length);
        }
        ::fuse_reply_buf(request, answer.data(), answer.size());
    }
};

GuestMount::GuestMount(const GuestFile& root) : reader_(*root.reader), volume_(root.volume) {
    nodes_.push_back(std::make_unique<Node>(Node{root.entry, {}}));
    numbers_[root.entry.inode] = FUSE_ROOT_ID;
}

Result<std::unique_ptr<GuestMount>> GuestMount::make(const GuestFile& root,
                                                     const std::string& directory,
                                                     const std::string& disk) {
    std::unique_ptr<GuestMount> mount(new GuestMount(root));
    fuse_lowlevel_ops calls{};
    calls.lookup = GuestMountCalls::lookup;
    calls.getattr = GuestMountCalls::getattr;
    calls.readlink = GuestMountCalls::readlink;
    calls.open = GuestMountCalls::open;
    calls.read = GuestMountCalls::read;
    calls.readdir = GuestMountCalls::readdir;
    std::string name = disk;
    std::ranges::replace(name, ',', '_');  // FUSE's separator
    std::vector<std::string> words{"signpost", "-o",
                                   "ro,nosuid,nodev,subtype=signpost,fsname=" + name};
    std::vector<char*> pointers;
    for (std::string& word : words) {
        pointers.push_back(word.data());
    }
    fuse_args arguments = FUSE_ARGS_INIT(static_cast<int>(pointers.size()), pointers.data());
    mount->session_ = ::fuse_session_new(&arguments, &calls, sizeof calls, mount.get());
    ::fuse_opt_free_args(&arguments);
    if (mount->session_ == nullptr ||
        ::fuse_session_mount(mount->session_, directory.c_str()) != 0) {
        return fail(Errc::denied, fmt::format("{}: cannot be mounted on; it has to be a directory "
                                              "of yours, and FUSE usable (package fuse3)",
                                              escaped(directory)));
    }
    mount->mounted_ = true;
    return mount;
}

GuestMount::~GuestMount() {
    if (mounted_) {
        ::fuse_session_unmount(session_);
    }
    if (session_ != nullptr) {
        ::fuse_session_destroy(session_);
    }
}

GuestMount::Node* GuestMount::node(std::uint64_t number) {
    const std::uint64_t index = number - FUSE_ROOT_ID;
    return number >= FUSE_ROOT_ID && index < nodes_.size() ? nodes_[index].get() : nullptr;
}

std::uint64_t GuestMount::number_of(const files::Entry& entry) {
    const auto [found, is_new] = numbers_.try_emplace(entry.inode, nodes_.size() + FUSE_ROOT_ID);
    if (is_new && nodes_.size() < kMaxNodes) {
        nodes_.push_back(std::make_unique<Node>(Node{entry, {}}));
    }
    return found->second;
}

Result<const std::vector<files::Entry>*> GuestMount::list(std::uint64_t number) {
    const auto known = std::ranges::find(listings_, number, &Listing::node);
    if (known != listings_.end()) {
        listings_.splice(listings_.begin(), listings_, known);
        return &listings_.front().entries;
    }
    const Node* directory = node(number);
    if (directory == nullptr) {
        return fail(Errc::not_found, "");
    }
    Listing made{number, {}};
    if (auto listed =
            list_sorted(reader_, {volume_, directory->entry.inode, true, false}, made.entries);
        !listed) {
        return std::unexpected(listed.error());
    }
    listings_.push_front(std::move(made));
    listings_.resize(std::min(listings_.size(), kListings));
    return &listings_.front().entries;
}

Result<const files::Piece*> GuestMount::piece_at(Node& node, std::uint64_t offset) {
    const auto find = [&]() -> const files::Piece* {
        const auto behind =
            std::ranges::upper_bound(node.pieces, offset, {}, &files::Piece::offset);
        const bool is_within = behind != node.pieces.begin() &&
                               offset - std::prev(behind)->offset < std::prev(behind)->length;
        return is_within ? &*std::prev(behind) : nullptr;
    };
    if (const files::Piece* known = find()) {
        return known;
    }
    auto pieces = reader_.pieces(
        {volume_, node.entry.inode, offset, std::min(kPiecesAtOnce, node.entry.size - offset)});
    if (!pieces) {
        return std::unexpected(pieces.error());
    }
    node.pieces = std::move(*pieces);
    const files::Piece* found = find();
    return found != nullptr ? Result<const files::Piece*>(found)
                            : fail(Errc::corrupt, "the file ends before its end");
}

Result<void> GuestMount::read_disk(std::uint64_t offset, std::span<std::byte> to) {
    for (;;) {
        const auto look = reader_.disk().look(offset, to);
        if (look != DiskBlocks::Look::coming) {
            return look == DiskBlocks::Look::here ? Result<void>()
                                                  : fail(Errc::io, "the disk cannot be read");
        }
        if (auto turned = reader_.turn(kTurn); !turned) {
            return turned;
        }
    }
}

Result<void> GuestMount::read(Node& node, std::uint64_t offset, std::span<std::byte> to) {
    while (!to.empty()) {
        const auto found = piece_at(node, offset);
        if (!found) {
            return std::unexpected(found.error());
        }
        const files::Piece& piece = **found;
        const std::uint64_t within = offset - piece.offset;
        const auto part = to.first(std::min<std::uint64_t>(to.size(), piece.length - within));
        Result<void> read;
        if (piece.kind == files::Piece::Kind::disk) {
            read = read_disk(piece.disk_offset + within, part);
        } else if (piece.kind == files::Piece::Kind::bytes) {
            std::memcpy(part.data(), piece.bytes.data() + within, part.size());
        } else if (piece.kind == files::Piece::Kind::hole) {
            std::ranges::fill(part, std::byte{});
        } else {
            read = fail(Errc::corrupt, "the file system does not say where it is");
        }
        if (!read) {
            return read;
        }
        offset += part.size();
        to = to.subspan(part.size());
    }
    return {};
}

Result<void> GuestMount::take_request() {
    fuse_buf buffer{};
    const int got = ::fuse_session_receive_buf(session_, &buffer);
    if (got > 0) {
        ::fuse_session_process_buf(session_, &buffer);
    }
    std::free(buffer.mem);
    if (got == 0 || (got < 0 && got != -EINTR && got != -EAGAIN)) {
        ::fuse_session_exit(session_);
    }
    return {};
}

Result<void> GuestMount::serve() {
    sigset_t ends;
    ::sigemptyset(&ends);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
        ::sigaddset(&ends, signal);
    }
    ::sigprocmask(SIG_BLOCK, &ends, nullptr);
    const UniqueFd signals(::signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK));
    const UniqueFd waiting(::epoll_create1(EPOLL_CLOEXEC));
    const int fuse = ::fuse_session_fd(session_);
    for (const int fd : {signals.get(), fuse}) {
        epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
        if (::epoll_ctl(waiting.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
            return fail(Errc::io, error_text(errno));
        }
    }
    while (::fuse_session_exited(session_) == 0) {
        epoll_event event{};
        const int came = ::epoll_wait(waiting.get(), &event, 1, 0);
        if (came == 1 && event.data.fd == signals.get()) {
            return {};
        }
        auto turned = came == 1 ? take_request() : reader_.turn(kTurn, waiting.get());
        if (!turned) {
            return turned;
        }
    }
    return {};
}

}  // namespace signpost
