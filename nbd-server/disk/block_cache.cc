// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/block_cache.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <ranges>
#include <set>

#include "catalog/disk_name.h"
#include "nbd-server/disk/disk_description.h"

namespace signpost {

namespace {

using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kMaxBatch = std::uint64_t{32} << 20;
constexpr seconds kTurn{1};           // the index is told so often
constexpr seconds kSlow{2};           // a batch that takes longer keeps nobody waiting
constexpr std::uint64_t kSpare = 32;  // so much of the size is made free at a time
constexpr std::uint64_t kRoom = std::uint64_t{4} << 20;

std::unexpected<Error> trouble(const std::string& path, int error) {
    const Errc code = error == ENOSPC || error == EDQUOT                    ? Errc::full
                      : error == EACCES || error == EPERM || error == EROFS ? Errc::denied
                                                                            : Errc::io;
    return fail(code, fmt::format("cache {}: {}", escaped(path), std::strerror(error)));
}

// What is in a cache is believed; so nobody else may write there.
Result<void> check_directory(const std::string& path, int directory) {
    struct stat status {};
    if (::fstat(directory, &status) != 0) {
        return trouble(path, errno);
    }
    if (status.st_uid != ::geteuid() || (status.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
        return fail(Errc::invalid,
                    fmt::format("cache {}: others may write to this directory, and what is in it "
                                "is served: give one of this user's own, with mode 0700",
                                escaped(path)));
    }
    return {};
}

Result<UniqueFd> lock_directory(const std::string& path) {
    if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
        return trouble(path, errno);
    }
    const UniqueFd directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!directory) {
        return trouble(path, errno);
    }
    if (auto checked = check_directory(path, directory.get()); !checked) {
        return std::unexpected(checked.error());
    }
    UniqueFd lock(
        ::openat(directory.get(), "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!lock) {
        return trouble(path, errno);
    }
    if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
        return errno == EWOULDBLOCK
                   ? fail(Errc::conflict, fmt::format("cache {}: another process uses it; give "
                                                      "each server a directory of its own",
                                                      escaped(path)))
                   : trouble(path, errno);
    }
    return lock;
}

// Of "content-ID.blocks".
std::optional<std::int64_t> content_of(std::string_view name) {
    constexpr std::string_view kBegin = "content-";
    constexpr std::string_view kEnd = ".blocks";
    if (!name.starts_with(kBegin) || !name.ends_with(kEnd)) {
        return std::nullopt;
    }
    name.remove_prefix(kBegin.size());
    name.remove_suffix(std::min(kEnd.size(), name.size()));
    std::int64_t id = 0;
    const auto [stop, error] = std::from_chars(name.data(), name.data() + name.size(), id);
    return error == std::errc() && stop == name.data() + name.size() ? std::optional(id)
                                                                     : std::nullopt;
}

}  // namespace

Result<void> BlockCache::check(const CacheSettings& settings) {
    const auto lock = lock_directory(settings.directory);
    return lock ? Result<void>() : std::unexpected(lock.error());
}

Result<std::unique_ptr<BlockCache>> BlockCache::start(CacheSettings settings, Log& log,
                                                      BootProfiles profiles) {
    auto lock = lock_directory(settings.directory);
    if (!lock) {
        return std::unexpected(lock.error());
    }
    auto index = CacheIndex::open(settings.directory + "/cache.db", log);
    if (!index) {
        return std::unexpected(index.error());
    }
    std::unique_ptr<BlockCache> cache(new BlockCache(std::move(settings), std::move(*lock),
                                                     std::move(*index), log, std::move(profiles)));
    if (auto loaded = cache->load(); !loaded) {
        return std::unexpected(loaded.error());
    }
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    cache->writer_ = std::thread([self = cache.get()] { self->write(); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return cache;
}

BlockCache::BlockCache(CacheSettings settings, UniqueFd lock, std::unique_ptr<CacheIndex> index,
                       Log& lines, BootProfiles profiles)
    : log(lines),
      memory(settings.memory),
      settings_(std::move(settings)),
      profiles_(std::move(profiles)),
      lock_(std::move(lock)),
      index_(std::move(index)),
      commons_{settings_.directory, *index_, lines},
      workers_(std::max(4U, 2 * std::thread::hardware_concurrency())) {}

BlockCache::~BlockCache() {
    ending_ = true;
    {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return busy_ == 0; });
        stopping_ = true;
        changed_.notify_all();
    }
    if (writer_.joinable()) {
        writer_.join();
    }
}

