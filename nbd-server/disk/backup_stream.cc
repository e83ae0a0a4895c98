// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/disk/backup_stream.h"

#include <fmt/format.h>
#include <lz4frame.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <span>
#include <string_view>
#include <utility>

#include "nbd-server/disk/backup_json.h"
#include "nbd-server/disk/image_header_parts.h"

namespace signpost {

namespace {

using header::read_block;
using Kind = ImageRun::Kind;

constexpr std::uint64_t kHead = 40;  // "data 0123456789abcdef 0123456789abcdef\r\n"
constexpr std::string_view kEnd = "\r\n";
constexpr std::uint64_t kMostMeta = 64 << 10;
constexpr std::uint64_t kMostBlocksText = 256 << 20;
constexpr std::uint64_t kMostPacked = BackupIndex::kMostUnpacked + (1 << 20);
constexpr std::uint64_t kLongestPiece = std::uint64_t{1} << 31;

struct Head {
    std::string_view kind;
    std::uint64_t start = 0;
    std::uint64_t length = 0;
};

std::optional<std::uint64_t> hexadecimal(std::string_view digits) {
    std::uint64_t value = 0;
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
    return error == std::errc() && end == digits.data() + digits.size() ? std::optional(value)
                                                                        : std::nullopt;
}

// TEXT: kHead bytes.
std::optional<Head> parse_head(std::string_view text) {
    if (text[4] != ' ' || text[21] != ' ' || !text.ends_with(kEnd)) {
        return std::nullopt;
    }
    const auto start = hexadecimal(text.substr(5, 16));
    const auto length = hexadecimal(text.substr(22, 16));
    if (!start || !length) {
        return std::nullopt;
    }
    return Head{text.substr(0, 4), *start, *length};
}

// "2026-11-20T02:00:03.123456", or without the fraction. Empty: no time.
std::string to_the_second(std::string_view date) {
    constexpr std::string_view kForm = "dddd-dd-ddTdd:dd:dd";
    if (date.size() < kForm.size() || (date.size() > kForm.size() && date[kForm.size()] != '.')) {
        return {};
    }
    for (std::size_t i = 0; i < kForm.size(); ++i) {
        const bool digit = date[i] >= '0' && date[i] <= '9';
        if (kForm[i] == 'd' ? !digit : date[i] != kForm[i]) {
            return {};
        }
    }
    return std::string(date.substr(0, kForm.size()));
}

bool is_plain_word(std::string_view text) {
    return !text.empty() && text.size() <= 128 &&
           text.find_first_not_of(
               "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
               "._-") == std::string_view::npos;
}

Result<BackupMeta> checked_meta(std::string_view text) {
    const auto found = parse_backup_meta(text);
    if (!found) {
        return fail(Errc::invalid, "its beginning is not what virtnbdbackup writes");
    }
    if (found->version != 1 && found->version != 2) {
        return fail(Errc::invalid, fmt::format("its stream has version {}, of which nothing is "
                                               "known here",
                                               found->version));
    }
    BackupMeta meta = found->meta;
    if (meta.compressed && !found->lz4) {
        return fail(Errc::invalid, "it is compressed, and not with lz4");
    }
    if (meta.size > kMaxImageSize || meta.data_bytes > meta.size) {
        return fail(Errc::invalid, fmt::format("it has an impossible disk size of {} bytes, {} of "
                                               "them data",
                                               meta.size, meta.data_bytes));
    }
    meta.date = to_the_second(meta.date);
    if (meta.date.empty() || !is_plain_word(meta.disk) || !is_plain_word(meta.checkpoint) ||
        (!meta.parent.empty() && !is_plain_word(meta.parent))) {
        return fail(Errc::invalid, "its date, disk or checkpoint is none");
    }
    if (meta.incremental && meta.parent.empty()) {
        return fail(Errc::invalid, "it is an increment, and of nothing");
    }
    return meta;
}

}  // namespace

Result<BackupMeta> read_backup_meta(const ImageBytes& bytes) {
    std::array<std::byte, kHead> raw{};
    if (bytes.size >= kHead) {
        if (auto read = bytes.read_at(0, raw); !read) {
            return std::unexpected(read.error());
        }
    }
    const auto head = parse_head(header::text(raw));
    if (!head || head->kind != "meta") {
        if (bytes.size > kMaxImageSize) {
            return fail(Errc::invalid, fmt::format("impossible file size {}", bytes.size));
        }
        BackupMeta as_it_is;
        as_it_is.stream = false;
        as_it_is.size = bytes.size;
        return as_it_is;
    }
    if (head->length > kMostMeta) {
        return fail(Errc::invalid, "its beginning is not what virtnbdbackup writes");
    }
    std::vector<std::byte> text(head->length + kEnd.size());
    if (auto read = read_block(bytes, kHead, text, "its beginning"); !read) {
        return std::unexpected(read.error());
    }
    auto meta = checked_meta(header::text(text).substr(0, head->length));
    if (!meta) {
        return meta;
    }
    if (!header::text(text).ends_with(kEnd)) {
        return fail(Errc::invalid, "its beginning is not what virtnbdbackup writes");
    }
    meta->frames_at = kHead + text.size();
    return meta;
}

Result<void> check_backup_end(const ImageBytes& bytes, const BackupMeta& meta) {
    if (!meta.stream) {
        return {};
    }
    std::array<std::byte, kHead> raw{};
    const bool room = bytes.size >= meta.frames_at + kHead;
    if (room) {
        if (auto read = bytes.read_at(bytes.size - kHead, raw); !read) {
            return read;
        }
    }
    const auto head = room ? parse_head(header::text(raw)) : std::nullopt;
    if (!head || head->kind != (meta.compressed ? "comp" : "stop")) {
        return fail(Errc::invalid, "it is cut off: its end is missing; copy it again");
    }
    return {};
}

// Walks over the frames of one stream.
class BackupFrames {
   public:
    BackupFrames(const ImageBytes& bytes, const BackupMeta& meta, std::size_t most)
        : bytes_(bytes), meta_(meta), most_(most), index_(meta.size, meta.incremental) {}
    BackupFrames(const BackupFrames&) = delete;
    BackupFrames& operator=(const BackupFrames&) = delete;
    ~BackupFrames() { ::LZ4F_freeDecompressionContext(lz4_); }

