// SPDX-License-Identifier: BSD-3-Clause
//
// One file of a virtnbdbackup set (its versions 1 and 2 of the stream): what its beginning says,
// and where in it the parts of the disk are. A stream is frames: "meta", which has JSON; "data" and
// "zero" with a place on the disk; "stop". Compressed data is one or more LZ4 frames, whose sizes
// are listed in JSON behind "stop". A file without "meta" is the disk as it is, as the program
// writes it for raw disks.
//
// Whoever wrote the file is not trusted: what overlaps, leaves the disk or the file, or does not
// unpack to what it says is refused, and memory follows what the file has, not what it says.
//
// Errors: invalid, with a message that goes after the file's name; io as read_at gave it. Values;
// pure but for read_at. Threads: any.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "nbd-server/disk/image_header.h"
#include "nbd-server/disk/image_run.h"

namespace signpost {

struct BackupMeta {
    bool stream = true;  // false: the disk as it is, and the rest but for SIZE is not known
    std::uint64_t size = 0;
    std::uint64_t data_bytes = 0;
    std::string date;  // "2026-11-20T02:00:03"; the zone is not said
    std::string disk;  // "vda"
    std::string checkpoint;
    std::string parent;  // the checkpoint that it is based on
    bool incremental = false;
    bool compressed = false;
    std::uint64_t frames_at = 0;  // where the frames behind "meta" begin
};

Result<BackupMeta> read_backup_meta(const ImageBytes& bytes);

// Whether the end is there that META lets expect; a file that is still being copied has none.
Result<void> check_backup_end(const ImageBytes& bytes, const BackupMeta& meta);

class BackupIndex {
   public:
    static constexpr std::size_t kMostPieces = 8 << 20;  // some 200 MB
    static constexpr std::uint32_t kMostUnpacked = 64 << 20;

    // Reads the head of each frame. MOST: pieces, else it is refused.
    static Result<BackupIndex> read(const ImageBytes& bytes, const BackupMeta& meta,
                                    std::size_t most = kMostPieces);

    // As ImageTables::look. What an increment does not have is absent, else it is zero.
    void look(std::uint64_t begin, std::uint64_t end, std::uint16_t file,
              std::vector<ImageRun>& runs) const;

    std::uint64_t size() const { return size_; }
    std::size_t pieces() const { return pieces_.size(); }

   private:
    friend class BackupFrames;

    struct Piece {
        std::uint64_t begin;
        std::uint64_t at;      // in the file; kZero
        std::uint32_t length;  // on the disk
        std::uint32_t packed;  // bytes in the file; 0: as it is
    };
    static constexpr std::uint64_t kZero = ~std::uint64_t{0};

    BackupIndex(std::uint64_t size, bool incremental) : size_(size), incremental_(incremental) {}

    static ImageRun run_of(const Piece& piece, std::uint16_t file);

    std::uint64_t size_;
    bool incremental_;
    std::vector<Piece> pieces_;  // in order
};

// FROM, one LZ4 frame, unpacked. Errors: invalid, when it does not give exactly BYTES.
Result<std::vector<std::byte>> unpack_lz4(const std::vector<std::byte>& from, std::size_t bytes);

}  // namespace signpost
