// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/cached_core.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "catalog/disk_name.h"

namespace signpost {

namespace {

constexpr std::uint64_t kPieceOfProfile = 256 * 1024;
constexpr unsigned kMostOfProfile = 4;                          // pieces at a time
constexpr std::uint64_t kMostWished = std::uint64_t{64} << 20;  // fetched for one wish

}  // namespace

std::string verified_content(const std::string& digest, std::uint64_t size) {
    return fmt::format("verified\n{}\n{}", digest, size);
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
    opened(open_content(keys));
}

Result<CachedCore::Opened> CachedCore::open_content(const CacheKeys& keys) {
    auto content = cache_.open(keys, terms_.name, traits_.size, terms_.opens_new);
    if (!content) {
        return std::unexpected(content.error());
    }
    Opened opened{.content = std::move(*content), .profile = {}};
    if (terms_.opens_new) {
        opened.profile = cache_.boot_profile(*opened.content);
    }
    return opened;
}

void CachedCore::opened(Result<Opened> content) {
    opening_ = false;
    if (content) {
        content_ = std::move(content->content);
        ready_.store(content_.get(), std::memory_order_release);
        if (content->profile) {
            profile_.assign(content->profile->ranges.begin(), content->profile->ranges.end());
            loop_->post([busy = BlockCache::Busy(cache_), self = shared_from_this()] {
                self->fetch_profile();
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
    for (Disk::Told& told : std::exchange(askers_, {})) {
        told({});
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
    if (content_ || opening_ || closed_ || !fingerprint.starts_with("r-") || !copy.read_only ||
        copy.size != traits_.size) {
        return;
    }
    CacheKeys keys;
    if (!copy.digest.empty() && copy.fingerprint == fingerprint) {
        if (!terms_.opens_new) {
            keys.push_back(verified_content(copy.digest, copy.size));
        }
        keys.push_back(fmt::format("digest\n{}\n{}\n{}", terms_.name, copy.digest, copy.size));
    }
    keys.push_back(fmt::format("copy\n{}\n{}\n{}\n{}\n{}", terms_.name, copy.server,
                               copy.generation, fingerprint, copy.size));
    opening_ = true;
    cache_.workers().run([busy = BlockCache::Busy(cache_), self = shared_from_this(),
                          keys = std::move(keys)]() mutable {
        auto content = self->open_content(keys);
        EventLoop& loop = *self->loop_;
        loop.post([busy = std::move(busy), self = std::move(self),
                   content = std::move(content)]() mutable { self->opened(std::move(content)); });
    });
}

void CachedCore::reach(Disk::Told told) {
    relay_->reach([busy = BlockCache::Busy(cache_), self = shared_from_this(),
                   told = std::move(told)](const Result<void>& answer) mutable {
        EventLoop& loop = *self->loop_;
        loop.post([busy = std::move(busy), self = std::move(self), told = std::move(told),
                   answer]() mutable {
            if (self->opening_ && answer) {
                self->askers_.push_back(std::move(told));
                return;
            }
            told(answer);
            if (!self->opening_) {
                self->settle();
            }
        });
    });
}

void CachedCore::close() {
    closed_ = true;
    relay_.reset();
}

// --- requests

void CachedCore::take(Request& request) {
    if (!settled_) {
        wait_until_settled(request);
        return;
    }
    const bool reads = request.op == Op::read;
    const std::uint64_t end = request.offset + request.length;
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
