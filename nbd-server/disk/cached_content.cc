// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/cached_content.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "catalog/disk_name.h"
#include "nbd-server/disk/chunk_sweep.h"

namespace signpost {

namespace {

constexpr std::uint64_t kMaxFlight = std::uint64_t{1} << 20;
constexpr std::size_t kMaxStretches = 1024;  // in one answer
constexpr unsigned kLeastHole = 16;          // blocks; fewer zeroes between data cost less as data
constexpr std::uint64_t kRecordFor = 120;    // of the clock
constexpr std::size_t kMaxChanges = 1024;    // stored at a time

unsigned block_in_chunk(std::uint64_t offset) {
    return static_cast<unsigned>(offset % kCacheChunk / kCacheBlock);
}

std::uint64_t round_up(std::uint64_t offset, std::uint64_t unit) {
    return (offset + unit - 1) / unit * unit;
}

BlockSum sum_of(const std::byte* block) {
    return static_cast<BlockSum>(
        ::crc32_z(0, reinterpret_cast<const unsigned char*>(block), kCacheBlock));
}

BlockSum sum_of_zeroes() {
    static const BlockSum sum = [] {
        const std::vector<std::byte> zeroes(kCacheBlock);
        return sum_of(zeroes.data());
    }();
    return sum;
}

bool read_all(int file, std::uint64_t offset, std::span<std::byte> to) {
    while (!to.empty()) {
        const ssize_t got = ::pread(file, to.data(), to.size(), static_cast<off_t>(offset));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return false;
        }
        to = to.subspan(static_cast<std::size_t>(got));
        offset += static_cast<std::uint64_t>(got);
    }
    return true;
}

int write_all(int file, std::uint64_t offset, std::span<const std::byte> from) {
    while (!from.empty()) {
        const ssize_t put = ::pwrite(file, from.data(), from.size(), static_cast<off_t>(offset));
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put <= 0) {
            return put < 0 ? errno : EIO;
        }
        from = from.subspan(static_cast<std::size_t>(put));
        offset += static_cast<std::uint64_t>(put);
    }
    return 0;
}

unsigned end_of_run(const std::vector<bool>& bits, unsigned begin) {
    unsigned end = begin + 1;
    while (end < bits.size() && bits[end] == bits[begin]) {
        ++end;
    }
    return end;
}

void fill_short_holes(std::vector<bool>& zero) {
    for (unsigned begin = 0; begin < zero.size();) {
        const unsigned end = end_of_run(zero, begin);
        if (zero[begin] && end - begin < kLeastHole && end - begin < zero.size()) {
            std::fill(zero.begin() + begin, zero.begin() + end, false);
        }
        begin = end;
    }
}

void punch_hole(int file, std::uint64_t begin, std::uint64_t end) {
    ::fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(begin),
                static_cast<off_t>(end - begin));
}

}  // namespace

CachedContent::CachedContent(Commons& commons, CacheIndex::Content content)
    : commons_(commons), content_(std::move(content)) {}

std::string CachedContent::file_name() const {
    return fmt::format("{}/content-{}.blocks", commons_.directory, content_.id);
}

