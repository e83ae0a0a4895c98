// SPDX-License-Identifier: BSD-3-Clause

#include "files/tsk_volume.h"

#include <fmt/format.h>
#include <strings.h>

#include <algorithm>
#include <tuple>
#include <unordered_set>

#include "files/ext_directory.h"

namespace signpost::files {

namespace {

constexpr int kMaxLinks = 40;  // as Linux follows
constexpr std::uint64_t kMaxPieces = 50'000;
constexpr std::uint64_t kMaxDecoded = 8 * kMaxRead;  // of one answer
constexpr TSK_OFF_T kExtFeatures = 1024 + 96;        // in the superblock: what a reader has to know
constexpr int kExtTypes = 2;
constexpr std::uint64_t kFirstNtfsFile = 24;  // before it are the file system's own
constexpr std::uint64_t kFirstHfsFile = 16;
constexpr std::string_view kExfatOwn[] = {"$ALLOC_BITMAP", "$UPCASE_TABLE", "$VOLUME_GUID",
                                          "$TEX_FAT", "$ACT"};

TSK_FS_TYPE_ENUM tsk_type(const std::string& type) {
    if (type == "ext2" || type == "ext3" || type == "ext4") {
        return TSK_FS_TYPE_EXT_DETECT;
    }
    if (type == "ntfs") {
        return TSK_FS_TYPE_NTFS;
    }
    if (type == "vfat" || type == "exfat") {
        return TSK_FS_TYPE_FAT_DETECT;
    }
    if (type == "iso9660") {
        return TSK_FS_TYPE_ISO9660;
    }
    if (type == "hfsplus" || type == "hfs") {
        return TSK_FS_TYPE_HFS_DETECT;
    }
    return type == "ufs" ? TSK_FS_TYPE_FFS_DETECT : TSK_FS_TYPE_UNSUPP;
}

FileType type_of(TSK_FS_META_TYPE_ENUM type) {
    switch (type) {
        case TSK_FS_META_TYPE_REG:
            return FileType::regular;
        case TSK_FS_META_TYPE_DIR:
            return FileType::directory;
        case TSK_FS_META_TYPE_LNK:
            return FileType::symlink;
        case TSK_FS_META_TYPE_BLK:
            return FileType::block_device;
        case TSK_FS_META_TYPE_CHR:
            return FileType::character_device;
        case TSK_FS_META_TYPE_FIFO:
            return FileType::fifo;
        case TSK_FS_META_TYPE_SOCK:
            return FileType::socket;
        default:
            return FileType::unknown;
    }
}

FileType type_of(TSK_FS_NAME_TYPE_ENUM type) {
    switch (type) {
        case TSK_FS_NAME_TYPE_REG:
            return FileType::regular;
        case TSK_FS_NAME_TYPE_DIR:
            return FileType::directory;
        case TSK_FS_NAME_TYPE_LNK:
            return FileType::symlink;
        default:
            return FileType::unknown;
    }
}

bool is_virtual(const TSK_FS_NAME& name) {
    return name.type == TSK_FS_NAME_TYPE_VIRT || name.type == TSK_FS_NAME_TYPE_VIRT_DIR;
}

std::string_view text_of(const TSK_FS_NAME& name) {
    return name.name != nullptr ? name.name : "";
}

Entry entry_of(const TSK_FS_NAME& name) {
    Entry entry;
    entry.name = text_of(name);
    entry.inode = name.meta_addr;
    entry.type = type_of(name.type);
    entry.deleted = (name.flags & TSK_FS_NAME_FLAG_UNALLOC) != 0;
    return entry;
}

void take_attributes(const TSK_FS_META& meta, Entry& entry) {
    if (const FileType type = type_of(meta.type); type != FileType::unknown) {
        entry.type = type;
    }
    entry.mode = static_cast<std::uint32_t>(meta.mode) & 07777;
    entry.links = static_cast<std::uint32_t>(std::max(meta.nlink, 0));
    entry.uid = static_cast<std::uint32_t>(meta.uid);
    entry.gid = static_cast<std::uint32_t>(meta.gid);
    entry.size = static_cast<std::uint64_t>(std::max<TSK_OFF_T>(meta.size, 0));
    entry.modified = meta.mtime;
    entry.modified_ns = meta.mtime_nano < 1'000'000'000 ? meta.mtime_nano : 0;
    if (entry.type == FileType::symlink && meta.link != nullptr) {
        entry.target = std::string(meta.link).substr(0, kMaxText);
    }
}

// The first component of PATH, which is cut off it.
std::string take_component(std::string& path) {
    const std::size_t begin = std::min(path.find_first_not_of('/'), path.size());
    const std::size_t end = std::min(path.find('/', begin), path.size());
    std::string component = path.substr(begin, end - begin);
    path.erase(0, end);
    return component;
}

bool has_component(const std::string& path) {
    return path.find_first_not_of('/') != path.npos;
}

}  // namespace

bool TskVolume::reads(const std::string& type) {
    return tsk_type(type) != TSK_FS_TYPE_UNSUPP;
}

std::unique_ptr<TskVolume> TskVolume::open(DiskLink& link, Volume volume, const std::string& type,
                                           End& trouble) {
    std::unique_ptr<TskVolume> opened(new TskVolume(link, volume));
    opened->fs_.reset(::tsk_fs_open_img(opened->image_.info(), 0, tsk_type(type)));
    if (!opened->fs_) {
        trouble = opened->trouble(fmt::format("the {} file system cannot be opened", type));
        return nullptr;
    }
    return opened;
}

End TskVolume::trouble(std::string_view what) {
    const std::string why = tsk_trouble();
    return image_.take_read_error() ? End{End::Status::read_error,
                                          fmt::format("{}: the disk cannot be read there", what)}
                                    : End{End::Status::damaged, fmt::format("{}: {}", what, why)};
}

bool TskVolume::is_shown(const TSK_FS_NAME& name, bool deleted) const {
    const bool is_deleted = (name.flags & TSK_FS_NAME_FLAG_UNALLOC) != 0;
    if (is_virtual(name) || !is_component(text_of(name)) || (is_deleted && !deleted)) {
        return false;
    }
    if (TSK_FS_TYPE_ISHFS(fs_->ftype) && name.meta_addr < kFirstHfsFile) {
        return false;
    }
    if (fs_->ftype == TSK_FS_TYPE_EXFAT &&
        std::ranges::find(kExfatOwn, text_of(name)) != std::end(kExfatOwn)) {
        return false;
    }
    // A name whose record is another's by now has none.
    return !TSK_FS_TYPE_ISNTFS(fs_->ftype) || name.meta_addr >= kFirstNtfsFile ||
           (is_deleted && name.meta_addr == 0);
}

bool TskVolume::same_name(std::string_view wanted, std::string_view there, bool exactly) const {
    if (exactly) {
        return wanted == there;
    }
    const bool folds = TSK_FS_TYPE_ISNTFS(fs_->ftype) || TSK_FS_TYPE_ISFAT(fs_->ftype) ||
                       TSK_FS_TYPE_ISHFS(fs_->ftype);
    return folds && wanted.size() == there.size() &&
           ::strncasecmp(wanted.data(), there.data(), wanted.size()) == 0;
}

bool TskVolume::add_attributes(Entry& entry) {
    const File file(::tsk_fs_file_open_meta(fs_.get(), nullptr, entry.inode));
    if (!file || file->meta == nullptr) {
        return false;
    }
    take_attributes(*file->meta, entry);
    return true;
}

// The names of a directory of ext2 to ext4, by its own chains. Nothing, where one is broken: then
// all is shown that The Sleuth Kit finds.
std::optional<std::vector<Entry>> TskVolume::chained_entries(std::uint64_t directory) {
    const File file(::tsk_fs_file_open_meta(fs_.get(), nullptr, directory));
    const std::size_t length = fs_->block_size;
    if (!TSK_FS_TYPE_ISEXT(fs_->ftype) || length > 32768 || !file || file->meta == nullptr ||
        file->meta->type != TSK_FS_META_TYPE_DIR ||
        file->meta->size % static_cast<TSK_OFF_T>(length) != 0) {
        return std::nullopt;
    }
    char features = 0;
    if (::tsk_fs_read(fs_.get(), kExtFeatures, &features, 1) != 1) {
        return std::nullopt;
    }
    const bool has_types = (features & kExtTypes) != 0;
    std::vector<Entry> entries;
    std::string block(length, '\0');
    for (TSK_OFF_T from = 0; from < file->meta->size; from += static_cast<TSK_OFF_T>(length)) {
        if (::tsk_fs_file_read(file.get(), from, block.data(), length,
                               TSK_FS_FILE_READ_FLAG_NONE) != static_cast<ssize_t>(length) ||
            !add_ext_entries(block, has_types, fs_->last_inum, entries)) {
            return std::nullopt;
        }
    }
    // A large directory has its names in the order of hashes, and inodes are read piece by piece.
    std::ranges::sort(entries, {}, &Entry::inode);
    return entries;
}

// All names that a directory has, and had if DELETED. False: it cannot be read.
bool TskVolume::each_name(std::uint64_t inode, bool deleted,
                          const std::function<bool(Entry&&)>& see) {
    auto chained = chained_entries(inode);
    if (chained && !deleted) {
        std::ignore =
            std::ranges::all_of(*chained, [&](Entry& each) { return see(std::move(each)); });
        return true;
    }
    const Directory directory(::tsk_fs_dir_open_meta(fs_.get(), inode));
    if (!directory) {
        return false;
    }
    std::unordered_set<std::string> there;
    for (Entry& entry : chained.value_or(std::vector<Entry>())) {
        there.insert(std::move(entry.name));
    }
    const std::size_t count = ::tsk_fs_dir_getsize(directory.get());
    for (std::size_t i = 0; i < count; ++i) {
        const TSK_FS_NAME* name = ::tsk_fs_dir_get_name(directory.get(), i);
        if (name == nullptr || !is_shown(*name, deleted)) {
            continue;
        }
        Entry entry = entry_of(*name);
        const bool is_hash = chained && !entry.deleted && !there.contains(entry.name);
        if (!is_hash && !see(std::move(entry))) {
            return true;
        }
    }
    return true;
}

End TskVolume::list(const AskList& question, const std::function<void(const Entry&)>& see) {
    End end;
    const bool read = each_name(question.inode, question.deleted, [&](Entry&& entry) {
        if (question.attributes && !add_attributes(entry) && !entry.deleted) {
            end = trouble(fmt::format("{}: its attributes cannot be read", entry.name));
        }
        see(entry);
        return true;
    });
    if (!read) {
        return trouble("the directory cannot be read");
    }
    return image_.take_read_error() ? trouble("the directory cannot be read to its end") : end;
}

// One component: the name as it is, else as it is but for upper and lower case, where the file
// system does not tell them apart. One that is there comes before one that was deleted.
End TskVolume::step(std::uint64_t directory, std::string_view name, bool deleted, Entry& found) {
    constexpr int kNone = 4;
    int best = kNone;
    const bool read = each_name(directory, deleted, [&](Entry&& there) {
        const bool exactly = same_name(name, there.name, true);
        if (exactly || same_name(name, there.name, false)) {
            const int rank = (exactly ? 0 : 1) + (there.deleted ? 2 : 0);
            if (rank < best) {
                best = rank;
                found = std::move(there);
            }
        }
        return best > 0;
    });
    if (!read) {
        return trouble("a directory on the way cannot be read");
    }
    if (best < kNone) {
        return add_attributes(found)
                   ? End{}
                   : trouble(fmt::format("{}: its attributes cannot be read", name));
    }
    return image_.take_read_error() ? trouble("a directory on the way cannot be read")
                                    : End{End::Status::not_found, ""};
}

// Symbolic links mean what they mean on the machine that the disk is of: an absolute one begins at
// this root, and `..` does not leave it.
End TskVolume::walk(std::string path, bool follow, bool deleted, Entry& found) {
    Entry root;
    root.inode = fs_->root_inum;
    root.type = FileType::directory;
    if (!add_attributes(root)) {
        return trouble("the root directory cannot be read");
    }
    std::vector<Entry> way{root};
    for (int links = 0; has_component(path);) {
        const std::string name = take_component(path);
        if (name == ".." && way.size() > 1) {
            way.pop_back();
        }
        if (name == "." || name == "..") {
            continue;
        }
        if (way.back().type != FileType::directory) {
            return {End::Status::not_found, fmt::format("{} is no directory", way.back().name)};
        }
        Entry next;
        if (End end = step(way.back().inode, name, deleted, next); end.status != End::Status::ok) {
            return end;
        }
        if (next.type == FileType::symlink && (follow || has_component(path))) {
            if (++links > kMaxLinks || path.size() + next.target.size() > 4 * kMaxText) {
                return {End::Status::invalid, "too many symbolic links"};
            }
            path = next.target + "/" + path;
            way.resize(next.target.starts_with('/') ? 1 : way.size());
            continue;
        }
        way.push_back(std::move(next));
    }
    found = std::move(way.back());
    return {};
}

End TskVolume::find(const AskPath& question, Entry& found) {
    return walk(question.path, question.follow, question.deleted, found);
}

End TskVolume::pieces(const AskPieces& question, const std::function<void(const Piece&)>& see) {
    const File file(::tsk_fs_file_open_meta(fs_.get(), nullptr, question.inode));
    const TSK_FS_ATTR* content = file ? ::tsk_fs_file_attr_get(file.get()) : nullptr;
    if (content == nullptr) {
        return trouble("the file's content cannot be found");
    }
    if ((content->flags & TSK_FS_ATTR_ENC) != 0) {
        return {End::Status::unsupported, "the file is encrypted by its file system"};
    }
    const bool as_it_is = (content->flags & TSK_FS_ATTR_NONRES) != 0 &&
                          (content->flags & TSK_FS_ATTR_COMP) == 0 && content->r == nullptr &&
                          content->nrd.skiplen == 0 && fs_->block_pre_size == 0 &&
                          fs_->block_post_size == 0;
    return as_it_is ? stored_pieces(*content, question, see)
                    : decoded_pieces(*content, question, see);
}

namespace {

// Gives the pieces of one answer in order, cut to what was asked, with no gaps between them.
class PieceRow {
   public:
    PieceRow(const AskPieces& question, std::uint64_t size,
             const std::function<void(const Piece&)>& see)
        : at_(question.offset),
          end_(question.offset + std::min(question.length, size - question.offset)),
          see_(see) {}