    Result<BackupIndex> run() {
        if (!meta_.stream) {
            auto added = add(0, 0, meta_.size);
            return added ? Result<BackupIndex>(std::move(index_)) : std::unexpected(added.error());
        }
        if (meta_.compressed) {
            if (auto read = read_blocks(); !read) {
                return std::unexpected(read.error());
            }
        }
        at_ = meta_.frames_at;
        while (true) {
            const auto more = frame();
            if (!more) {
                return fail(more.error().code,
                            fmt::format("at {}: {}", frame_at_, more.error().message));
            }
            if (!*more) {
                index_.pieces_.shrink_to_fit();
                return std::move(index_);
            }
        }
    }

   private:
    using Piece = BackupIndex::Piece;

    static std::unexpected<Error> refuse(std::string_view why) {
        return fail(Errc::invalid, std::string(why));
    }

    // False behind the last one.
    Result<bool> frame() {
        frame_at_ = at_;
        std::array<std::byte, kEnd.size() + kHead> raw{};
        // The end of what came before is read with it.
        const std::uint64_t before = after_data_ ? kEnd.size() : 0;
        if (auto read = read_block(bytes_, at_, std::span(raw).first(before + kHead), "the stream");
            !read) {
            return std::unexpected(read.error());
        }
        const std::string_view text = header::text(raw).substr(0, before + kHead);
        const auto head = parse_head(text.substr(before));
        if (!head || (before != 0 && !text.starts_with(kEnd))) {
            return refuse("there is no frame");
        }
        at_ += before + kHead;
        after_data_ = head->kind == "data";
        if (head->kind == "stop") {
            return end();
        }
        if (!after_data_ && head->kind != "zero") {
            return refuse("there is no frame");
        }
        if (head->start < covered_) {
            return refuse("frames overlap, or are not in order");
        }
        if (head->start > meta_.size || head->length > meta_.size - head->start) {
            return refuse("a frame leaves the disk");
        }
        covered_ = head->start + head->length;
        if (++frames_ > most_) {
            return too_many();
        }
        auto added = after_data_ ? data(*head) : zero(*head);
        return added ? Result<bool>(true) : std::unexpected(added.error());
    }

    Result<void> zero(const Head& head) {
        // Where nothing is below, it is what a gap is.
        return meta_.incremental ? add(head.start, BackupIndex::kZero, head.length)
                                 : Result<void>{};
    }

