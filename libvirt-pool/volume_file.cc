// SPDX-License-Identifier: BSD-3-Clause

#include "libvirt-pool/volume_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <span>
#include <vector>

#include "catalog/disk_name.h"
#include "libvirt-pool/pool_file.h"

namespace signpost {

namespace {

constexpr std::string_view kKind = "volume";
constexpr std::uint64_t kCluster = 64 * 1024;
constexpr std::uint64_t kPage = 4096;
constexpr std::uint32_t kMagic = 0x514649fb;
constexpr std::uint32_t kHeaderLength = 112;
constexpr std::uint32_t kBackingFormat = 0xe2792aca;
constexpr std::uint64_t kRefcountTable = kCluster;
constexpr std::uint64_t kRefcountBlock = 2 * kCluster;
constexpr std::uint64_t kL1 = 3 * kCluster;
constexpr std::uint64_t kBytesPerL1Entry = kCluster / 8 * kCluster;

// In the byte ranges that QEMU locks: BASE + permission, and OTHERS + what it lets others do.
constexpr off_t kPermissions = 100;
constexpr off_t kShared = 200;
constexpr int kWrite = 1;
constexpr int kConsistentRead = 0;

std::uint64_t l1_entries(std::uint64_t size) {
    return (size + kBytesPerL1Entry - 1) / kBytesPerL1Entry;
}

// The file ends with its table of clusters, which is a hole.
std::uint64_t file_size(const VolumeTerms& terms) {
    return kL1 + l1_entries(terms.size) * 8;
}

std::uint64_t clusters(const VolumeTerms& terms) {
    return (file_size(terms) + kCluster - 1) / kCluster;
}

class Writer {
   public:
    explicit Writer(std::span<std::byte> to) : to_(to) {}

    template <class Number>
    void number(Number value) {
        for (std::size_t i = sizeof value; i-- > 0;) {
            to_[at_++] = static_cast<std::byte>(value >> (8 * i));
        }
    }
    void text(std::string_view text) {
        std::memcpy(to_.data() + at_, text.data(), text.size());
        at_ += text.size();
    }
    void seek(std::size_t at) { at_ = at; }