Result<UniqueFd> CachedContent::open_file() const {
    const std::string name = file_name();
    UniqueFd file(::open(name.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!file ||
        ::ftruncate(file.get(), static_cast<off_t>(round_up(content_.size, kCacheBlock))) != 0) {
        return fail(errno == ENOSPC || errno == EDQUOT ? Errc::full : Errc::io,
                    fmt::format("{}: {}", escaped(name), std::strerror(errno)));
    }
    return file;
}

Result<bool> CachedContent::enter() {
    const std::lock_guard lock(mutex_);
    if (!file_) {
        auto file = open_file();
        if (!file) {
            return std::unexpected(file.error());
        }
        file_ = std::move(*file);
        pages_ = std::make_unique<CachedPages>(file_.get());
    }
    return ++users_ == 1;
}

void CachedContent::leave() {
    const std::lock_guard lock(mutex_);
    --users_;
}

bool CachedContent::close_if_idle() {
    const std::lock_guard lock(mutex_);
    if (users_ != 0 || !flights_.empty() || !proofs_.empty() || !dirty_.empty()) {
        return false;
    }
    pages_.reset();
    file_.reset();
    return true;
}

void CachedContent::load(const CacheIndex::Chunk& row) {
    if (row.index > (content_.size - 1) / kCacheChunk) {
        return;
    }
    const std::uint64_t left = round_up(content_.size, kCacheBlock) - row.index * kCacheChunk;
    Chunk chunk;
    chunk.present = row.present;
    if (left < kCacheChunk) {
        chunk.present.cut(static_cast<unsigned>(left / kCacheBlock));
    }
    chunk.zero = row.zero & chunk.present;
    chunk.used = row.used;
    chunk.unproven = std::make_unique<BlockBits>(chunk.present);
    const std::uint64_t bytes = chunk.bytes();
    if (!chunk.present.none() && chunks_.try_emplace(row.index, std::move(chunk)).second) {
        note_bytes(0, bytes);
    }
}

void CachedContent::note_bytes(std::uint64_t before, std::uint64_t after) {
    commons_.bytes.fetch_add(after - before, std::memory_order_relaxed);
}

std::uint64_t CachedContent::bytes_there() {
    const std::lock_guard lock(mutex_);
    std::uint64_t sum = 0;
    for (const auto& [index, chunk] : chunks_) {
        sum += std::uint64_t{chunk.present.count()} * kCacheBlock;
    }
    return sum;
}

// --- what is at hand

CachedContent::Pin CachedContent::pin(Chunk& chunk) {
    if (chunk.pin == nullptr) {
        chunk.pin = std::make_shared<std::byte>();
    }
    chunk.used = commons_.clock.load(std::memory_order_relaxed);
    return chunk.pin;
}

// The block at AT is ready.
CachedContent::Stretch CachedContent::ready_stretch(Chunk& chunk, std::uint64_t at,
                                                    std::uint64_t end) {
    const std::uint64_t base = at / kCacheChunk * kCacheChunk;
    const auto last =
        static_cast<unsigned>((std::min(end, base + kCacheChunk) - base - 1) / kCacheBlock + 1);
    const unsigned first = block_in_chunk(at);
    unsigned until = first + chunk.present.run(first, last);
    until = first + chunk.zero.run(first, until);
    if (chunk.unproven) {
        until = first + chunk.unproven->run(first, until);
    }
    return {.begin = at,
            .end = std::min(end, base + until * kCacheBlock),
            .zero = chunk.zero.test(first),
            .pin = pin(chunk)};
}

// False: not all of it is ready, or it is in too many places.
bool CachedContent::ready_stretches(std::uint64_t begin, std::uint64_t end,
                                    std::vector<Stretch>& to) {
    const std::lock_guard lock(mutex_);
    for (std::uint64_t at = begin; at < end; at = to.back().end) {
        const auto found = chunks_.find(at / kCacheChunk);
        if (found == chunks_.end() || !found->second.ready(block_in_chunk(at)) ||
            to.size() == kMaxStretches) {
            return false;
        }
        to.push_back(ready_stretch(found->second, at, end));
    }
    return true;
}

bool CachedContent::read_now(std::uint64_t offset, std::span<std::byte> to) {
    std::vector<Stretch> stretches;
    if (!ready_stretches(offset, offset + to.size(), stretches)) {
        return false;
    }
    for (const Stretch& stretch : stretches) {
        const auto part = to.subspan(stretch.begin - offset, stretch.end - stretch.begin);
        if (stretch.zero) {
            std::memset(part.data(), 0, part.size());
        } else if (!pages_->read(stretch.begin, part)) {
            return false;
        }
    }
    commons_.hit.fetch_add(to.size(), std::memory_order_relaxed);
    return true;
}

bool CachedContent::locate_now(std::uint64_t offset, std::uint64_t length,
                               std::vector<ReadPart>& parts) {
    std::vector<Stretch> stretches;
    if (!ready_stretches(offset, offset + length, stretches)) {
        return false;
    }
    const std::size_t before = parts.size();
    for (Stretch& stretch : stretches) {
        ReadPart part;
        part.place = stretch.zero ? ReadPart::Place::hole : ReadPart::Place::file;
        part.offset = part.at = stretch.begin;
        part.length = static_cast<std::uint32_t>(stretch.end - stretch.begin);
        part.file = file_.get();
        part.loan = std::move(stretch.pin);
        if (!stretch.zero && !pages_->covers(part.at, part.length)) {
            parts.resize(before);
            return false;
        }
        parts.push_back(std::move(part));
    }
    commons_.hit.fetch_add(length, std::memory_order_relaxed);
    return true;
}

std::optional<ReadRange> CachedContent::note(std::uint64_t offset, std::uint64_t length) {
    const std::lock_guard lock(mutex_);
    if (recorder_ && commons_.clock.load(std::memory_order_relaxed) < record_until_) {
        recorder_->note(offset, length);
    }
    auto range = streams_.note(offset, length);
    if (!range || range->offset >= content_.size) {
        return std::nullopt;
    }
    range->length = std::min(range->length, content_.size - range->offset);
    return range;
}

void CachedContent::record() {
    const std::lock_guard lock(mutex_);
    recorder_.emplace(content_.size);
    record_until_ = commons_.clock + kRecordFor;
}

std::optional<BootProfile> CachedContent::recorded() {
    const std::lock_guard lock(mutex_);
    if (!recorder_ || (users_ > 0 && commons_.clock < record_until_)) {
        return std::nullopt;
    }
    auto profile = recorder_->profile();
    recorder_.reset();
    return profile;
}

// --- what is not

std::shared_ptr<CacheFlight> CachedContent::flight_at(std::uint64_t at) const {
    auto found = flights_.upper_bound(at);
    if (found == flights_.begin()) {
        return nullptr;
    }
    --found;
    return at < found->second->end() ? found->second : nullptr;
}

bool CachedContent::is_missing(std::uint64_t at) const {
    const auto found = chunks_.find(at / kCacheChunk);
    return (found == chunks_.end() || !found->second.present.test(block_in_chunk(at))) &&
           flight_at(at) == nullptr;
}

// The block at the wish's begin is missing.
std::shared_ptr<CacheFlight> CachedContent::begin_flight(const Wish& wish) {
    const std::uint64_t first = wish.begin / kCacheBlock * kCacheBlock;
    const std::uint64_t least = wish.begin / wish.granule * wish.granule;
    const std::uint64_t most = std::min({round_up(wish.end, wish.granule), content_.size,
                                         least + std::max(kMaxFlight, wish.granule)});
    std::uint64_t begin = first;
    while (begin > least && is_missing(begin - kCacheBlock)) {
        begin -= kCacheBlock;
    }
    std::uint64_t end = first + kCacheBlock;
    while (end < most && is_missing(end)) {
        end += kCacheBlock;
    }
    auto flight = std::make_shared<CacheFlight>();
    flight->begin = begin;
    flight->length = std::min(end, content_.size) - begin;
    flight->kept = wish.keep;
    return flight;
}

CachedContent::Seen CachedContent::look(const Wish& wish, Wake* wake) {
    const std::lock_guard lock(mutex_);
    const std::uint64_t at = wish.begin;
    if (auto flight = flight_at(at)) {
        const auto kind = flight->here ? Seen::Kind::arrived : Seen::Kind::coming;
        if (!flight->here && wake != nullptr) {
            flight->waiting.push_back(std::move(*wake));
        }
        return {kind, std::min(wish.end, flight->end()) - at, std::move(flight), {}};
    }
    const std::uint64_t index = at / kCacheChunk;
    const auto found = chunks_.find(index);
    if (found != chunks_.end() && found->second.present.test(block_in_chunk(at))) {
        if (found->second.ready(block_in_chunk(at))) {
            Stretch stretch = ready_stretch(found->second, at, wish.end);
            return {stretch.zero ? Seen::Kind::zero : Seen::Kind::file,
                    stretch.end - at,
                    {},
                    std::move(stretch.pin)};
        }
        const auto [proof, is_new] = proofs_.try_emplace(index);
        if (wake != nullptr) {
            proof->second.push_back(std::move(*wake));
        }
        return {is_new ? Seen::Kind::to_prove : Seen::Kind::unproven,
                std::min(wish.end, (index + 1) * kCacheChunk) - at,
                {},
                {}};
    }
    auto flight = begin_flight(wish);
    if (wake != nullptr) {
        flight->waiting.push_back(std::move(*wake));
        streams_.missed(flight->length);
    }
    if (wish.keep) {
        flights_.emplace(flight->begin, flight);
    }
    const std::uint64_t length = std::min(wish.end, flight->end()) - at;
    return {Seen::Kind::missing, length, std::move(flight), {}};
}

// Blocks that have not been proven yet count as data, which is never wrong.
std::optional<std::vector<Extent>> CachedContent::extents(std::uint64_t begin, std::uint64_t end,
                                                          std::size_t most) {
    const std::lock_guard lock(mutex_);
    std::vector<Extent> found;
    for (std::uint64_t at = begin; at < end;) {
        const auto chunk = chunks_.find(at / kCacheChunk);
        const unsigned block = block_in_chunk(at);
        if (chunk == chunks_.end() || !chunk->second.present.test(block)) {
            return std::nullopt;
        }
        const BlockBits& zeroes = chunk->second.zero;
        const bool hole = zeroes.test(block) && chunk->second.ready(block);
        const unsigned run = chunk->second.unproven && zeroes.test(block)
                                 ? 1
                                 : std::min(zeroes.run(block), chunk->second.present.run(block));
        const std::uint64_t until = std::min(
            end, at / kCacheChunk * kCacheChunk + std::uint64_t{block + run} * kCacheBlock);
        const std::uint32_t flags = hole ? wire::kStateHole | wire::kStateZero : 0;
        if (found.empty() || found.back().flags != flags) {
            if (found.size() == most) {
                break;
            }
            found.push_back({.length = 0, .flags = flags});
        }
        found.back().length += until - at;
        at = until;
    }
    return found;
}

std::optional<std::uint64_t> CachedContent::missing_from(std::uint64_t at) {
    const std::lock_guard lock(mutex_);
    at = at / kCacheBlock * kCacheBlock;
    while (at < content_.size) {
        const auto chunk = chunks_.find(at / kCacheChunk);
        const unsigned block = block_in_chunk(at);
        if (chunk != chunks_.end() && chunk->second.present.test(block)) {
            at += std::uint64_t{chunk->second.present.run(block)} * kCacheBlock;
        } else if (const auto flight = flight_at(at)) {
            at = round_up(flight->end(), kCacheBlock);
        } else {
            return at;
        }
    }
    return std::nullopt;
}

bool CachedContent::touches(std::uint64_t begin, std::uint64_t end) {
    const std::lock_guard lock(mutex_);
    for (std::uint64_t at = begin / kCacheBlock * kCacheBlock; at < end; at += kCacheBlock) {
        if (!is_missing(at)) {
            return true;
        }
    }
    return false;
}

void CachedContent::landed(const std::shared_ptr<CacheFlight>& flight, int error) {
    std::vector<Wake> waiting;
    {
        const std::lock_guard lock(mutex_);
        flight->here = error == 0;
        waiting.swap(flight->waiting);
        if (error != 0 && flight->kept) {
            flights_.erase(flight->begin);
        }
    }
    for (Wake& wake : waiting) {
        wake(flight, error);
    }
}

bool CachedContent::read(std::uint64_t offset, std::span<std::byte> to) {
    if (read_all(file_.get(), offset, to)) {
        commons_.hit.fetch_add(to.size(), std::memory_order_relaxed);
        return true;
    }
    commons_.log.error(
        fmt::format("cache: {}: cannot be read at {}; what was there is fetched "
                    "again: look at the storage",
                    escaped(file_name()), offset));
    BlockBits all;
    for (unsigned block = 0; block < BlockBits::kBits; ++block) {
        all.set(block);
    }
    drop_bad(offset / kCacheChunk, all);
    return false;
}

// --- proofs

BlockBits CachedContent::bad_blocks(std::uint64_t chunk, const BlockBits& bits,
                                    const BlockBits& zero) {
    const auto sums = commons_.index.sums(content_.id, chunk);
    if (!sums) {
        return bits;
    }
    BlockBits bad;
    std::vector<std::byte> bytes(kCacheChunk);
    for (unsigned at = 0; at < BlockBits::kBits;) {
        const unsigned until = at + bits.run(at);
        const std::span part(bytes.data(), (until - at) * kCacheBlock);
        const bool there = bits.test(at);
        const bool read =
            there && read_all(file_.get(), chunk * kCacheChunk + at * kCacheBlock, part);
        for (unsigned block = at; there && block < until; ++block) {
            const BlockSum sum = zero.test(block) ? sum_of_zeroes()
                                 : read           ? sum_of(&part[(block - at) * kCacheBlock])
                                                  : ~(*sums)[block];
            bad.set(block, sum != (*sums)[block]);
        }
        at = until;
    }
    return bad;
}

void CachedContent::prove(std::uint64_t index) {
    BlockBits bits;
    BlockBits zero;
    Pin held;
    {
        const std::lock_guard lock(mutex_);
        const auto found = chunks_.find(index);
        if (found != chunks_.end() && found->second.unproven) {
            bits = *found->second.unproven;
            zero = found->second.zero;
            held = pin(found->second);
        }
    }
    const BlockBits bad = held ? bad_blocks(index, bits, zero) : BlockBits{};
    if (!bad.none()) {
        commons_.log.error(fmt::format(
            "cache: disk '{}': {} blocks are not what was stored (a crash, or a bad medium); they "
            "are fetched again",
            escaped(content_.disk), bad.count()));
        drop_bad(index, bad);
    }
    std::vector<Wake> waiting;
    {
        const std::lock_guard lock(mutex_);
        if (const auto found = chunks_.find(index); found != chunks_.end()) {
            found->second.unproven.reset();
        }
        waiting = std::move(proofs_[index]);
        proofs_.erase(index);
    }
    for (Wake& wake : waiting) {
        wake(nullptr, 0);
    }
}

void CachedContent::drop_bad(std::uint64_t index, const BlockBits& bad) {
    const std::lock_guard lock(mutex_);
    const auto found = chunks_.find(index);
    if (found == chunks_.end()) {
        return;
    }
    Chunk& chunk = found->second;
    const std::uint64_t before = chunk.bytes();
    chunk.present = chunk.present.without(bad);
    chunk.zero = chunk.zero & chunk.present;
    if (chunk.unproven) {
        *chunk.unproven = *chunk.unproven & chunk.present;
    }
    note_bytes(before, chunk.bytes());
    dirty_.try_emplace(index);
}

// --- the writer's side

int CachedContent::write(const CacheFlight& flight) {
    Written written;
    const auto blocks = static_cast<unsigned>(flight.memory() / kCacheBlock);
    for (unsigned i = 0; i < blocks; ++i) {
        const std::byte* const block = flight.bytes.get() + i * kCacheBlock;
        written.zero.push_back(is_zero({block, kCacheBlock}));
        written.sums.push_back(written.zero[i] ? sum_of_zeroes() : sum_of(block));
    }
    fill_short_holes(written.zero);
    for (unsigned i = 0; i < blocks;) {
        const unsigned until = end_of_run(written.zero, i);
        if (!written.zero[i]) {
            const std::span part(flight.bytes.get() + i * kCacheBlock, (until - i) * kCacheBlock);
            if (const int error = write_all(file_.get(), flight.begin + i * kCacheBlock, part)) {
                return error;
            }
        }
        i = until;
    }
    written_[&flight] = std::move(written);
    return 0;
}

int CachedContent::sync() {
    return ::fdatasync(file_.get()) == 0 ? 0 : errno;
}

void CachedContent::settle(const std::shared_ptr<CacheFlight>& flight, bool good) {
    const Written written = std::move(written_[flight.get()]);
    written_.erase(flight.get());
    const std::lock_guard lock(mutex_);
    flights_.erase(flight->begin);
    if (!good) {
        punch_hole(file_.get(), flight->begin, flight->begin + flight->memory());
    }
    for (unsigned i = 0; good && i < written.sums.size(); ++i) {
        const std::uint64_t at = flight->begin + i * kCacheBlock;
        const std::uint64_t index = at / kCacheChunk;
        const auto [place, is_new] = chunks_.try_emplace(index);
        Chunk& chunk = place->second;
        const std::uint64_t before = is_new ? 0 : chunk.bytes();
        const unsigned block = block_in_chunk(at);
        chunk.present.set(block);
        chunk.zero.set(block, written.zero[i]);
        chunk.used = commons_.clock.load(std::memory_order_relaxed);
        note_bytes(before, chunk.bytes());
        dirty_[index].emplace_back(static_cast<std::uint16_t>(block), written.sums[i]);
    }
}

std::vector<CacheIndex::Change> CachedContent::changes() {
    const std::lock_guard lock(mutex_);
    std::vector<CacheIndex::Change> found;
    for (const auto& [index, sums] : dirty_) {
        const auto chunk = chunks_.find(index);
        if (chunk != chunks_.end() && found.size() < kMaxChanges) {
            found.push_back({{content_.id, index, chunk->second.present, chunk->second.zero,
                              chunk->second.used},
                             sums});
        }
    }
    return found;
}

// More may have come for a chunk meanwhile, behind what was stored.
void CachedContent::stored(std::span<const CacheIndex::Change> changes) {
    const std::lock_guard lock(mutex_);
    for (const CacheIndex::Change& change : changes) {
        const auto found = dirty_.find(change.chunk.index);
        if (found == dirty_.end()) {
            continue;
        }
        auto& sums = found->second;
        sums.erase(sums.begin(), sums.begin() + static_cast<std::ptrdiff_t>(change.sums.size()));
        const auto chunk = chunks_.find(change.chunk.index);
        const bool same = chunk == chunks_.end() || chunk->second.present == change.chunk.present;
        if (sums.empty() && same) {
            dirty_.erase(found);
        }
    }
}

void CachedContent::add_candidates(std::vector<Candidate>& to) {
    const std::lock_guard lock(mutex_);
    for (const auto& [index, chunk] : chunks_) {
        if (chunk.pin.use_count() <= 1 && !proofs_.contains(index)) {
            to.push_back({chunk.used, this, index, chunk.bytes()});
        }
    }
}

bool CachedContent::take_out(std::uint64_t index) {
    const std::lock_guard lock(mutex_);
    const auto found = chunks_.find(index);
    if (found == chunks_.end() || found->second.pin.use_count() > 1 || proofs_.contains(index)) {
        return false;
    }
    note_bytes(found->second.bytes(), 0);
    leaving_[index] = std::move(found->second);
    chunks_.erase(found);
    dirty_.erase(index);
    return true;
}

void CachedContent::put_back(std::uint64_t index) {
    const std::lock_guard lock(mutex_);
    Chunk chunk = std::move(leaving_[index]);
    leaving_.erase(index);
    note_bytes(0, chunk.bytes());
    chunks_[index] = std::move(chunk);
}

void CachedContent::punch(std::uint64_t index) {
    UniqueFd own;
    int file = -1;
    {
        const std::lock_guard lock(mutex_);
        leaving_.erase(index);
        file = file_.get();
    }
    if (file < 0) {
        auto opened = open_file();
        if (!opened) {
            return;
        }
        own = std::move(*opened);
        file = own.get();
    }
    punch_hole(file, index * kCacheChunk, (index + 1) * kCacheChunk);
}

// What a crash has left in the file, and the index knows nothing of, gives its space back.
void CachedContent::tidy() {
    const UniqueFd file(::open(file_name().c_str(), O_RDWR | O_NOFOLLOW | O_CLOEXEC));
    const std::uint64_t end = round_up(content_.size, kCacheBlock);
    for (std::uint64_t at = 0; file && at < end;) {
        const off_t data = ::lseek(file.get(), static_cast<off_t>(at), SEEK_DATA);
        if (data < 0) {
            return;
        }
        at = static_cast<std::uint64_t>(data) / kCacheChunk * kCacheChunk;
        if (!chunks_.contains(at / kCacheChunk)) {
            punch_hole(file.get(), at, at + kCacheChunk);
        }
        at += kCacheChunk;
    }
}

}  // namespace signpost
