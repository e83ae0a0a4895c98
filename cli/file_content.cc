// SPDX-License-Identifier: BSD-3-Clause

#include "cli/file_content.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <memory>

#include "nbd-server/disk/beneath.h"

namespace signpost {

namespace {

using files::Piece;

constexpr std::uint64_t kMostBytes = 16 * 1024 * 1024;  // under way
constexpr std::size_t kMostReads = 256;
constexpr std::uint64_t kAlignment = 4096;  // as much as any server asks for, nearly always
constexpr std::chrono::milliseconds kTurn{1000};

// A part of the file on its way to the sink.
struct Part {
    Piece::Kind kind;
    std::uint64_t offset;
    std::uint64_t length;
    std::vector<std::byte> buffer;
    std::uint64_t skip = 0;  // bytes of the buffer before the file's
    int status = -1;         // -1: on its way; else an errno value
};

class ContentReading {
   public:
    ContentReading(FileReader& reader, const FileAt& file, ContentSink& sink)
        : reader_(reader), file_(file), sink_(sink) {}
    ContentReading(const ContentReading&) = delete;
    ContentReading& operator=(const ContentReading&) = delete;

    Result<void> run();

   private:
    Result<void> add(Piece& piece);
    Result<void> add_from_disk(const Piece& piece);
    Result<void> start(const std::shared_ptr<Part>& part, std::uint64_t disk_offset);
    Result<void> make_room();
    Result<void> give_first();

    FileReader& reader_;
    const FileAt& file_;
    ContentSink& sink_;
    std::deque<std::shared_ptr<Part>> parts_;
    std::uint64_t bytes_ = 0;  // in buffers
};

Result<void> ContentReading::run() {
    for (std::uint64_t at = 0; at < file_.size;) {
        auto pieces = reader_.pieces({file_.volume, file_.inode, at, file_.size - at});
        if (!pieces) {
            return std::unexpected(pieces.error());
        }
        if (pieces->empty()) {
            return fail(Errc::corrupt,
                        fmt::format("the file ends at byte {} of {}", at, file_.size));
        }
        for (Piece& piece : *pieces) {
            at += piece.length;
            if (auto added = add(piece); !added) {
                return added;
            }
        }
    }
    while (!parts_.empty()) {
        if (auto given = give_first(); !given) {
            return given;
        }
    }
    return {};
}

Result<void> ContentReading::add(Piece& piece) {
    if (piece.kind == Piece::Kind::lost) {
        return fail(Errc::corrupt,
                    fmt::format("the file system does not say where {} bytes at {} of it are",
                                piece.length, piece.offset));
    }
    if (piece.kind == Piece::Kind::disk) {
        return add_from_disk(piece);
    }
    auto part = std::make_shared<Part>(Part{piece.kind, piece.offset, piece.length, {}});
    const auto bytes = std::as_bytes(std::span(piece.bytes));
    part->buffer.assign(bytes.begin(), bytes.end());
    part->status = 0;
    bytes_ += part->buffer.size();
    parts_.push_back(std::move(part));
    return make_room();
}

Result<void> ContentReading::add_from_disk(const Piece& piece) {
    for (std::uint64_t done = 0; done < piece.length;) {
        const std::uint64_t length =
            std::min(piece.length - done, reader_.disk().most_at_once() - 2 * kAlignment);
        auto part = std::make_shared<Part>(Part{piece.kind, piece.offset + done, length, {}});
        parts_.push_back(std::move(part));
        if (auto started = start(parts_.back(), piece.disk_offset + done); !started) {
            return started;
        }
        done += length;
        if (auto room = make_room(); !room) {
            return room;
        }
    }
    return {};
}

// Reads whole sectors around it: a server may refuse less.
Result<void> ContentReading::start(const std::shared_ptr<Part>& added, std::uint64_t disk_offset) {
    Part& part = *added;
    DiskBlocks& disk = reader_.disk();
    const std::uint64_t begin = disk_offset - disk_offset % kAlignment;
    const std::uint64_t wanted = disk_offset + part.length;
    const std::uint64_t end =
        std::min(disk.size(), (wanted + kAlignment - 1) / kAlignment * kAlignment);
    part.skip = disk_offset - begin;
    part.buffer.resize(end - begin);
    bytes_ += part.buffer.size();
    // The read keeps the part: it may come when nobody waits for it any more.
    auto started =
        disk.read_past_cache(begin, part.buffer, [added](int error) { added->status = error; });
    if (!started) {
        part.status = EIO;
    }
    return started;
}

Result<void> ContentReading::make_room() {
    while (!parts_.empty() &&
           (bytes_ > kMostBytes || parts_.size() > kMostReads || parts_.front()->status >= 0)) {
        if (auto given = give_first(); !given) {
            return given;
        }
    }
    return {};
}

Result<void> ContentReading::give_first() {
    Part& part = *parts_.front();
    while (part.status < 0) {
        if (auto turned = reader_.turn(kTurn); !turned) {
            return turned;
        }
    }
    if (part.status != 0) {
        return fail(Errc::io, fmt::format("bytes {} to {} of it cannot be read: {}", part.offset,
                                          part.offset + part.length, error_text(part.status)));
    }
    auto given =
        part.kind == Piece::Kind::hole
            ? sink_.hole(part.offset, part.length)
            : sink_.bytes(part.offset, std::span(part.buffer).subspan(part.skip, part.length));
    bytes_ -= part.buffer.size();
    parts_.pop_front();
    return given;
}

}  // namespace

Result<void> read_content(FileReader& reader, const FileAt& file, ContentSink& sink) {
    return ContentReading(reader, file, sink).run();
}

}  // namespace signpost
