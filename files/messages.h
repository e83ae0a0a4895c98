// SPDX-License-Identifier: BSD-3-Clause
//
// What the command and its file reader say to each other. The reader is a process that knows file
// systems and nothing else: it can open no file and no connection, and asks the command for the
// bytes of the disk. The command asks questions, one at a time; each is answered by any number of
// entries or pieces and one End. While it works on one, the reader may say what it Wants of the
// disk; the command then supplies it.
//
// A reader that has read a hostile file system may say anything. So decode_answer() takes nothing
// for granted: sizes are bounded, a name is one component, and what does not fit is an error.
//
// A frame is the length of the rest (four bytes), a byte that says what it is, and its fields,
// big-endian. Values and pure functions; threads: any.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "catalog/error.h"

namespace signpost::files {

inline constexpr std::size_t kMaxRead = std::size_t{1} << 20;  // of one Want
inline constexpr std::size_t kMaxFrame = kMaxRead + 4096;
inline constexpr std::size_t kMaxName = 1024;
inline constexpr std::size_t kMaxText = 4096;  // paths, links and messages
inline constexpr std::size_t kMaxRanges = 4096;
inline constexpr std::size_t kMaxKey = 512;
inline constexpr std::size_t kMaxPassphrase = 512 * 1024;
inline constexpr std::size_t kFrameHead = 4;

// Where a file system lies on the disk, in bytes.
struct Volume {
    std::uint64_t start = 0;
    std::uint64_t length = 0;

    bool operator==(const Volume&) const = default;
};

struct Range {
    std::uint64_t offset;
    std::uint64_t length;
};

enum class FileType : std::uint8_t {
    regular,
    directory,
    symlink,
    block_device,
    character_device,
    fifo,
    socket,
    unknown,
};

// ---- the command's questions

// First of all. The reader works on a disk of that size.
struct Begin {
    std::uint64_t size = 0;
};

// What was wanted; or an errno value and no bytes.
struct Supply {
    std::uint32_t error = 0;
    std::string_view bytes;  // in the frame
};

struct AskPartitions {};

struct AskPath {  // one entry
    Volume volume;
    std::string path;
    bool follow = true;    // the last component, when it is a symbolic link
    bool deleted = false;  // deleted names, too
};

struct AskList {  // an entry for each name in a directory
    Volume volume;
    std::uint64_t inode = 0;
    bool attributes = true;  // else only name, inode and, where the directory says it, type
    bool deleted = false;
};

// Pieces of a file's content from OFFSET on, without gaps; not necessarily all: then it is asked
// again.
struct AskPieces {
    Volume volume;
    std::uint64_t inode = 0;
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
};

struct AskUnlock {  // how an encrypted volume is to be read
    Volume volume;
    std::string passphrase;  // a file's content
};

using Question = std::variant<Begin, Supply, AskPartitions, AskPath, AskList, AskPieces, AskUnlock>;

// ---- the reader's answers

struct Want {
    std::uint64_t offset = 0;
    std::uint32_t length = 0;
};

// What will soon be wanted; no answer.
struct Ahead {
    std::vector<Range> ranges;
};

struct Partition {
    std::uint32_t number = 0;  // as Linux counts them; 0: the disk has no partition table
    Volume volume;
    std::string name;         // what the partition table says it is
    std::string file_system;  // as blkid(8) calls it; empty: unknown
    std::string label;
    std::string uuid;
    bool readable = false;  // by this reader
};

struct Entry {
    std::string name;  // of one component, in the file system's own bytes; empty: the root
    std::uint64_t inode = 0;
    FileType type = FileType::unknown;
    bool deleted = false;
    std::uint32_t mode = 0;  // permissions
    std::uint32_t links = 1;
    std::uint64_t uid = 0;
    std::uint64_t gid = 0;
    std::uint64_t size = 0;
    std::int64_t modified = 0;  // seconds since 1970
    std::uint32_t modified_ns = 0;
    std::string target;  // of a symbolic link
};

struct Piece {
    enum class Kind : std::uint8_t { disk, hole, bytes, lost };

    Kind kind = Kind::hole;
    std::uint64_t offset = 0;  // in the file
    std::uint64_t length = 0;
    std::uint64_t disk_offset = 0;
    std::string bytes;
};

struct Unlocked {
    Volume volume;              // what was encrypted, on the disk; whole sectors
    std::uint32_t sector = 0;   // as long is what is encrypted at once; a power of two
    std::uint64_t skipped = 0;  // sectors of 512 bytes that are counted before the first
    std::string cipher;         // as dm-crypt calls it: "aes-xts-plain64"
    std::string key;
};

struct End {
    enum class Status : std::uint8_t { ok, not_found, damaged, unsupported, read_error, invalid };

    Status status = Status::ok;
    std::string message;
};

using Answer = std::variant<Want, Ahead, Partition, Entry, Piece, Unlocked, End>;

// A whole frame.
std::string encode(const Question& question);
std::string encode(const Answer& answer);

// FRAME without its length.
Result<Question> decode_question(std::string_view frame);
Result<Answer> decode_answer(std::string_view frame);

// The length of the frame that BYTES begin with, without its head; none: more bytes are needed.
// Fails when no frame is that long, or none is so short.
Result<std::optional<std::size_t>> frame_length(std::string_view bytes);

// One component of a path, and no way out of a directory.
bool is_component(std::string_view name);

}  // namespace signpost::files
