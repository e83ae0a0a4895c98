// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/cached_core.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "catalog/disk_name.h"
#include "nbd-server/disk/disk_description.h"

namespace signpost {

namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::uint64_t kPieceOfProfile = 256 * 1024;
constexpr unsigned kMostOfProfile = 4;                          // pieces at a time
constexpr std::uint64_t kMostWished = std::uint64_t{64} << 20;  // fetched for one wish
constexpr std::uint64_t kLeastToFill = std::uint64_t{1} << 20;  // else it was only looked at
constexpr std::uint64_t kPieceOfFill = std::uint64_t{1} << 20;
constexpr milliseconds kFillLook{100};     // so often it looks whether it is to end
constexpr seconds kFillAgain{30};          // after a failure
constexpr unsigned kFillFailures = 4;      // in a row, without clients
constexpr std::size_t kMaxExtents = 1024;  // per request

bool tells_content(const Location& copy, const std::string& fingerprint) {
    return copy.read_only && fingerprint.starts_with("r-");
}

std::string digest_key(const std::string& disk, const Location& copy) {
    return fmt::format("digest\n{}\n{}\n{}", disk, copy.digest, copy.size);
}

std::string copy_key(const std::string& disk, const Location& copy,
                     const std::string& fingerprint) {
    return fmt::format("copy\n{}\n{}\n{}\n{}\n{}", disk, copy.server, copy.generation, fingerprint,
                       copy.size);
}

}  // namespace

std::string verified_content(const std::string& digest, std::uint64_t size) {
    return fmt::format("verified\n{}\n{}", digest, size);
}

std::vector<Location> copies_of_one_content(const RelayPlan& plan) {
    std::vector<Location> copies;
    for (const Upstream& upstream : plan.upstreams) {
        const Location& copy = upstream.location;
        const bool same =
            copies.empty() || (!copy.digest.empty() && copy.digest == copies.front().digest);
        if (!same || copy.size != plan.traits.size || !tells_content(copy, copy.fingerprint)) {
            return {};
        }
        copies.push_back(copy);
    }
    return copies;
}

// A flight's way to the relay and back.
struct CachedCore::Trip {
    BlockCache::Busy busy;  // first, so that it ends last
    std::shared_ptr<CachedCore> core;
    std::shared_ptr<Disk> relay;
    std::shared_ptr<CachedContent> content;
    std::shared_ptr<CacheFlight> flight;
    Request request;
};

void CachedCore::begin(std::shared_ptr<Disk> relay) {
    relay_ = std::move(relay);
    traits_ = relay_->traits();
    loop_ = relay_->home_loop();
}

void CachedCore::open(const CacheKeys& keys) {
    opened(open_content(keys, false), false);
}

Result<CachedCore::Opened> CachedCore::open_content(const CacheKeys& keys, bool alone) {
    auto content = cache_.open(keys, terms_.name, traits_.size, terms_.opens_new && !alone);
    if (!content) {
        return std::unexpected(content.error());
    }
    Opened opened{.content = std::move(*content), .profile = {}};
    if (terms_.opens_new && !alone) {
        opened.profile = cache_.boot_profile(*opened.content);
    }
    return opened;
}

void CachedCore::begin_to_open(CacheKeys keys, bool alone) {
    opening_ = true;
    cache_.workers().run([busy = BlockCache::Busy(cache_), self = shared_from_this(), alone,
                          keys = std::move(keys)]() mutable {
        auto content = self->open_content(keys, alone);
        EventLoop& loop = *self->loop_;
        loop.post(
            [busy = std::move(busy), self = std::move(self), alone,
             content = std::move(content)]() mutable { self->opened(std::move(content), alone); });
    });
}

void CachedCore::opened(Result<Opened> content, bool alone) {
    opening_ = false;
    if (const auto pin = std::exchange(meanwhile_, std::nullopt)) {
        pinned(pin->first, pin->second);  // a server has come that knows better
        if (opening_) {
            return;
        }
    } else if (content) {
        if (alone) {
            held_ = terms_.copies.front();
        }
        content_ = std::move(content->content);
        ready_.store(content_.get(), std::memory_order_release);
        if (content->profile) {
            profile_.assign(content->profile->ranges.begin(), content->profile->ranges.end());
            loop_->post([busy = BlockCache::Busy(cache_), self = shared_from_this()] {
                self->fetch_profile();
            });
        }
        if (cache_.fill_rate() > 0) {
            loop_->post([busy = BlockCache::Busy(cache_), self = shared_from_this()] {
                if (self->content_->bytes_there() >= kLeastToFill) {
                    self->begin_fill();
                }
            });
        }
    } else if (content.error().code != Errc::not_found) {
        cache_.log.error(fmt::format("disk '{}' is not cached: {}", escaped(terms_.name),
                                     content.error().message));
    }
    settle();
}