    Result<void> data(const Head& head) {
        data_bytes_ += head.length;
        if (meta_.compressed) {
            return blocks(head);
        }
        if (head.length > bytes_.size - at_) {
            return refuse("a frame leaves the file");
        }
        const std::uint64_t at = std::exchange(at_, at_ + head.length);
        return add(head.start, at, head.length);
    }

    // PACKED: 0, as it is.
    Result<void> add(std::uint64_t begin, std::uint64_t at, std::uint64_t length) {
        while (length > 0) {
            if (index_.pieces_.size() == most_) {
                return too_many();
            }
            const std::uint64_t part = std::min(length, kLongestPiece);
            index_.pieces_.push_back({begin, at, static_cast<std::uint32_t>(part), 0});
            begin += part;
            at += at == BackupIndex::kZero ? 0 : part;
            length -= part;
        }
        return {};
    }

    Result<void> blocks(const Head& head) {
        if (next_count_ == blocks_.counts.size()) {
            return refuse("the list of compressed blocks ends before the data");
        }
        const std::uint32_t count = blocks_.counts[next_count_++];
        std::uint64_t begin = head.start;
        for (std::uint32_t i = 0; i < count; ++i) {
            const std::uint32_t packed = blocks_.sizes[next_size_++];
            if (packed > kMostPacked || packed > bytes_.size - at_) {
                return refuse("a compressed block leaves the file");
            }
            const auto unpacked = unpacked_bytes(packed, count == 1 ? head.length : 0);
            if (!unpacked) {
                return std::unexpected(unpacked.error());
            }
            if (*unpacked > covered_ - begin) {
                return refuse("compressed blocks do not have the size of their frame");
            }
            if (index_.pieces_.size() == most_) {
                return too_many();
            }
            index_.pieces_.push_back({begin, at_, *unpacked, packed});
            begin += *unpacked;
            at_ += packed;
        }
        return begin == covered_ ? Result<void>{}
                                 : refuse("compressed blocks do not have the size of their frame");
    }

    // Of the LZ4 frame at at_, which says so itself; or else EXPECTED, where that is known.
    Result<std::uint32_t> unpacked_bytes(std::uint32_t packed, std::uint64_t expected) {
        std::array<std::byte, LZ4F_HEADER_SIZE_MAX> raw{};
        std::size_t size = std::min<std::size_t>(raw.size(), packed);
        if (auto read = bytes_.read_at(at_, std::span(raw).first(size)); !read) {
            return std::unexpected(read.error());
        }
        if (lz4_ == nullptr &&
            ::LZ4F_isError(::LZ4F_createDecompressionContext(&lz4_, LZ4F_VERSION)) != 0) {
            return fail(Errc::io, "LZ4 has no memory");
        }
        ::LZ4F_resetDecompressionContext(lz4_);
        LZ4F_frameInfo_t info{};
        if (::LZ4F_isError(::LZ4F_getFrameInfo(lz4_, &info, raw.data(), &size)) != 0) {
            return refuse("a compressed block is not LZ4");
        }
        const std::uint64_t bytes = info.contentSize != 0 ? info.contentSize : expected;
        if (bytes == 0 || bytes > BackupIndex::kMostUnpacked) {
            return refuse("a compressed block has no size, or an impossible one");
        }
        return static_cast<std::uint32_t>(bytes);
    }

    Result<void> read_blocks() {
        std::array<std::byte, kHead> raw{};
        if (auto read = bytes_.read_at(bytes_.size - kHead, raw); !read) {
            return read;
        }
        const auto head = parse_head(header::text(raw));
        const std::uint64_t room = bytes_.size - meta_.frames_at - kHead;
        if (!head || head->kind != "comp" || head->length > kMostBlocksText || room < kEnd.size() ||
            head->length > room - kEnd.size()) {
            return refuse("its list of compressed blocks is missing");
        }
        list_at_ = bytes_.size - kHead - kEnd.size() - head->length;
        std::vector<std::byte> text(head->length);
        if (auto read = bytes_.read_at(list_at_, text); !read) {
            return read;
        }
        auto found = parse_backup_blocks(header::text(text), most_);
        if (!found) {
            return refuse("its list of compressed blocks is damaged, or too long");
        }
        blocks_ = std::move(*found);
        return {};
    }