Result<void> BlockCache::load() {
    const auto contents = index_->contents();
    if (!contents) {
        return std::unexpected(contents.error());
    }
    std::map<std::int64_t, CachedContent*> by_id;
    for (const CacheIndex::Content& content : *contents) {
        auto loaded = std::make_shared<CachedContent>(commons_, content);
        by_id[content.id] = loaded.get();
        contents_[content.key] = std::move(loaded);
    }
    std::uint64_t last_use = 0;
    const auto loaded = index_->each_chunk([&](const CacheIndex::Chunk& chunk) {
        if (const auto found = by_id.find(chunk.content); found != by_id.end()) {
            found->second->load(chunk);
            last_use = std::max(last_use, chunk.used);
        }
    });
    if (!loaded) {
        return loaded;
    }
    commons_.clock = last_use + 1;
    if (const auto tally = index_->tally()) {
        told_ = *tally;
        commons_.hit = tally->hit;
        commons_.fetched = tally->fetched;
    }
    for (auto at = contents_.begin(); at != contents_.end();) {
        const bool empty = at->second->bytes_there() == 0;
        if (empty && index_->remove(at->second->id())) {
            at = contents_.erase(at);
        } else {
            (at++)->second->tidy();
        }
    }
    remove_strangers();
    log.info(fmt::format("cache {}: {} of {} in use", escaped(settings_.directory),
                         size_for_people(commons_.bytes), size_for_people(settings_.size)));
    return {};
}

// Files of contents that the index does not know (any more).
void BlockCache::remove_strangers() const {
    std::set<std::int64_t> known;
    for (const auto& [key, content] : contents_) {
        known.insert(content->id());
    }
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(settings_.directory, error)) {
        const auto id = content_of(entry.path().filename().string());
        if (id && !known.contains(*id)) {
            ::unlink(entry.path().c_str());
        }
    }
}

// --- contents

Result<std::shared_ptr<CachedContent>> BlockCache::open(const CacheKeys& keys,
                                                        const std::string& disk, std::uint64_t size,
                                                        bool new_too) {
    const std::lock_guard lock(mutex_);
    for (const std::string& key : keys) {
        const auto found = contents_.find(key);
        if (found == contents_.end() || found->second->size() != size) {
            continue;
        }
        auto content = found->second;
        if (key != keys.front() && new_too) {
            if (auto renamed = index_->rename(content->id(), keys.front()); !renamed) {
                return std::unexpected(renamed.error());
            }
            contents_.erase(found);
            contents_[keys.front()] = content;
        }
        return use(std::move(content));
    }
    if (!new_too) {
        return fail(Errc::not_found, "the cache has nothing of it");
    }
    auto begun = index_->begin({.id = 0, .key = keys.front(), .disk = disk, .size = size});
    if (!begun) {
        return std::unexpected(begun.error());
    }
    auto content = std::make_shared<CachedContent>(commons_, std::move(*begun));
    contents_[keys.front()] = content;
    return use(std::move(content));
}

// Its file is open until the last user has let go of it.
Result<std::shared_ptr<CachedContent>> BlockCache::use(std::shared_ptr<CachedContent> content) {
    const auto entered = content->enter();
    if (!entered) {
        return std::unexpected(entered.error());
    }
    if (*entered) {
        fresh_.insert(content.get());
    }
    CachedContent* const plain = content.get();
    return std::shared_ptr<CachedContent>(
        plain, [content = std::move(content)](CachedContent*) { content->leave(); });
}

