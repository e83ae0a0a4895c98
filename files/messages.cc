// SPDX-License-Identifier: BSD-3-Clause

#include "files/messages.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>

#include "nbd-server/wire/byte_reader.h"

namespace signpost::files {

namespace {

using wire::append_value;
using wire::ByteReader;

enum class Kind : std::uint8_t {
    begin = 1,
    supply,
    partitions,
    path,
    list,
    pieces,
    unlock,
    want = 65,
    ahead,
    partition,
    entry,
    piece,
    end,
    unlocked,
};

// Fields are written and read in one order, said once: each message has a function over its fields,
// which Writer and Reader both understand.
class Writer {
   public:
    explicit Writer(Kind kind) : out_(kFrameHead, '\0') {
        append_value(out_, static_cast<std::uint8_t>(kind));
    }

    void number(std::uint64_t value) { append_value(out_, value); }
    void text(std::string_view text, std::size_t most) {
        text = text.substr(0, most);
        append_value(out_, static_cast<std::uint32_t>(text.size()));
        out_ += text;
    }

    std::string take() {
        const wire::Be32 length(static_cast<std::uint32_t>(out_.size() - kFrameHead));
        std::memcpy(out_.data(), &length, sizeof length);
        return std::move(out_);
    }

   private:
    std::string out_;
};

class Reader {
   public:
    explicit Reader(std::string_view bytes) : bytes_(bytes) {}

    bool ok() const { return ok_ && bytes_.ok(); }
    bool whole() const { return ok() && bytes_.left() == 0; }
    void refuse() { ok_ = false; }

    template <class Number>
    void number(Number& value) {
        const std::uint64_t taken = bytes_.take_u64();
        value = static_cast<Number>(taken);
        if (static_cast<std::uint64_t>(value) != taken) {
            refuse();
        }
    }
    void flag(bool& value) {
        std::uint8_t taken = 0;
        number(taken);
        value = taken != 0;
        if (taken > 1) {
            refuse();
        }
    }
    template <class Enum>
    void choice(Enum& value, Enum last) {
        std::uint8_t taken = 0;
        number(taken);
        value = static_cast<Enum>(taken);
        if (taken > static_cast<std::uint8_t>(last)) {
            refuse();
        }
    }
    std::string_view view(std::size_t most) {
        const std::uint32_t length = bytes_.take_u32();
        if (length > most) {
            refuse();
            return {};
        }
        return bytes_.take_text(length);
    }
    void text(std::string& value, std::size_t most) { value = view(most); }