// It is certain now whether there is a content.
void CachedCore::settle() {
    settled_ = true;
    for (auto& [told, answer] : std::exchange(askers_, {})) {
        tell(told, answer);
    }
    for (Request* request : std::exchange(early_, {})) {
        take(*request);
    }
}

// Who does not ask first whether the disk can be had waits for the first connection all the same.
void CachedCore::wait_until_settled(Request& request) {
    early_.push_back(&request);
    if (early_.size() == 1) {
        reach([](const Result<void>&) {});
    }
}

// A name alone says nothing of the content, nor does an image that somebody may write to (whose
// fingerprint begins otherwise), or a server that shows no fingerprint.
void CachedCore::pinned(const Location& copy, const std::string& fingerprint) {
    if (opening_) {
        meanwhile_.emplace(copy, fingerprint);
        return;
    }
    if (content_ || closed_ || copy.size != traits_.size || !tells_content(copy, fingerprint)) {
        return;
    }
    CacheKeys keys;
    if (!copy.digest.empty() && copy.fingerprint == fingerprint) {
        if (!terms_.opens_new) {
            keys.push_back(verified_content(copy.digest, copy.size));
        }
        keys.push_back(digest_key(terms_.name, copy));
    }
    keys.push_back(copy_key(terms_.name, copy, fingerprint));
    begin_to_open(std::move(keys), false);
}

void CachedCore::reach(Disk::Told told) {
    relay_->reach([busy = BlockCache::Busy(cache_), self = shared_from_this(),
                   told = std::move(told)](const Result<void>& answer) mutable {
        EventLoop& loop = *self->loop_;
        loop.post([busy = std::move(busy), self = std::move(self), told = std::move(told),
                   answer]() mutable { self->answered(std::move(told), answer); });
    });
}

// Where no server can be asked, what is kept of the content that the catalog has is all there is.
void CachedCore::answered(Disk::Told told, const Result<void>& answer) {
    reached_ |= answer.has_value();
    const bool silence = !answer && answer.error().code == Errc::unavailable;
    if (silence && !content_ && !opening_ && !closed_ && !terms_.copies.empty()) {
        CacheKeys keys;
        if (!terms_.copies.front().digest.empty()) {
            keys.push_back(digest_key(terms_.name, terms_.copies.front()));
        }
        for (const Location& copy : terms_.copies) {
            keys.push_back(copy_key(terms_.name, copy, copy.fingerprint));
        }
        begin_to_open(std::move(keys), true);
    }
    if (opening_) {
        askers_.emplace_back(std::move(told), answer);
        return;
    }
    tell(told, answer);
    settle();
}

void CachedCore::tell(Disk::Told& told, const Result<void>& answer) {
    told(answer || does_without(answer) ? Result<void>() : answer);
}

// Whether clients get what is kept, although the relay has ANSWER to say.
bool CachedCore::does_without(const Result<void>& answer) {
    if (answer.error().code != Errc::unavailable || !content_ || !(terms_.alone || reached_)) {
        return false;
    }
    const std::uint64_t kept = content_->bytes_there();
    if (kept == 0) {
        return false;
    }
    if (!std::exchange(told_alone_, true)) {
        cache_.log.error(
            fmt::format("disk '{}' is served from the cache, which has {} of its {}: {}",
                        escaped(terms_.name), kept >= traits_.size ? "all" : size_for_people(kept),
                        size_for_people(traits_.size), answer.error().message));
    }
    return true;
}

void CachedCore::close() {
    left_ = true;
    if (!filling_) {
        closed_ = true;
        relay_.reset();
    }
}

// --- requests