    Result<bool> end() {
        if (at_ != (meta_.compressed ? list_at_ : bytes_.size) ||
            next_count_ != blocks_.counts.size()) {
            return refuse("the stream ends before the file does");
        }
        if (data_bytes_ != meta_.data_bytes) {
            return refuse(fmt::format("the stream has {} bytes of data, and should have {}",
                                      data_bytes_, meta_.data_bytes));
        }
        return false;
    }

    std::unexpected<Error> too_many() const {
        return refuse(fmt::format("it has more than {} parts", most_));
    }

    const ImageBytes& bytes_;
    const BackupMeta& meta_;
    const std::size_t most_;
    BackupIndex index_;
    LZ4F_dctx* lz4_ = nullptr;
    BackupBlocks blocks_;
    std::size_t next_count_ = 0;
    std::size_t next_size_ = 0;
    std::uint64_t list_at_ = 0;
    std::uint64_t at_ = 0;
    std::uint64_t frame_at_ = 0;
    bool after_data_ = false;
    std::uint64_t covered_ = 0;  // of the disk
    std::uint64_t data_bytes_ = 0;
    std::size_t frames_ = 0;
};

Result<BackupIndex> BackupIndex::read(const ImageBytes& bytes, const BackupMeta& meta,
                                      std::size_t most) {
    return BackupFrames(bytes, meta, most).run();
}

ImageRun BackupIndex::run_of(const Piece& piece, std::uint16_t file) {
    ImageRun run{.file = file, .begin = piece.begin, .end = piece.begin + piece.length};
    run.at = piece.at;
    if (piece.at == kZero) {
        run.kind = Kind::zero;
    } else if (piece.packed != 0) {
        run.kind = Kind::packed;
        run.packed_bytes = piece.packed;
        run.unpacked_bytes = piece.length;
    } else {
        run.kind = Kind::data;
    }
    return run;
}

void BackupIndex::look(std::uint64_t begin, std::uint64_t end, std::uint16_t file,
                       std::vector<ImageRun>& runs) const {
    const ImageRun gap{.kind = incremental_ ? Kind::absent : Kind::zero, .file = file};
    const auto add_gap = [&](std::uint64_t from, std::uint64_t to) {
        ImageRun run = gap;
        run.begin = from;
        run.end = to;
        append_run(runs, run);
    };
    auto at = std::ranges::upper_bound(
        pieces_, begin, {}, [](const Piece& piece) { return piece.begin + piece.length; });
    for (; at != pieces_.end() && at->begin < end; ++at) {
        ImageRun run = run_of(*at, file);
        const std::uint64_t cut = std::max(run.begin, begin) - run.begin;
        add_gap(begin, std::max(run.begin, begin));
        run.begin += cut;
        run.end = std::min(run.end, end);
        run.at += run.kind == Kind::data ? cut : 0;
        run.skip = run.kind == Kind::packed ? static_cast<std::uint32_t>(cut) : 0;
        append_run(runs, run);
        begin = run.end;
    }
    add_gap(begin, end);
}

Result<std::vector<std::byte>> unpack_lz4(const std::vector<std::byte>& from, std::size_t bytes) {
    LZ4F_dctx* made = nullptr;
    if (::LZ4F_isError(::LZ4F_createDecompressionContext(&made, LZ4F_VERSION)) != 0) {
        return fail(Errc::io, "LZ4 has no memory");
    }
    const std::unique_ptr<LZ4F_dctx, decltype(&::LZ4F_freeDecompressionContext)> context(
        made, ::LZ4F_freeDecompressionContext);
    std::vector<std::byte> to(bytes);
    std::size_t in = 0;
    std::size_t out = 0;
    std::size_t left = 1;
    while (left != 0) {
        std::size_t read = from.size() - in;
        std::size_t written = to.size() - out;
        left = ::LZ4F_decompress(made, to.data() + out, &written, from.data() + in, &read, nullptr);
        if (::LZ4F_isError(left) != 0 || (left != 0 && read == 0 && written == 0)) {
            return fail(Errc::invalid, "does not unpack");
        }
        in += read;
        out += written;
    }
    if (in != from.size() || out != to.size()) {
        return fail(Errc::invalid, "does not unpack to what it should");
    }
    return to;
}

}  // namespace signpost
