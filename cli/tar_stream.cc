// SPDX-License-Identifier: BSD-3-Clause

#include "cli/tar_stream.h"

#include <archive.h>
#include <archive_entry.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <clocale>

#include "catalog/disk_name.h"

namespace signpost {

namespace {

using EntryPtr = std::unique_ptr<archive_entry, decltype(&::archive_entry_free)>;

constexpr std::size_t kMostHoles = 20'000;  // of one file, before it is written as if it had none
constexpr mode_t kPermissions = 0777;

EntryPtr entry_of(const std::string& path, const files::Entry& entry) {
    EntryPtr made(::archive_entry_new(), ::archive_entry_free);
    const bool is_directory = entry.type == files::FileType::directory;
    ::archive_entry_copy_pathname(made.get(), path.c_str());
    ::archive_entry_set_filetype(made.get(), entry.type == files::FileType::symlink ? AE_IFLNK
                                             : is_directory                         ? AE_IFDIR
                                                                                    : AE_IFREG);
    const mode_t usual = is_directory ? 0755 : 0644;
    ::archive_entry_set_perm(made.get(), entry.mode == 0 ? usual : entry.mode & kPermissions);
    ::archive_entry_set_uid(made.get(), static_cast<la_int64_t>(entry.uid));
    ::archive_entry_set_gid(made.get(), static_cast<la_int64_t>(entry.gid));
    ::archive_entry_set_mtime(made.get(), entry.modified, entry.modified_ns);
    if (entry.type == files::FileType::symlink) {
        ::archive_entry_copy_symlink(made.get(), entry.target.c_str());
    }
    return made;
}

class TarSink : public ContentSink {
   public:
    explicit TarSink(archive* stream) : stream_(stream) {}

    Result<void> bytes(std::uint64_t /*offset*/, std::span<const std::byte> bytes) override {
        while (!bytes.empty()) {
            const la_ssize_t written = ::archive_write_data(stream_, bytes.data(), bytes.size());
            if (written <= 0) {
                return fail(Errc::io, escaped(::archive_error_string(stream_)));
            }
            bytes = bytes.subspan(static_cast<std::size_t>(written));
        }
        return {};
    }
    Result<void> hole(std::uint64_t offset, std::uint64_t length) override {
        static constexpr std::byte kZeroes[64 * 1024]{};
        for (std::uint64_t done = 0; done < length; done += sizeof kZeroes) {
            const auto part = std::min<std::uint64_t>(length - done, sizeof kZeroes);
            if (auto given = bytes(offset, std::span(kZeroes).first(part)); !given) {
                return given;
            }
        }
        return {};
    }

   private:
    archive* stream_;
};

// The map of a file with holes; a format with maps needs it first. Nothing for other files.
Result<void> add_map(archive_entry* to, const files::Entry& entry, FileReader& reader,
                     files::Volume volume) {
    struct Run {
        std::uint64_t offset;
        std::uint64_t length;
    };
    std::vector<Run> data;
    bool has_holes = false;
    for (std::uint64_t at = 0; at < entry.size;) {
        const auto pieces = reader.pieces({volume, entry.inode, at, entry.size - at});
        if (!pieces || pieces->empty()) {
            return pieces ? fail(Errc::corrupt, "the file ends before its end")
                          : Result<void>(std::unexpected(pieces.error()));
        }
        for (const files::Piece& piece : *pieces) {
            at += piece.length;
            // What has to be decoded has no map that is worth reading it twice.
            if (piece.kind == files::Piece::Kind::bytes || data.size() > kMostHoles) {
                return {};
            }
            if (piece.kind == files::Piece::Kind::hole) {
                has_holes = true;
            } else if (!data.empty() && data.back().offset + data.back().length == piece.offset) {
                data.back().length += piece.length;
            } else {
                data.push_back({piece.offset, piece.length});
            }
        }
    }
    for (const Run& run : data) {
        if (has_holes) {
            ::archive_entry_sparse_add_entry(to, static_cast<la_int64_t>(run.offset),
                                             static_cast<la_int64_t>(run.length));
        }
    }
    if (has_holes && data.empty()) {
        ::archive_entry_sparse_add_entry(to, static_cast<la_int64_t>(entry.size), 0);
    }
    return {};
}

}  // namespace

void TarStream::Free::operator()(archive* stream) const {
    ::archive_write_free(stream);
}

std::unexpected<Error> TarStream::trouble() const {
    const char* text = ::archive_error_string(stream_.get());
    const bool is_full = ::archive_errno(stream_.get()) == ENOSPC;
    return fail(is_full ? Errc::full : Errc::io,
                escaped(text != nullptr ? text : "the archive cannot be written"));
}

Result<std::unique_ptr<TarStream>> TarStream::open(int fd) {
    // Names that are UTF-8 are said to be; others go as the bytes that they are.
    std::setlocale(LC_CTYPE, "C.UTF-8");
    std::unique_ptr<TarStream> tar(new TarStream(::archive_write_new()));
    if (!tar->stream_ || ::archive_write_set_format_pax_restricted(tar->stream_.get()) != 0 ||
        ::archive_write_set_bytes_in_last_block(tar->stream_.get(), 1) != 0 ||
        ::archive_write_open_fd(tar->stream_.get(), fd) != 0) {
        return tar->trouble();
    }
    return tar;
}

Result<void> TarStream::add(const std::string& path, const files::Entry& entry) {
    const EntryPtr made = entry_of(path, entry);
    return ::archive_write_header(stream_.get(), made.get()) < ARCHIVE_WARN ? trouble()
                                                                            : Result<void>();
}

Result<void> TarStream::add_file(const std::string& path, const files::Entry& entry,
                                 FileReader& reader, files::Volume volume) {
    const EntryPtr made = entry_of(path, entry);
    ::archive_entry_set_size(made.get(), static_cast<la_int64_t>(entry.size));
    if (auto mapped = add_map(made.get(), entry, reader, volume); !mapped) {
        return mapped;
    }
    if (::archive_write_header(stream_.get(), made.get()) < ARCHIVE_WARN) {
        return trouble();
    }
    TarSink sink(stream_.get());
    return read_content(reader, {volume, entry.inode, entry.size}, sink);
}

Result<void> TarStream::finish() {
    return ::archive_write_close(stream_.get()) < ARCHIVE_WARN ? trouble() : Result<void>();
}

}  // namespace signpost