void CachedCore::take(Request& request) {
    if (!settled_) {
        wait_until_settled(request);
        return;
    }
    const bool reads = request.op == Op::read;
    const std::uint64_t end = request.offset + request.length;
    if (request.op == Op::extents && content_ != nullptr) {
        const std::size_t most = (request.flags & kRequestOneExtent) != 0 ? 1 : kMaxExtents;
        if (auto extents = content_->extents(request.offset, end, most)) {
            *request.extents = std::move(*extents);
            request.done(request, 0);
            return;
        }
    }
    if (content_ == nullptr || !(reads || request.op == Op::cache) ||
        (reads && !keeps() && !content_->touches(request.offset, end))) {
        relay_->submit(request);
        return;
    }
    if (profile_under_way_ == 0 && !profile_.empty()) {
        fetch_profile();
    }
    if (!reads) {
        fetch_ahead({request.offset, request.length});
        request.done(request, 0);
        return;
    }
    auto* const ask = new Ask{.request = &request, .own = {}, .to = request.buffer};
    if (request.sink != nullptr) {
        ask->own = std::make_unique_for_overwrite<std::byte[]>(request.length);
        ask->to = ask->own.get();
    }
    asked_ += request.length;
    if (asked_ >= kLeastToFill) {
        begin_fill();
    }
    serve(*ask, request.offset, end);
    const auto ahead = content_->note(request.offset, request.length);
    part_done(*ask, 0);
    if (ahead) {
        fetch_ahead(*ahead);
    }
    answer_finished();
}

void CachedCore::serve(Ask& ask, std::uint64_t begin, std::uint64_t end) {
    using Kind = CachedContent::Seen::Kind;
    const bool keep = keeps();
    while (begin < end) {
        auto waker = wake(ask, begin, end);
        auto seen = content_->look({begin, end, keep ? terms_.granule : kCacheBlock, keep}, &waker);
        const std::uint64_t until = begin + seen.length;
        switch (seen.kind) {
            case Kind::zero:
                std::memset(ask.to + (begin - ask.request->offset), 0, seen.length);
                break;
            case Kind::arrived:
                give(ask, begin, until, *seen.flight);
                break;
            case Kind::file:
                ++ask.parts_left;
                read_file(ask, begin, until, std::move(seen.pin));
                break;
            case Kind::missing:
                ++ask.parts_left;
                if (!fetch(seen.flight, &ask)) {
                    content_->landed(seen.flight, EAGAIN);
                }
                break;
            case Kind::to_prove:
                ++ask.parts_left;
                prove(begin / kCacheChunk);
                break;
            case Kind::coming:
            case Kind::unproven:
                ++ask.parts_left;
                break;
        }
        begin = until;
    }
}

CachedContent::Wake CachedCore::wake(Ask& ask, std::uint64_t begin, std::uint64_t end) {
    return [self = shared_from_this(), ask = &ask, begin, end](
               const std::shared_ptr<CacheFlight>& flight, int error) {
        self->loop_->post([self, ask, begin, end, flight, error] {
            self->came(*ask, begin, end, flight, error);
            self->answer_finished();
        });
    };
}

// Of a range that begins at BEGIN. Without a flight: its chunk has been proven.
void CachedCore::came(Ask& ask, std::uint64_t begin, std::uint64_t end,
                      const std::shared_ptr<CacheFlight>& flight, int error) {
    const std::uint64_t limit = flight ? flight->end() : (begin / kCacheChunk + 1) * kCacheChunk;
    const std::uint64_t until = std::min(end, limit);
    if (flight && error == EAGAIN) {
        wait_for_room(ask, begin, until);
        return;
    }
    if (flight && error == 0) {
        give(ask, begin, until, *flight);
    } else if (flight && flight->begun_for == &ask) {
        ask.error = EIO;
    } else {
        serve(ask, begin, until);
    }
    part_done(ask, 0);
}

void CachedCore::give(Ask& ask, std::uint64_t begin, std::uint64_t end, const CacheFlight& flight) {
    std::memcpy(ask.to + (begin - ask.request->offset), flight.bytes.get() + (begin - flight.begin),
                end - begin);
    if (flight.begun_for != &ask) {
        cache_.commons().hit.fetch_add(end - begin, std::memory_order_relaxed);
    }
}