   private:
    ByteReader bytes_;
    bool ok_ = true;
};

void write(Writer& out, const Volume& volume) {
    out.number(volume.start);
    out.number(volume.length);
}

void read(Reader& in, Volume& volume) {
    in.number(volume.start);
    in.number(volume.length);
    if (volume.start > UINT64_MAX - volume.length) {
        in.refuse();
    }
}

std::string write(const Begin& message) {
    Writer out(Kind::begin);
    out.number(message.size);
    return out.take();
}

std::string write(const Supply& message) {
    Writer out(Kind::supply);
    out.number(message.error);
    out.text(message.bytes, kMaxRead);
    return out.take();
}

std::string write(const AskPartitions& /*message*/) {
    return Writer(Kind::partitions).take();
}

std::string write(const AskPath& message) {
    Writer out(Kind::path);
    write(out, message.volume);
    out.text(message.path, kMaxText);
    out.number(message.follow ? 1 : 0);
    out.number(message.deleted ? 1 : 0);
    return out.take();
}

std::string write(const AskList& message) {
    Writer out(Kind::list);
    write(out, message.volume);
    out.number(message.inode);
    out.number(message.attributes ? 1 : 0);
    out.number(message.deleted ? 1 : 0);
    return out.take();
}

std::string write(const AskPieces& message) {
    Writer out(Kind::pieces);
    write(out, message.volume);
    out.number(message.inode);
    out.number(message.offset);
    out.number(message.length);
    return out.take();
}

std::string write(const AskUnlock& message) {
    Writer out(Kind::unlock);
    write(out, message.volume);
    out.text(message.passphrase, kMaxPassphrase);
    return out.take();
}

std::string write(const Want& message) {
    Writer out(Kind::want);
    out.number(message.offset);
    out.number(message.length);
    return out.take();
}

std::string write(const Ahead& message) {
    Writer out(Kind::ahead);
    const std::size_t count = std::min(message.ranges.size(), kMaxRanges);
    out.number(count);
    for (std::size_t i = 0; i < count; ++i) {
        out.number(message.ranges[i].offset);
        out.number(message.ranges[i].length);
    }
    return out.take();
}

std::string write(const Partition& message) {
    Writer out(Kind::partition);
    out.number(message.number);
    write(out, message.volume);
    for (const std::string* text :
         {&message.name, &message.file_system, &message.label, &message.uuid}) {
        out.text(*text, kMaxName);
    }
    out.number(message.readable ? 1 : 0);
    return out.take();
}

std::string write(const Entry& message) {
    Writer out(Kind::entry);
    out.text(message.name, kMaxName);
    out.number(message.inode);
    out.number(static_cast<std::uint8_t>(message.type));
    out.number(message.deleted ? 1 : 0);
    out.number(message.mode);
    out.number(message.links);
    out.number(message.uid);
    out.number(message.gid);
    out.number(message.size);
    out.number(static_cast<std::uint64_t>(message.modified));
    out.number(message.modified_ns);
    out.text(message.target, kMaxText);
    return out.take();
}

std::string write(const Piece& message) {
    Writer out(Kind::piece);
    out.number(static_cast<std::uint8_t>(message.kind));
    out.number(message.offset);
    out.number(message.length);
    out.number(message.disk_offset);
    out.text(message.bytes, kMaxRead);
    return out.take();
}

std::string write(const Unlocked& message) {
    Writer out(Kind::unlocked);
    write(out, message.volume);
    out.number(message.sector);
    out.number(message.skipped);
    out.text(message.cipher, kMaxKey);
    out.text(message.key, kMaxKey);
    return out.take();
}

std::string write(const End& message) {
    Writer out(Kind::end);
    out.number(static_cast<std::uint8_t>(message.status));
    out.text(message.message, kMaxText);
    return out.take();
}

Begin read_begin(Reader& in) {
    Begin message;
    in.number(message.size);
    return message;
}

Supply read_supply(Reader& in) {
    Supply message;
    in.number(message.error);
    message.bytes = in.view(kMaxRead);
    return message;
}

AskPath read_path(Reader& in) {
    AskPath message;
    read(in, message.volume);
    in.text(message.path, kMaxText);
    in.flag(message.follow);
    in.flag(message.deleted);
    return message;
}

AskList read_list(Reader& in) {
    AskList message;
    read(in, message.volume);
    in.number(message.inode);
    in.flag(message.attributes);
    in.flag(message.deleted);
    return message;
}

AskPieces read_pieces(Reader& in) {
    AskPieces message;
    read(in, message.volume);
    in.number(message.inode);
    in.number(message.offset);
    in.number(message.length);
    return message;
}

AskUnlock read_unlock(Reader& in) {
    AskUnlock message;
    read(in, message.volume);
    in.text(message.passphrase, kMaxPassphrase);
    return message;
}

Want read_want(Reader& in) {
    Want message;
    in.number(message.offset);
    in.number(message.length);
    if (message.length == 0 || message.length > kMaxRead ||
        message.offset > UINT64_MAX - message.length) {
        in.refuse();
    }
    return message;
}

Ahead read_ahead(Reader& in) {
    Ahead message;
    std::uint64_t count = 0;
    in.number(count);
    if (count > kMaxRanges) {
        in.refuse();
    }
    for (std::uint64_t i = 0; in.ok() && i < count; ++i) {
        Range range{};
        in.number(range.offset);
        in.number(range.length);
        message.ranges.push_back(range);
    }
    return message;
}

Partition read_partition(Reader& in) {
    Partition message;
    in.number(message.number);
    read(in, message.volume);
    for (std::string* text : {&message.name, &message.file_system, &message.label, &message.uuid}) {
        in.text(*text, kMaxName);
    }
    in.flag(message.readable);
    return message;
}

Entry read_entry(Reader& in) {
    Entry message;
    std::uint64_t modified = 0;
    in.text(message.name, kMaxName);
    in.number(message.inode);
    in.choice(message.type, FileType::unknown);
    in.flag(message.deleted);
    in.number(message.mode);
    in.number(message.links);
    in.number(message.uid);
    in.number(message.gid);
    in.number(message.size);
    in.number(modified);
    in.number(message.modified_ns);
    in.text(message.target, kMaxText);
    message.modified = static_cast<std::int64_t>(modified);
    const bool name_is_good = message.name.empty() || is_component(message.name);
    if (!name_is_good || message.mode > 07777 || message.modified_ns >= 1'000'000'000 ||
        message.size > INT64_MAX || message.target.find('\0') != std::string::npos) {
        in.refuse();
    }
    return message;
}

Piece read_piece(Reader& in) {
    Piece message;
    in.choice(message.kind, Piece::Kind::lost);
    in.number(message.offset);
    in.number(message.length);
    in.number(message.disk_offset);
    in.text(message.bytes, kMaxRead);
    const bool has_bytes = message.kind == Piece::Kind::bytes;
    if (message.length == 0 || message.offset > INT64_MAX || message.length > INT64_MAX ||
        message.disk_offset > INT64_MAX ||
        message.bytes.size() != (has_bytes ? message.length : 0)) {
        in.refuse();
    }
    return message;
}

Unlocked read_unlocked(Reader& in) {
    Unlocked message;
    read(in, message.volume);
    in.number(message.sector);
    in.number(message.skipped);
    in.text(message.cipher, kMaxKey);
    in.text(message.key, kMaxKey);
    if (!std::has_single_bit(message.sector) || message.sector < 512 || message.sector > 4096 ||
        message.volume.length == 0 || message.volume.length % message.sector != 0 ||
        message.volume.start % 512 != 0) {
        in.refuse();
    }
    return message;
}

End read_end(Reader& in) {
    End message;
    in.choice(message.status, End::Status::invalid);
    in.text(message.message, kMaxText);
    return message;
}

template <class Any, class Message>
Result<Any> checked(const Reader& in, Message message) {
    if (!in.whole()) {
        return fail(Errc::invalid, "a message of the file reader breaks its rules");
    }
    return Any(std::move(message));
}

}  // namespace

std::string encode(const Question& question) {
    return std::visit([](const auto& message) { return write(message); }, question);
}

std::string encode(const Answer& answer) {
    return std::visit([](const auto& message) { return write(message); }, answer);
}

Result<Question> decode_question(std::string_view frame) {
    const auto kind = frame.empty() ? Kind{} : static_cast<Kind>(frame.front());
    Reader in(frame.substr(frame.empty() ? 0 : 1));
    switch (kind) {
        case Kind::begin: {
            auto message = read_begin(in);
            return checked<Question>(in, message);
        }
        case Kind::supply: {
            auto message = read_supply(in);
            return checked<Question>(in, message);
        }
        case Kind::partitions:
            return checked<Question>(in, AskPartitions{});
        case Kind::path: {
            auto message = read_path(in);
            return checked<Question>(in, std::move(message));
        }
        case Kind::list: {
            auto message = read_list(in);
            return checked<Question>(in, message);
        }
        case Kind::pieces: {
            auto message = read_pieces(in);
            return checked<Question>(in, message);
        }
        case Kind::unlock: {
            auto message = read_unlock(in);
            return checked<Question>(in, std::move(message));
        }
        default:
            return fail(Errc::invalid, "an unknown question");
    }
}

Result<Answer> decode_answer(std::string_view frame) {
    const auto kind = frame.empty() ? Kind{} : static_cast<Kind>(frame.front());
    Reader in(frame.substr(frame.empty() ? 0 : 1));
    switch (kind) {
        case Kind::want: {
            auto message = read_want(in);
            return checked<Answer>(in, message);
        }
        case Kind::ahead: {
            auto message = read_ahead(in);
            return checked<Answer>(in, std::move(message));
        }
        case Kind::partition: {
            auto message = read_partition(in);
            return checked<Answer>(in, std::move(message));
        }
        case Kind::entry: {
            auto message = read_entry(in);
            return checked<Answer>(in, std::move(message));
        }
        case Kind::piece: {
            auto message = read_piece(in);
            return checked<Answer>(in, std::move(message));
        }
        case Kind::unlocked: {
            auto message = read_unlocked(in);
            return checked<Answer>(in, std::move(message));
        }
        case Kind::end: {
            auto message = read_end(in);
            return checked<Answer>(in, std::move(message));
        }
        default:
            return fail(Errc::invalid, "the file reader says something unknown");
    }
}

Result<std::optional<std::size_t>> frame_length(std::string_view bytes) {
    if (bytes.size() < kFrameHead) {
        return std::optional<std::size_t>();
    }
    const std::size_t length = ByteReader(bytes).take_u32();
    if (length == 0 || length > kMaxFrame + kMaxRanges * 16) {
        return fail(Errc::invalid, "the file reader sends a message of an impossible length");
    }
    return bytes.size() - kFrameHead < length ? std::optional<std::size_t>()
                                              : std::optional(length);
}

bool is_component(std::string_view name) {
    return !name.empty() && name.size() <= kMaxName && name != "." && name != ".." &&
           name.find('/') == name.npos && name.find('\0') == name.npos;
}

}  // namespace signpost::files