std::optional<BootProfile> BlockCache::boot_profile(CachedContent& content) {
    {
        const std::lock_guard lock(mutex_);
        if (fresh_.erase(&content) == 0 || !profiles_.find) {
            return std::nullopt;
        }
    }
    const auto text = profiles_.find(content.disk());
    auto profile = text ? BootProfile::parse(*text) : std::nullopt;
    if (!profile || profile->disk_size != content.size()) {
        content.record();
        return std::nullopt;
    }
    return profile;
}

std::vector<std::shared_ptr<CachedContent>> BlockCache::contents() {
    const std::lock_guard lock(mutex_);
    std::vector<std::shared_ptr<CachedContent>> all;
    for (const auto& [key, content] : contents_) {
        all.push_back(content);
    }
    return all;
}

// --- what comes in

void BlockCache::store(std::shared_ptr<CachedContent> content,
                       std::shared_ptr<CacheFlight> flight) {
    const std::lock_guard lock(mutex_);
    landed_.push_back({std::move(content), std::move(flight)});
    changed_.notify_all();
}

bool BlockCache::fills() const {
    const Time now = Clock::now();
    const Time since = writing_since_.load(std::memory_order_relaxed);
    return now >= paused_until_.load(std::memory_order_relaxed) &&
           (since == Time{} || now - since < kSlow);
}

std::chrono::steady_clock::time_point BlockCache::next_fill(std::uint64_t bytes) {
    const std::lock_guard lock(mutex_);
    const std::chrono::duration<double> takes(static_cast<double>(bytes) /
                                              static_cast<double>(settings_.fill_rate));
    next_fill_ =
        std::max(next_fill_, Clock::now()) + std::chrono::duration_cast<Clock::duration>(takes);
    return next_fill_;
}

bool BlockCache::has_room() const {
    return commons_.bytes + kRoom <= settings_.size;
}

void BlockCache::when_room(EventLoop& loop, EventLoop::Task task) {
    const std::lock_guard lock(mutex_);
    room_.emplace_back(&loop, std::move(task));
    changed_.notify_all();
}

void BlockCache::give_memory(std::uint64_t bytes) {
    memory.give(bytes);
    std::vector<std::pair<EventLoop*, EventLoop::Task>> waiting;
    {
        const std::lock_guard lock(mutex_);
        waiting.swap(room_);
    }
    for (auto& [loop, task] : waiting) {
        loop->post(std::move(task));
    }
}

BlockCache::Busy::Busy(BlockCache& cache) : cache_(&cache) {
    const std::lock_guard lock(cache.mutex_);
    ++cache.busy_;
}

BlockCache::Busy::~Busy() {
    if (cache_ != nullptr) {
        const std::lock_guard lock(cache_->mutex_);
        if (--cache_->busy_ == 0) {
            cache_->changed_.notify_all();
        }
    }
}

// --- the writer

void BlockCache::write() {
    Time next_turn = Clock::now() + kTurn;
    for (;;) {
        const Batch batch = next_batch();
        if (!batch.empty()) {
            writing_since_ = Clock::now();
            write_batch(batch);
            writing_since_ = Time{};
        }
        if (Clock::now() >= next_turn) {
            commons_.clock.fetch_add(1, std::memory_order_relaxed);
            store_changes();
            tell_profiles(false);
            close_idle();
            give_memory(0);
            next_turn = Clock::now() + kTurn;
        }
        const std::lock_guard lock(mutex_);
        if (stopping_ && landed_.empty()) {
            break;
        }
    }
    store_changes();
    tell_profiles(true);
}

BlockCache::Batch BlockCache::next_batch() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, kTurn, [this] { return stopping_ || !landed_.empty(); });
    Batch batch;
    std::uint64_t bytes = 0;
    while (!landed_.empty() && bytes < kMaxBatch) {
        bytes += landed_.front().flight->length;
        batch.push_back(std::move(landed_.front()));
        landed_.pop_front();
    }
    return batch;
}