void CachedCore::read_file(Ask& ask, std::uint64_t begin, std::uint64_t end,
                           CachedContent::Pin pin) {
    cache_.workers().run([busy = BlockCache::Busy(cache_), self = shared_from_this(), ask = &ask,
                          begin, end, pin = std::move(pin)]() mutable {
        const std::span to(ask->to + (begin - ask->request->offset), end - begin);
        const bool good = self->content_->read(begin, to);
        pin.reset();
        EventLoop& loop = *self->loop_;
        loop.post([busy = std::move(busy), self = std::move(self), ask, begin, end, good] {
            if (!good) {
                self->serve(*ask, begin, end);
            }
            self->part_done(*ask, 0);
            self->answer_finished();
        });
    });
}

void CachedCore::prove(std::uint64_t chunk) {
    cache_.workers().run(
        [busy = BlockCache::Busy(cache_), content = content_, chunk] { content->prove(chunk); });
}

// --- what is missing

// False: there is no memory for it now.
bool CachedCore::fetch(const std::shared_ptr<CacheFlight>& flight, const void* whom) {
    flight->begun_for = whom;
    if (flight->kept && !cache_.memory.take(flight->memory())) {
        return false;
    }
    flight->bytes = std::make_unique_for_overwrite<std::byte[]>(flight->memory());
    std::memset(flight->bytes.get() + flight->length, 0, flight->memory() - flight->length);
    cache_.commons().fetched.fetch_add(flight->length, std::memory_order_relaxed);
    auto trip = std::unique_ptr<Trip>(new Trip{.busy = BlockCache::Busy(cache_),
                                               .core = shared_from_this(),
                                               .relay = relay_,
                                               .content = content_,
                                               .flight = flight,
                                               .request = {}});
    Request& request = trip->request;
    request.offset = flight->begin;
    request.length = flight->length;
    request.buffer = flight->bytes.get();
    request.context = trip.get();
    request.done = [](Request& done, int error) {
        std::unique_ptr<Trip> back(static_cast<Trip*>(done.context));
        EventLoop& loop = *back->core->loop_;
        loop.post(
            [back = std::move(back), error] { back->core->landed(*back, error == 0 ? 0 : EIO); });
    };
    trip.release()->relay->submit(request);
    return true;
}

void CachedCore::landed(Trip& trip, int error) {
    trip.content->landed(trip.flight, error);
    if (auto after = std::exchange(trip.flight->after, nullptr)) {
        after();
    }
    if (!trip.flight->kept) {
        return;
    }
    if (error == 0) {
        cache_.store(std::move(trip.content), std::move(trip.flight));
    } else {
        cache_.give_memory(trip.flight->memory());
    }
}

void CachedCore::fetch_ahead(ReadRange range) {
    if (closed_ || content_ == nullptr || !keeps()) {
        return;
    }
    std::uint64_t begin = range.offset;
    const std::uint64_t end = begin + std::min({range.length, traits_.size - begin, kMostWished});
    while (begin < end) {
        auto seen = content_->look({begin, end, terms_.granule, true}, nullptr);
        if (seen.kind == CachedContent::Seen::Kind::to_prove) {
            prove(begin / kCacheChunk);
        } else if (seen.kind == CachedContent::Seen::Kind::missing &&
                   !fetch(seen.flight, nullptr)) {
            content_->landed(seen.flight, EAGAIN);
            return;
        }
        begin += seen.length;
    }
}

// A few at a time: clients that ask for something else come first.
void CachedCore::fetch_profile() {
    while (profile_under_way_ < kMostOfProfile && !profile_.empty() && !closed_ && keeps()) {
        ReadRange& next = profile_.front();
        const ReadRange piece{next.offset, std::min(next.length, kPieceOfProfile)};
        next.offset += piece.length;
        next.length -= piece.length;
        if (next.length == 0) {
            profile_.pop_front();
        }
        fetch_some(piece);
    }
}

// What is missing of it, and is not on its way.
void CachedCore::fetch_some(ReadRange range) {
    using Kind = CachedContent::Seen::Kind;
    const std::uint64_t end = range.offset + range.length;
    for (std::uint64_t begin = range.offset; begin < end;) {
        auto seen = content_->look({begin, end, terms_.granule, true}, nullptr);
        if (seen.kind == Kind::to_prove) {
            prove(begin / kCacheChunk);
        } else if (seen.kind == Kind::missing) {
            ++profile_under_way_;
            seen.flight->after = [busy = BlockCache::Busy(cache_), self = shared_from_this()] {
                --self->profile_under_way_;
                self->fetch_profile();
            };
            if (!fetch(seen.flight, nullptr)) {
                --profile_under_way_;
                profile_.clear();  // there is no room for guesses
                seen.flight->after = nullptr;
                content_->landed(seen.flight, EAGAIN);
                return;
            }
        }
        begin += seen.length;
    }
}