    bool full() const { return at_ >= end_ || count_ >= kMaxPieces; }
    std::uint64_t end() const { return end_; }

    // Up to UNTIL of the file; DISK is where the byte at the row's own place lies.
    void add(Piece::Kind kind, std::uint64_t until, std::uint64_t disk = 0) {
        until = std::min(until, end_);
        if (until > at_ && !full()) {
            Piece piece;
            piece.kind = kind;
            piece.offset = at_;
            piece.length = until - at_;
            piece.disk_offset = disk;
            see_(piece);
            at_ = until;
            ++count_;
        }
    }
    std::uint64_t at() const { return at_; }

   private:
    std::uint64_t at_;
    std::uint64_t end_;
    const std::function<void(const Piece&)>& see_;
    std::uint64_t count_ = 0;
};

}  // namespace

End TskVolume::stored_pieces(const TSK_FS_ATTR& attribute, const AskPieces& question,
                             const std::function<void(const Piece&)>& see) {
    const auto size = static_cast<std::uint64_t>(std::max<TSK_OFF_T>(attribute.size, 0));
    if (question.offset >= size) {
        return {};
    }
    const std::uint64_t block = fs_->block_size;
    const Volume& volume = image_.volume();
    const std::uint64_t blocks = volume.length / block;
    // Behind what was ever written a file is zero, whatever its clusters hold.
    const auto written = static_cast<std::uint64_t>(std::max<TSK_OFF_T>(attribute.nrd.initsize, 0));
    const std::uint64_t stored = std::min(size, written);
    // Of a Unix file system the library calls "filler" what was never written, as it does what it
    // has not found of others.
    const bool has_gaps = TSK_FS_TYPE_ISEXT(fs_->ftype) || TSK_FS_TYPE_ISFFS(fs_->ftype);
    const auto gap = has_gaps ? Piece::Kind::hole : Piece::Kind::lost;
    PieceRow row(question, size, see);
    for (const TSK_FS_ATTR_RUN* run = attribute.nrd.run; run != nullptr && !row.full();
         run = run->next) {
        if (run->len == 0 || run->offset > size / block || run->offset + run->len < run->offset) {
            continue;
        }
        const std::uint64_t begin = run->offset * block;
        const std::uint64_t until = run->len > size / block ? size : begin + run->len * block;
        if (until <= row.at()) {
            continue;
        }
        row.add(gap, begin);
        const bool is_there = run->addr < blocks && run->len <= blocks - run->addr;
        if ((run->flags & TSK_FS_ATTR_RUN_FLAG_SPARSE) != 0) {
            row.add(Piece::Kind::hole, until);
        } else if ((run->flags & TSK_FS_ATTR_RUN_FLAG_FILLER) != 0) {
            row.add(gap, until);
        } else if (is_there) {
            const std::uint64_t disk = volume.start + run->addr * block + (row.at() - begin);
            row.add(Piece::Kind::disk, std::min(until, std::max(stored, row.at())), disk);
            row.add(Piece::Kind::hole, until);
        } else {
            row.add(Piece::Kind::lost, until);
        }
    }
    row.add(gap, row.end());
    return {};
}

// What the library has to make out of something else: compressed, or kept in the inode.
End TskVolume::decoded_pieces(const TSK_FS_ATTR& attribute, const AskPieces& question,
                              const std::function<void(const Piece&)>& see) {
    const auto size = static_cast<std::uint64_t>(std::max<TSK_OFF_T>(attribute.size, 0));
    if (question.offset >= size) {
        return {};
    }
    const std::uint64_t asked = std::min({question.length, size - question.offset, kMaxDecoded});
    for (std::uint64_t done = 0; done < asked;) {
        Piece piece;
        piece.kind = Piece::Kind::bytes;
        piece.offset = question.offset + done;
        piece.bytes.resize(std::min<std::uint64_t>(asked - done, kMaxRead));
        const ssize_t got =
            ::tsk_fs_attr_read(&attribute, static_cast<TSK_OFF_T>(piece.offset), piece.bytes.data(),
                               piece.bytes.size(), TSK_FS_FILE_READ_FLAG_NONE);
        if (got <= 0) {
            return trouble("the file's content cannot be read");
        }
        piece.bytes.resize(static_cast<std::size_t>(got));
        piece.length = piece.bytes.size();
        see(piece);
        done += piece.length;
    }
    return {};
}

}  // namespace signpost::files
