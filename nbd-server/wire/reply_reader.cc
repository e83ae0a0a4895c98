// SPDX-License-Identifier: BSD-3-Clause
//
// The parse is a loop of steps over the inner buffer. A step either takes a whole unit (a header, a
// small body, a descriptor, the buffered part of a payload) or says that more bytes are needed, so
// the result does not depend on how the stream was cut.
//
// How payload gets where it belongs. Small replies arrive many at a time in the inner buffer and
// are copied out: for 4 KiB a copy costs less than a system call. When a payload goes on behind
// what is buffered, the buffer is empty by then, and targets() offers the caller's own memory
// first: the rest is received in place. How much room is offered behind it decides what a large
// payload that follows costs: all that fits there is copied later. So while the reads in flight are
// large on average, only a small window is offered, and with landings just what a header needs:
// then a payload that is moved apart leaves nothing of itself here.
#include "nbd-server/wire/reply_reader.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "nbd-server/wire/byte_reader.h"

namespace signpost::wire {

namespace {

constexpr std::size_t kInnerBytes = 64 * 1024;
constexpr std::size_t kSmallWindow = 4 * 1024;
constexpr std::uint64_t kLargeRead = 16 * 1024;

constexpr std::uint32_t kErrorFixed = sizeof(Be32) + sizeof(Be16);
constexpr std::uint32_t kHoleBytes = sizeof(Be64) + sizeof(Be32);
// Room behind the message for the fields of error types that are yet to be invented.
constexpr std::uint32_t kMaxErrorBytes = kErrorFixed + kMaxString + 256;
static_assert(kMaxErrorBytes < kInnerBytes / 2);

// A flood of these would keep a reply alive without end.
constexpr std::uint32_t kMaxErrorChunks = 1024;

// Extents kept of one block status; those behind are checked and left out, because an answer that
// ends early is a legal one.
constexpr std::size_t kMaxExtents = 64 * 1024;

template <class Wire>
Wire load(const std::byte* from) {
    Wire value;
    std::memcpy(static_cast<void*>(&value), from, sizeof value);
    return value;
}

std::string_view command_name(Command command) {
    switch (command) {
        case Command::read:
            return "read";
        case Command::write:
            return "write";
        case Command::disconnect:
            return "disconnect";
        case Command::flush:
            return "flush";
        case Command::trim:
            return "trim";
        case Command::cache:
            return "cache";
        case Command::write_zeroes:
            return "write zeroes";
        case Command::block_status:
            return "block status";
    }
    return "request";
}

}  // namespace

ReplyReader::ReplyReader(Contract contract)
    : contract_(contract), inner_(std::make_unique_for_overwrite<std::byte[]>(kInnerBytes)) {}

void ReplyReader::expect(std::uint64_t cookie, Pending pending) {
    if (table_.find(cookie) != CookieTable::kNone) {
        fail(fmt::format("cookie {:#x} is in use already", cookie));
        return;
    }
    if (free_slots_.empty()) {
        free_slots_.push_back(static_cast<std::uint32_t>(slots_.size()));
        slots_.emplace_back().index = free_slots_.back();
    }
    Slot& slot = slots_[free_slots_.back()];
    free_slots_.pop_back();
    slot.cookie = cookie;
    slot.pending = pending;
    slot.pending.error = 0;
    slot.error_chunks = 0;
    slot.has_status = false;
    slot.abandoned = false;
    if (pending.command == Command::read) {
        slot.coverage.reset(pending.length);
        read_bytes_ += pending.length;
        landings_ += pending.landing != nullptr ? 1 : 0;
    }
    table_.insert(cookie, slot.index);
}

void ReplyReader::abandon(std::uint64_t cookie) {
    Slot* slot = find(cookie);
    if (slot == nullptr) {
        return;
    }
    slot->abandoned = true;
    forget_landing(*slot);
    slot->pending.buffer = nullptr;
    slot->pending.extents = nullptr;
    if (current_.slot == slot) {
        current_.to = nullptr;
        phase_ = phase_ == Phase::apart ? Phase::data : phase_;
    }
}

void ReplyReader::forget_landing(Slot& slot) {
    if (std::exchange(slot.pending.landing, nullptr) != nullptr) {
        --landings_;
    }
}

std::span<std::byte> ReplyReader::target() {
    return targets().first;
}

ReplyReader::Targets ReplyReader::targets() {
    if (broken()) {
        return {};
    }
    if (is_direct()) {
        return {{current_.to, current_.left}, {inner_.get(), window()}};
    }
    if (begin_ != 0) {
        std::memmove(inner_.get(), next(), buffered());
        end_ = buffered();
        begin_ = 0;
    }
    return {{inner_.get() + end_, std::min(window(), kInnerBytes - end_)}, {}};
}

void ReplyReader::received(std::size_t n, std::vector<Finished>& finished) {
    if (broken()) {
        return;
    }
    if (is_direct()) {
        const auto direct = static_cast<std::uint32_t>(std::min<std::size_t>(n, current_.left));
        current_.to += direct;
        current_.left -= direct;
        n -= direct;
    }
    end_ += std::min(n, kInnerBytes - end_);
    run(finished);
}

ReplyReader::Apart ReplyReader::apart() const {
    if (broken() || phase_ != Phase::apart) {
        return {};
    }
    return {current_.slot->pending.landing, current_.left};
}

void ReplyReader::moved(std::size_t n, std::vector<Finished>& finished) {
    if (broken() || phase_ != Phase::apart) {
        return;
    }
    current_.left -= static_cast<std::uint32_t>(std::min<std::size_t>(n, current_.left));
    run(finished);
}

void ReplyReader::land(std::byte* to) {
    if (!broken() && phase_ == Phase::apart) {
        current_.to = to;
        phase_ = Phase::data;
    }
}

void ReplyReader::run(std::vector<Finished>& finished) {
    finished_ = &finished;
    while (step()) {
    }
    finished_ = nullptr;
    if (begin_ == end_) {
        begin_ = end_ = 0;
    }
}

std::size_t ReplyReader::outstanding() const {
    return table_.size();
}

// Whether the next bytes are payload that goes straight to its reader. The inner buffer is then
// empty.
bool ReplyReader::is_direct() const {
    return phase_ == Phase::data && current_.to != nullptr;
}

// How much may be received into the inner buffer.
std::size_t ReplyReader::window() const {
    const bool large = table_.size() != 0 && read_bytes_ >= kLargeRead * table_.size();
    if (!large) {
        return kInnerBytes;
    }
    if (phase_ == Phase::data && !is_direct()) {
        return std::min(current_.left + header_bytes(), kInnerBytes);  // to be dropped
    }
    return landings_ == 0 ? kSmallWindow : header_window();
}

std::size_t ReplyReader::header_bytes() const {
    return contract_.structured_replies ? sizeof(ChunkHeader) + sizeof(Be64)
                                        : sizeof(SimpleReplyHeader);
}

// What is needed to know what comes next, and no more.
std::size_t ReplyReader::header_window() const {
    switch (phase_) {
        case Phase::header:
            return header_bytes() - std::min(buffered(), header_bytes() - 1);
        case Phase::body:
            return body_bytes() - buffered();
        case Phase::descriptors:
            return std::min<std::size_t>(current_.left, kInnerBytes);
        case Phase::data:
        case Phase::apart:
            break;
    }
    return header_bytes();
}

std::span<const std::byte> ReplyReader::take(std::size_t n) {
    const std::span<const std::byte> taken(next(), n);
    begin_ += n;
    return taken;
}

bool ReplyReader::step() {
    switch (phase_) {
        case Phase::header:
            return parse_header();
        case Phase::body:
            return parse_body();
        case Phase::data:
            return parse_data();
        case Phase::apart:
            return current_.left == 0 && end_chunk();
        case Phase::descriptors:
            return parse_descriptors();
    }
    return false;
}

bool ReplyReader::parse_header() {
    if (buffered() < sizeof(Be32)) {
        return false;
    }
    const std::uint32_t magic = load<Be32>(next());
    if (magic == kChunkMagic) {
        return parse_chunk_header();
    }
    if (magic == kSimpleReplyMagic) {
        return parse_simple_header();
    }
    return fail(fmt::format("bad reply magic {:#010x}", magic));
}

bool ReplyReader::parse_simple_header() {
    if (buffered() < sizeof(SimpleReplyHeader)) {
        return false;
    }
    const auto header = load<SimpleReplyHeader>(next());
    begin_ += sizeof header;
    Slot* slot = find(header.cookie);
    if (slot == nullptr) {
        return fail(fmt::format("reply to cookie {:#x}, which is not in flight",
                                std::uint64_t{header.cookie}));
    }
    current_ = {.slot = slot, .done = true};
    Pending& pending = slot->pending;
    const bool is_read = pending.command == Command::read;
    if (is_read && contract_.structured_replies) {
        return fail_reply("a simple reply, although structured ones were negotiated");
    }
    if (slot->error_chunks != 0 || slot->has_status) {
        return fail_reply("a simple reply behind structured ones");
    }
    pending.error = header.error;
    if (is_read && pending.error == 0 && pending.length != 0) {
        current_.left = pending.length;
        return begin_data(pending.offset);
    }
    return finish_reply();
}

bool ReplyReader::parse_chunk_header() {
    if (buffered() < sizeof(ChunkHeader)) {
        return false;
    }
    const auto header = load<ChunkHeader>(next());
    begin_ += sizeof header;
    if (!contract_.structured_replies) {
        return fail("a structured reply, although they were not negotiated");
    }
    Slot* slot = find(header.cookie);
    if (slot == nullptr) {
        return fail(fmt::format("reply to cookie {:#x}, which is not in flight",
                                std::uint64_t{header.cookie}));
    }
    current_ = {.slot = slot,
                .type = static_cast<Chunk>(std::uint16_t{header.type}),
                .done = (header.flags & kChunkDone) != 0,
                .left = header.length};
    if (!check_chunk()) {
        return fail_reply(fmt::format("a chunk of type {:#06x} and length {} that does not fit it",
                                      std::uint16_t{header.type}, std::uint32_t{header.length}));
    }
    if (current_.left == 0) {
        return end_chunk();
    }
    phase_ = Phase::body;
    return true;
}

// Whether a chunk of this type and length may be, in the reply to this request.
bool ReplyReader::check_chunk() const {
    const Pending& pending = current_.slot->pending;
    const std::uint32_t length = current_.left;
    switch (current_.type) {
        case Chunk::none:
            return length == 0 && current_.done;
        case Chunk::offset_data:
            return pending.command == Command::read && length > sizeof(Be64) &&
                   length - sizeof(Be64) <= pending.length;
        case Chunk::offset_hole:
            return pending.command == Command::read && length == kHoleBytes;
        case Chunk::block_status:
            return pending.command == Command::block_status && contract_.has_allocation_context &&
                   !current_.slot->has_status && length > sizeof(Be32) &&
                   (length - sizeof(Be32)) % sizeof(BlockDescriptor) == 0 &&
                   (length - sizeof(Be32)) / sizeof(BlockDescriptor) <= kMaxDescriptors;
        default:
            return is_error(current_.type) && length >= kErrorFixed && length <= kMaxErrorBytes;
    }
}

// The part of a chunk that is looked at as a whole.
std::size_t ReplyReader::body_bytes() const {
    switch (current_.type) {
        case Chunk::offset_data:
            return sizeof(Be64);
        case Chunk::block_status:
            return sizeof(Be32);
        default:
            return current_.left;
    }
}

bool ReplyReader::parse_body() {
    const std::size_t bytes = body_bytes();
    if (buffered() < bytes) {
        return false;
    }
    const auto body = take(bytes);
    current_.left -= static_cast<std::uint32_t>(bytes);
    switch (current_.type) {
        case Chunk::offset_data:
            return begin_data(load<Be64>(body.data()));
        case Chunk::offset_hole:
            return fill_hole(body) && end_chunk();
        case Chunk::block_status:
            return begin_descriptors(load<Be32>(body.data()));
        default:
            return note_error(body) && end_chunk();
    }
}

bool ReplyReader::begin_data(std::uint64_t offset) {
    if (!cover(offset, current_.left)) {
        return false;
    }
    const Pending& pending = current_.slot->pending;
    phase_ = Phase::data;
    if (pending.landing == nullptr) {
        current_.to =
            pending.buffer == nullptr ? nullptr : pending.buffer + (offset - pending.offset);
        return true;
    }
    const auto begun = std::min<std::size_t>(buffered(), current_.left);
    current_.to = pending.landing->data(offset, current_.left, {next(), begun});
    if (current_.to == nullptr) {
        take(begun);
        current_.left -= static_cast<std::uint32_t>(begun);
        phase_ = Phase::apart;
    }
    return true;
}

bool ReplyReader::parse_data() {
    const auto n = static_cast<std::uint32_t>(std::min<std::size_t>(buffered(), current_.left));
    const auto bytes = take(n);
    if (current_.to != nullptr && n != 0) {
        std::memcpy(current_.to, bytes.data(), n);
        current_.to += n;
    }
    current_.left -= n;
    return current_.left == 0 && end_chunk();
}

bool ReplyReader::fill_hole(std::span<const std::byte> body) {
    ByteReader reader(body);
    const std::uint64_t offset = reader.take_u64();
    const std::uint32_t size = reader.take_u32();
    if (!cover(offset, size)) {
        return false;
    }
    const Pending& pending = current_.slot->pending;
    if (pending.landing != nullptr) {
        pending.landing->hole(offset, size);
    } else if (pending.buffer != nullptr) {
        std::memset(pending.buffer + (offset - pending.offset), 0, size);
    }
    return true;
}

bool ReplyReader::note_error(std::span<const std::byte> body) {
    ByteReader reader(body);
    const std::uint32_t error = reader.take_u32();
    const std::uint16_t message = reader.take_u16();
    reader.take_bytes(message);
    Pending& pending = current_.slot->pending;
    if (error == 0 || message > kMaxString || !reader.ok()) {
        return fail_reply("a malformed error chunk");
    }
    if (current_.type == Chunk::error_offset && pending.command != Command::flush) {
        const std::uint64_t offset = reader.take_u64();
        if (!reader.ok() || !is_inside(offset)) {
            return fail_reply("an error at an offset outside of the request");
        }
    }
    if (++current_.slot->error_chunks > kMaxErrorChunks) {
        return fail_reply("too many error chunks");
    }
    if (pending.error == 0) {
        pending.error = error;
    }
    return true;
}

bool ReplyReader::begin_descriptors(std::uint32_t context) {
    if (context != contract_.allocation_context) {
        return fail_reply("block status of a context that was not negotiated");
    }
    Slot& slot = *current_.slot;
    slot.has_status = true;
    if (slot.pending.extents != nullptr) {
        slot.pending.extents->clear();
    }
    described_ = 0;
    phase_ = Phase::descriptors;
    return true;
}

bool ReplyReader::parse_descriptors() {
    while (current_.left != 0) {
        if (buffered() < sizeof(BlockDescriptor)) {
            return false;
        }
        current_.left -= static_cast<std::uint32_t>(sizeof(BlockDescriptor));
        if (!add_descriptor(load<BlockDescriptor>(take(sizeof(BlockDescriptor)).data()))) {
            return false;
        }
    }
    return end_chunk();
}

bool ReplyReader::add_descriptor(const BlockDescriptor& descriptor) {
    const Pending& pending = current_.slot->pending;
    const std::uint32_t length = descriptor.length;
    if (length == 0) {
        return fail_reply("an extent of length 0");
    }
    if (described_ != 0 && described_ >= pending.length) {
        return fail_reply("an extent that begins beyond the request");
    }
    described_ += length;
    std::vector<Extent>* extents = pending.extents;
    if (extents == nullptr || extents->size() == kMaxExtents) {
        return true;
    }
    const std::uint32_t flags = descriptor.flags & (kStateHole | kStateZero);
    if (!extents->empty() && extents->back().flags == flags) {
        extents->back().length += length;
    } else {
        extents->push_back({length, flags});
    }
    return true;
}

bool ReplyReader::cover(std::uint64_t offset, std::uint32_t size) {
    const Pending& pending = current_.slot->pending;
    if (size == 0 || !is_inside(offset) || size > pending.length - (offset - pending.offset)) {
        return fail_reply(
            fmt::format("a chunk of {} bytes at {}, not inside of the request", size, offset));
    }
    const auto begin = static_cast<std::uint32_t>(offset - pending.offset);
    switch (current_.slot->coverage.add(begin, size)) {
        case Coverage::Verdict::added:
            return true;
        case Coverage::Verdict::overlaps:
            return fail_reply(
                fmt::format("the chunk of {} bytes at {} overlaps another", size, offset));
        case Coverage::Verdict::too_many:
            break;
    }
    return fail_reply("too many scattered chunks");
}

bool ReplyReader::is_inside(std::uint64_t offset) const {
    const Pending& pending = current_.slot->pending;
    return offset >= pending.offset && offset - pending.offset < pending.length;
}

bool ReplyReader::end_chunk() {
    phase_ = Phase::header;
    return !current_.done || finish_reply();
}

bool ReplyReader::finish_reply() {
    Slot& slot = *current_.slot;
    const Pending& pending = slot.pending;
    if (pending.error == 0 && pending.command == Command::read && !slot.coverage.complete()) {
        return fail_reply("it ends with bytes missing");
    }
    if (pending.command == Command::block_status) {
        if (pending.error == 0 && !slot.has_status) {
            return fail_reply("it ends without block status");
        }
        if (pending.error != 0 && pending.extents != nullptr) {
            pending.extents->clear();
        }
    }
    if (!slot.abandoned) {
        finished_->push_back({slot.cookie, pending});
    }
    release(slot);
    return true;
}

ReplyReader::Slot* ReplyReader::find(std::uint64_t cookie) {
    const std::uint32_t index = table_.find(cookie);
    return index == CookieTable::kNone ? nullptr : &slots_[index];
}

void ReplyReader::release(Slot& slot) {
    if (slot.pending.command == Command::read) {
        read_bytes_ -= slot.pending.length;
        forget_landing(slot);
    }
    table_.erase(slot.cookie);
    free_slots_.push_back(slot.index);
    current_ = {};
}

bool ReplyReader::fail(std::string reason) {
    reason_ = std::move(reason);
    return false;
}

bool ReplyReader::fail_reply(std::string_view what) {
    const Pending& pending = current_.slot->pending;
    return fail(fmt::format("reply to {} of {} bytes at {}: {}", command_name(pending.command),
                            pending.length, pending.offset, what));
}

void append_request(std::string& out, Command command, std::uint16_t flags, std::uint64_t cookie,
                    std::uint64_t offset, std::uint32_t length) {
    append(out, RequestHeader{kRequestMagic, flags, std::to_underlying(command), cookie, offset,
                              length});
}

}  // namespace signpost::wire