// --- the rest of the disk

void CachedCore::begin_fill() {
    if (cache_.fill_rate() == 0 || !terms_.opens_new || filling_ || closed_ ||
        content_->being_filled.exchange(true)) {
        return;
    }
    filling_ = true;
    fill_from_ = fill_brought_ = 0;
    fill_failures_ = 0;
    fill_when(loop_->now());
}

void CachedCore::fill_when(EventLoop::Time due) {
    const auto look = std::min(due, loop_->now() + kFillLook);
    loop_->call_at(look, [busy = BlockCache::Busy(cache_), self = shared_from_this(), due] {
        if (self->cache_.ending()) {
            self->end_fill();
        } else if (self->loop_->now() < due) {
            self->fill_when(due);
        } else {
            self->fill();
        }
    });
}

// One piece at a time, and none where it would push out something that was read.
void CachedCore::fill() {
    const auto at = content_->missing_from(fill_from_);
    if (!at) {
        if (fill_brought_ > 0) {
            cache_.log.info(fmt::format("disk '{}' is all in the cache", escaped(terms_.name)));
        }
        cache_.workers().run([busy = BlockCache::Busy(cache_), self = shared_from_this()] {
            if (self->cache_.filled) {
                self->cache_.filled(self->terms_.name);
            }
        });
        end_fill();
        return;
    }
    fill_from_ = *at;
    if (!cache_.has_room()) {
        cache_.log.info(fmt::format("disk '{}': the rest of it is not fetched: the cache is full",
                                    escaped(terms_.name)));
        end_fill();
        return;
    }
    if (!keeps()) {
        fill_came(false, {});
        return;
    }
    auto seen = content_->look(
        {*at, *at + std::min(kPieceOfFill, traits_.size - *at), terms_.granule, true}, nullptr);
    if (seen.kind != CachedContent::Seen::Kind::missing) {
        fill_when(loop_->now());
        return;
    }
    CacheFlight* const flight = seen.flight.get();
    flight->after = [busy = BlockCache::Busy(cache_), self = shared_from_this(), flight,
                     due = cache_.next_fill(flight->length)] {
        self->fill_brought_ += flight->here ? flight->length : 0;
        self->fill_came(flight->here, due);
    };
    if (!fetch(seen.flight, nullptr)) {
        flight->after = nullptr;
        content_->landed(seen.flight, EAGAIN);
        fill_when(loop_->now() + seconds(1));
    }
}

void CachedCore::fill_came(bool good, EventLoop::Time due) {
    fill_failures_ = good ? 0 : fill_failures_ + 1;
    if (left_ && fill_failures_ >= kFillFailures) {
        end_fill();
    } else {
        fill_when(good ? due : loop_->now() + kFillAgain);
    }
}

// It begins again when the disk is opened, or asked for what is missing.
void CachedCore::end_fill() {
    filling_ = false;
    asked_ = 0;
    content_->being_filled = false;
    if (left_) {
        close();
    }
}

void CachedCore::wait_for_room(Ask& ask, std::uint64_t begin, std::uint64_t end) {
    cache_.when_room(*loop_, [busy = BlockCache::Busy(cache_), self = shared_from_this(),
                              ask = &ask, begin, end] {
        self->serve(*ask, begin, end);
        self->part_done(*ask, 0);
        self->answer_finished();
    });
}

void CachedCore::part_done(Ask& ask, int error) {
    ask.error = ask.error != 0 ? ask.error : error;
    if (--ask.parts_left == 0) {
        finished_.push_back(&ask);
    }
}

// Not before all else is done: the client's side may ask for more at once.
void CachedCore::answer_finished() {
    while (!finished_.empty()) {
        const std::unique_ptr<Ask> ask(finished_.front());
        finished_.pop_front();
        Request& request = *ask->request;
        if (request.sink != nullptr && ask->error == 0) {
            ReadPart part;
            part.place = ReadPart::Place::memory;
            part.offset = request.offset;
            part.length = static_cast<std::uint32_t>(request.length);
            part.bytes = std::move(ask->own);
            request.sink->take(request, std::move(part));
        }
        request.done(request, ask->error);
    }
}

}  // namespace signpost