void BlockCache::write_batch(const Batch& batch) {
    std::uint64_t bytes = 0;
    for (const Landed& landed : batch) {
        bytes += landed.flight->memory();
    }
    make_room(bytes);
    const bool fits = commons_.bytes + bytes <= settings_.size;
    std::map<CachedContent*, int> errors;
    for (const Landed& landed : batch) {
        int& error = errors[landed.content.get()];
        if (error == 0) {
            error = fits ? landed.content->write(*landed.flight) : ENOSPC;
        }
    }
    for (auto& [content, error] : errors) {
        error = error != 0 ? error : content->sync();
        if (error != 0 && fits) {
            pause(std::strerror(error));
        }
    }
    for (const Landed& landed : batch) {
        landed.content->settle(landed.flight, errors[landed.content.get()] == 0);
    }
    give_memory(bytes);
}

void BlockCache::pause(const std::string& why) {
    if (Clock::now() >= paused_until_.load()) {
        log.error(fmt::format("cache {}: nothing more is kept for now: {}",
                              escaped(settings_.directory), why));
    }
    paused_until_ = Clock::now() + settings_.pause;
}

// What was not used for the longest time goes, some more than it must, so that this is seldom.
void BlockCache::make_room(std::uint64_t bytes) {
    const std::uint64_t now = commons_.bytes;
    if (now + bytes <= settings_.size) {
        return;
    }
    std::uint64_t wanted = now + bytes - settings_.size + settings_.size / kSpare;
    std::vector<CachedContent::Candidate> all;
    for (const auto& content : contents()) {
        content->add_candidates(all);
    }
    std::ranges::sort(all, {}, [](const auto& one) {
        return std::tuple(one.used, one.content->id(), one.chunk);
    });
    std::vector<CachedContent::Candidate> chosen;
    for (const auto& candidate : all) {
        if (wanted == 0) {
            break;
        }
        if (candidate.content->take_out(candidate.chunk)) {
            wanted -= std::min(wanted, candidate.bytes);
            chosen.push_back(candidate);
        }
    }
    evict(std::move(chosen));
}

// First from the index, durably: what it says to be there must be there.
void BlockCache::evict(std::vector<CachedContent::Candidate> chosen) {
    std::vector<std::pair<std::int64_t, std::uint64_t>> rows;
    for (const auto& candidate : chosen) {
        rows.emplace_back(candidate.content->id(), candidate.chunk);
    }
    const auto removed = index_->remove(rows);
    for (const auto& candidate : chosen) {
        if (removed) {
            candidate.content->punch(candidate.chunk);
        } else {
            candidate.content->put_back(candidate.chunk);
        }
    }
    if (!removed) {
        pause(removed.error().message);
    }
}

void BlockCache::store_changes() {
    for (const auto& content : contents()) {
        for (;;) {
            const auto changes = content->changes();
            if (changes.empty()) {
                break;
            }
            if (auto stored = index_->store(changes); !stored) {
                pause(stored.error().message);
                return;
            }
            content->stored(changes);
        }
    }
    const CacheIndex::Tally tally{commons_.hit, commons_.fetched};
    if (tally.hit != told_.hit || tally.fetched != told_.fetched) {
        if (index_->set_tally(tally)) {
            told_ = tally;
        }
    }
}

void BlockCache::tell_profiles(bool now) {
    for (const auto& content : contents()) {
        const auto profile = content->recorded();
        if (!profile || !profiles_.learned) {
            continue;
        }
        WorkerPool::Task tell = [this, disk = content->disk(), text = profile->text()] {
            if (BootProfile::parse(text)) {
                profiles_.learned(disk, text);
            }
        };
        now ? tell() : workers_.run(std::move(tell));
    }
}

void BlockCache::close_idle() {
    for (const auto& content : contents()) {
        content->close_if_idle();
    }
}

}  // namespace signpost