   private:
    std::span<std::byte> to_;
    std::size_t at_ = 0;
};

std::uint64_t number_at(std::span<const std::byte> from, std::size_t at, std::size_t length) {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < length; ++i) {
        value = value << 8 | static_cast<std::uint64_t>(from[at + i]);
    }
    return value;
}

using Page = std::array<std::byte, kPage>;

constexpr std::size_t kExtensions = kHeaderLength;
constexpr std::size_t kName = kExtensions + 8 + 8 + 8;  // behind the format and the end

Page header_page(const VolumeTerms& terms) {
    Page page{};
    Writer to(page);
    to.number(kMagic);
    to.number(std::uint32_t{3});
    to.number(std::uint64_t{kName});
    to.number(static_cast<std::uint32_t>(terms.backing.size()));
    to.number(std::uint32_t{16});  // bits of a cluster's size
    to.number(terms.size);
    to.number(std::uint32_t{0});  // no encryption
    to.number(static_cast<std::uint32_t>(l1_entries(terms.size)));
    to.number(kL1);
    to.number(kRefcountTable);
    to.number(std::uint32_t{1});
    to.number(std::uint32_t{0});  // no snapshots
    to.number(std::uint64_t{0});
    to.number(std::uint64_t{0});  // no features: incompatible, compatible, autoclear
    to.number(std::uint64_t{0});
    to.number(std::uint64_t{0});
    to.number(std::uint32_t{4});  // reference counts of 16 bits
    to.number(kHeaderLength);
    to.seek(kExtensions);
    to.number(kBackingFormat);
    to.number(std::uint32_t{3});
    to.text("raw");
    to.seek(kName);
    to.text(terms.backing);
    return page;
}

Page refcount_table_page() {
    Page page{};
    Writer(page).number(kRefcountBlock);
    return page;
}

Page refcount_block_page(const VolumeTerms& terms) {
    Page page{};
    Writer to(page);
    for (std::uint64_t i = 0; i < clusters(terms); ++i) {
        to.number(std::uint16_t{1});
    }
    return page;
}

bool write_page(int fd, const Page& page, std::uint64_t at) {
    errno = ENOSPC;  // what a short write means
    return ::pwrite(fd, page.data(), page.size(), static_cast<off_t>(at)) ==
           static_cast<ssize_t>(page.size());
}

bool write_all(int fd, const VolumeTerms& terms) {
    return write_page(fd, header_page(terms), 0) &&
           write_page(fd, refcount_table_page(), kRefcountTable) &&
           write_page(fd, refcount_block_page(terms), kRefcountBlock) &&
           ::ftruncate(fd, static_cast<off_t>(file_size(terms))) == 0;
}

Result<void> write_as(int directory, const std::string& file, const VolumeTerms& terms,
                      unsigned rename_flags) {
    if (auto sound = check_terms(file, terms); !sound) {
        return sound;
    }
    return write_whole(directory, kKind, file, rename_flags,
                       [&](int fd) { return write_all(fd, terms); });
}

// False: it ends earlier, or cannot be read.
bool read_page(int fd, Page& page, std::uint64_t at) {
    return ::pread(fd, page.data(), page.size(), static_cast<off_t>(at)) ==
           static_cast<ssize_t>(page.size());
}

VolumeTerms terms_of(const Page& header) {
    VolumeTerms terms;
    terms.size = number_at(header, 24, 8);
    const std::uint64_t at = number_at(header, 8, 8);
    const std::uint64_t length = number_at(header, 16, 4);
    if (at >= kExtensions && length <= kMaxBacking && at <= kPage - length) {
        terms.backing.assign(reinterpret_cast<const char*>(header.data()) + at, length);
    }
    return terms;
}

// Nothing behind the third page of its tables: what follows each of them is a hole, or zeroes.
bool has_no_more_data(int fd, std::uint64_t end) {
    for (const std::uint64_t from : {kPage, kRefcountTable + kPage, kRefcountBlock + kPage}) {
        const std::uint64_t to = from < kCluster       ? kRefcountTable
                                 : from < 2 * kCluster ? kRefcountBlock
                                                       : end;
        std::vector<std::byte> bytes(kCluster);
        for (std::uint64_t at = from; at < to;) {
            const off_t data = ::lseek(fd, static_cast<off_t>(at), SEEK_DATA);
            if (data < 0 || static_cast<std::uint64_t>(data) >= to) {
                break;
            }
            at = static_cast<std::uint64_t>(data);
            const std::size_t length = std::min<std::uint64_t>(to - at, bytes.size());
            const ssize_t got = ::pread(fd, bytes.data(), length, static_cast<off_t>(at));
            if (got <= 0 || std::any_of(bytes.begin(), bytes.begin() + got,
                                        [](std::byte byte) { return byte != std::byte{}; })) {
                return false;
            }
            at += static_cast<std::uint64_t>(got);
        }
    }
    return true;
}

bool is_as_written(int fd, const Page& header, const VolumeTerms& terms, std::uint64_t size) {
    Page page;
    return check_terms("", terms) && size == file_size(terms) && header == header_page(terms) &&
           read_page(fd, page, kRefcountTable) && page == refcount_table_page() &&
           read_page(fd, page, kRefcountBlock) && page == refcount_block_page(terms) &&
           has_no_more_data(fd, size);
}

struct flock byte_lock(short type, off_t at) {
    struct flock lock {};
    lock.l_type = type;
    lock.l_whence = SEEK_SET;
    lock.l_start = at;
    lock.l_len = 1;
    return lock;
}

bool lock_byte(int fd, off_t at) {
    struct flock lock = byte_lock(F_RDLCK, at);
    return ::fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

// Whether another holds the byte: only then would it keep a writer out.
bool is_locked(int fd, off_t at) {
    struct flock lock = byte_lock(F_WRLCK, at);
    return ::fcntl(fd, F_OFD_GETLK, &lock) != 0 || lock.l_type != F_UNLCK;
}

}  // namespace

Result<void> check_terms(const std::string& file, const VolumeTerms& terms) {
    if (terms.size == 0 || terms.size > kMaxVolumeSize || terms.size % 512 != 0) {
        return fail(Errc::invalid,
                    fmt::format("volume {}: a disk of {} bytes cannot be one; whole sectors of 512 "
                                "bytes and up to 1 PiB can",
                                escaped(file), terms.size));
    }
    if (terms.backing.empty() || terms.backing.size() > kMaxBacking) {
        return fail(Errc::invalid, fmt::format("volume {}: its backing file's name has {} bytes; "
                                               "1 to {} are possible",
                                               escaped(file), terms.backing.size(), kMaxBacking));
    }
    return {};
}

Result<void> write_volume(int directory, const std::string& file, const VolumeTerms& terms) {
    return write_as(directory, file, terms, RENAME_NOREPLACE);
}

Result<void> replace_volume(int directory, const std::string& file, const VolumeTerms& terms) {
    return write_as(directory, file, terms, 0);
}

Result<VolumeFacts> inspect_volume(int directory, const std::string& file) {
    const auto fd = open_regular(directory, kKind, file, O_RDONLY);
    if (!fd) {
        return std::unexpected(fd.error());
    }
    struct stat status {};
    if (::fstat(fd->get(), &status) != 0) {
        return file_failed(kKind, file, errno);
    }
    VolumeFacts facts;
    facts.allocated = static_cast<std::uint64_t>(status.st_blocks) * 512;
    Page header;
    if (!read_page(fd->get(), header, 0) || number_at(header, 0, 4) != kMagic) {
        return facts;
    }
    facts.state = VolumeState::written;
    facts.terms = terms_of(header);
    if (is_as_written(fd->get(), header, facts.terms, static_cast<std::uint64_t>(status.st_size))) {
        facts.state = VolumeState::pristine;
    }
    return facts;
}

// As a writer that lets others do nothing: it holds all permissions' bytes that a writer holds, and
// says of each that it does not share it.
Result<UniqueFd> lock_volume(int directory, const std::string& file) {
    auto fd = open_regular(directory, kKind, file, O_RDWR);
    if (!fd) {
        return fd;
    }
    const auto in_use = [&] {
        return fail(Errc::unavailable,
                    fmt::format("volume {}: a machine or a program has it open", escaped(file)));
    };
    for (const int permission : {kConsistentRead, kWrite}) {
        if (!lock_byte(fd->get(), kPermissions + permission) ||
            !lock_byte(fd->get(), kShared + permission)) {
            return in_use();
        }
    }
    for (const int permission : {kConsistentRead, kWrite}) {
        if (is_locked(fd->get(), kPermissions + permission) ||
            is_locked(fd->get(), kShared + permission)) {
            return in_use();
        }
    }
    return fd;
}

}  // namespace signpost
