// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/disk/stub_keeper.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <utility>

#include "catalog/store_rules.h"
#include "nbd-server/disk/disk_description.h"

namespace signpost {

namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::size_t kPage = 250;
constexpr std::size_t kMaxNews = 10'000;
constexpr std::size_t kMaxUsed = 10'000;
constexpr std::size_t kUsedAtOnce = 50;
constexpr std::size_t kCostsAtOnce = 100;
constexpr milliseconds kGather{200};  // news are written together
constexpr milliseconds kHintedLook{1000};
constexpr milliseconds kFirstPause{100};
constexpr seconds kPagePause{2};  // after one that did not come
constexpr milliseconds kLongestPause{1000};
constexpr seconds kNoteEvery{30};
constexpr std::chrono::hours kUnusedFor{12};

// A round reads so many disks a second at most, and on the average of many rounds so many.
constexpr std::uint64_t kDisksPerSecond = 2000;
constexpr std::uint64_t kMeanDisksPerSecond = 100;

// A catalog that has gone back in time may soon be put right: nothing is forgotten before.
constexpr std::chrono::hours kGrace{1};

// Older than that is not told apart.
constexpr std::int64_t kOldest = std::int64_t{20} * 365 * 24 * 3600;

std::int64_t system_seconds() {
    return std::time(nullptr);
}

// When something was last seen is no news: it would be some for each heartbeat.
bool same(const DiskRecord& a, const DiskRecord& b) {
    return std::ranges::equal(a.locations, b.locations, [](Location one, Location other) {
        one.last_seen = other.last_seen = 0;
        return one == other;
    });
}

const Location* location_of(const DiskRecord* disk, std::string_view server) {
    if (disk == nullptr) {
        return nullptr;
    }
    const auto found = std::ranges::find(disk->locations, server, &Location::server);
    return found == disk->locations.end() ? nullptr : &*found;
}

void put(DiskRecord& disk, const Location& location) {
    std::erase_if(disk.locations,
                  [&](const Location& other) { return other.server == location.server; });
    const auto place =
        std::ranges::lower_bound(disk.locations, location.server, {}, &Location::server);
    disk.locations.insert(place, location);
}

// Whether DISK is on servers that ROWS does not have.
bool has_strangers(Catalog& rows, const DiskRecord& disk) {
    return std::ranges::any_of(disk.locations, [&](const Location& location) {
        const auto server = rows.find_server(location.server);
        return server && !*server;
    });
}

bool is_empty(const StubStore& store) {
    const auto rows = store.rows();
    const auto totals = rows ? rows->totals() : Catalog::Totals{};
    return totals && totals->disks == 0;
}

}  // namespace

StubKeeper::StubKeeper(StubKeeperSettings settings, Catalog& live, StubStore& store, Log& log)
    : settings_(std::move(settings)),
      live_(live),
      store_(store),
      log_(log),
      known_(store.note()),
      pause_(kFirstPause) {
    const auto now = Clock::now();
    if (known_.as_of != 0) {
        const auto age =
            (settings_.wall_clock ? settings_.wall_clock() : system_seconds()) - known_.as_of;
        confirmed_ = now - seconds(std::clamp<std::int64_t>(age, 0, kOldest));
    } else if (is_empty(store)) {
        confirmed_ = now;  // whatever comes is newer
    }
    if (!settings_.known_trouble.empty()) {
        trouble_ = Error{Errc::unavailable, settings_.known_trouble};
        away_ = true;
    }
    note_at_ = now + kNoteEvery;
    thread_ = std::thread([this] { run(); });
    hints_ = live_.when_changed([this] { hint(); });
}

StubKeeper::~StubKeeper() {
    hints_.reset();
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    wake_.notify_one();
    thread_.join();
}

std::optional<Error> StubKeeper::trouble() const {
    if (!away_) {
        return std::nullopt;
    }
    const std::lock_guard lock(mutex_);
    return trouble_;
}

void StubKeeper::lost(const Error& why) {
    {
        const std::lock_guard lock(mutex_);
        if (trouble_) {
            return;
        }
        trouble_ = why;
        away_ = true;
        probe_at_ = Clock::now() + kFirstPause;
    }
    wake_.notify_one();
    if (store_.rows() != nullptr) {
        log_.info(
            fmt::format("the catalog does not answer ({}): disks are opened by what was "
                        "known {}",
                        why.message, as_of_for_people(as_of())));
    }
}

void StubKeeper::answered() {
    pause_ = kFirstPause;
    {
        const std::lock_guard lock(mutex_);
        if (!trouble_) {
            return;
        }
        trouble_.reset();
        away_ = false;
    }
    log_.info("the catalog answers again");
}

std::int64_t StubKeeper::as_of() const {
    const auto wall = settings_.wall_clock ? settings_.wall_clock() : system_seconds();
    const std::lock_guard lock(mutex_);
    if (!confirmed_) {
        return 0;
    }
    const auto age = std::chrono::floor<seconds>(Clock::now() - *confirmed_);
    return std::max<std::int64_t>(1, wall - age.count());
}

void StubKeeper::add_news(const DiskName& name, std::optional<DiskRecord> record) {
    const auto now = Clock::now();
    const std::lock_guard lock(mutex_);
    if (record) {
        record->as_of = 0;
        if (used_.size() < kMaxUsed || used_.contains(name)) {
            used_[name] = {now + settings_.lifetime, now};
        }
    } else {
        used_.erase(name);
    }
    if (news_.empty()) {
        news_at_ = now + kGather;
        wake_.notify_one();
    }
    if (news_.size() < kMaxNews || news_.contains(name)) {
        news_[name] = std::move(record);
    }
}

void StubKeeper::learn(const DiskRecord& record) {
    add_news(record.name, record);
}

void StubKeeper::learn_none(const DiskName& name) {
    add_news(name, std::nullopt);
}

void StubKeeper::look_again(const DiskName& name) {
    const auto now = Clock::now();
    const std::lock_guard lock(mutex_);
    if (used_.size() < kMaxUsed || used_.contains(name)) {
        used_[name] = {now, now};
    }
}

void StubKeeper::set_own_told(bool told) {
    own_told_ = told;
}

bool StubKeeper::has_gone_back() const {
    const auto sequence = live_.change_sequence();
    return sequence && *sequence < store_.note().sequence;
}

void StubKeeper::look_within(milliseconds time) {
    {
        const std::lock_guard lock(mutex_);
        if (!away_) {
            probe_at_ = std::min(probe_at_, Clock::now() + time);
        }
    }
    wake_.notify_one();
}

void StubKeeper::hasten() {
    look_within(kGather);
}

// In a large federation somebody changes something all the time.
void StubKeeper::hint() {
    look_within(kHintedLook);
}

void StubKeeper::run() {
    std::unique_lock lock(mutex_);
    while (!stopping_) {
        lock.unlock();
        write_news();
        const auto now = Clock::now();
        if (now >= probe_time()) {
            probe();
        }
        if (!away_ && round_ && now >= page_at_) {
            turn_page();
        }
        if (!away_) {
            look_again_at_used();
        }
        notice_new_beginning();
        if (now >= note_at_) {
            save_note();
        }
        lock.lock();
        if (!stopping_) {
            wake_.wait_until(lock, next_due());
        }
    }
    lock.unlock();
    write_news();
    save_note();
}

StubKeeper::Clock::time_point StubKeeper::probe_time() const {
    const std::lock_guard lock(mutex_);
    return probe_at_;
}

StubKeeper::Clock::time_point StubKeeper::next_due() const {
    auto next = std::min(probe_at_, note_at_);
    if (!news_.empty()) {
        next = std::min(next, news_at_);
    }
    if (away_) {
        return next;
    }
    if (round_) {
        next = std::min(next, page_at_);
    }
    for (const auto& [name, use] : used_) {
        next = std::min(next, use.due);
    }
    return next;
}

void StubKeeper::probe() {
    const auto asked = Clock::now();
    const auto sequence = live_.change_sequence();
    const auto now = Clock::now();
    std::uniform_int_distribution<std::int64_t> part(75, 100);
    if (sequence) {
        answered();
        saw(*sequence, asked);
    } else {
        round_.reset();
        lost(sequence.error());
    }
    const milliseconds pause = sequence ? settings_.probe : pause_;
    pause_ = sequence ? kFirstPause : std::min(2 * pause_, kLongestPause);
    const std::lock_guard lock(mutex_);
    probe_at_ = now + pause * part(chance_) / 100;
}

void StubKeeper::saw(std::uint64_t sequence, Clock::time_point asked) {
    if (sequence < known_.sequence) {
        log_.info(
            fmt::format("the catalog has gone back from change {} to {}: it was made anew or "
                        "put back from a copy; nothing is forgotten for an hour",
                        known_.sequence, sequence));
        removals_from_ = asked + kGrace;
        own_told_ = false;
        own_lost_ = true;
        known_.sequence = 0;
        save_note();
    }
    if (sequence != 0 && sequence == known_.sequence) {
        const std::lock_guard lock(mutex_);
        confirmed_ = asked;
    } else {
        round_wanted_ = true;
    }
    if (asked >= servers_at_ && write_servers()) {
        servers_at_ = asked + settings_.servers;
    }
    if (round_wanted_ && !round_ && asked >= next_round_) {
        begin_round(sequence, asked);
    }
}

void StubKeeper::begin_round(std::uint64_t sequence, Clock::time_point asked) {
    if (write_servers()) {
        round_wanted_ = false;
        round_ = Round{.sequence = sequence, .begun = asked};
        page_at_ = asked;
    }
}

// Also how alive they are: who is silent when the catalog dies is asked last.
bool StubKeeper::write_servers() {
    const auto servers = live_.servers();
    const auto rows = store_.rows();
    const auto kept = rows ? rows->servers() : std::vector<Server>();
    if (!kept) {
        store_.failed(kept.error());
    }
    if (!servers || !kept) {
        return false;
    }
    if (std::ranges::find(*servers, settings_.server, &Server::name) == servers->end()) {
        own_told_ = false;
    }
    Restoration change;
    std::ranges::copy_if(*servers, std::back_inserter(change.servers), [&](const Server& server) {
        return std::ranges::find(*kept, server) == kept->end();
    });
    if (Clock::now() >= removals_from_) {
        for (const Server& server : *kept) {
            const bool gone =
                std::ranges::find(*servers, server.name, &Server::name) == servers->end();
            if (gone && server.name != settings_.server) {
                store_.remove_server(server.name);
            }
        }
    }
    if (rows != nullptr) {
        write_site_costs(*rows);
    }
    return write(change);
}

// There are few, and they hardly ever change.
void StubKeeper::write_site_costs(Catalog& rows) {
    auto costs = live_.site_costs();
    const auto kept = rows.site_costs();
    if (!costs || !kept) {
        return;
    }
    std::size_t written = 0;
    for (const SiteCost& cost : *costs) {
        if (std::ranges::find(*kept, cost) == kept->end() && ++written <= kCostsAtOnce) {
            static_cast<void>(rows.put_site_cost(cost));
        }
    }
    for (const SiteCost& cost : *kept) {
        const bool gone = std::ranges::none_of(*costs, [&](const SiteCost& other) {
            return other.from == cost.from && other.to == cost.to;
        });
        if (gone && ++written <= kCostsAtOnce) {
            static_cast<void>(rows.put_site_cost({cost.from, cost.to, -1}));
        }
    }
}

void StubKeeper::turn_page() {
    auto page = live_.list("", round_->after, kPage);
    if (!page) {
        // A page is more than a catalog that is busy may have ready in time: whether it is away,
        // the next probe says.
        page_at_ = Clock::now() + kPagePause;
        hasten();
        return;
    }
    const auto count = page->size();
    const bool last = count < kPage;
    const std::string end = last ? std::string() : page->back().name.str();
    if (!write_page(std::move(*page), round_->after, last)) {
        round_.reset();
        round_wanted_ = true;
        next_round_ = Clock::now() + settings_.lifetime / 10;
        return;
    }
    round_->disks += count;
    round_->after = end;
    page_at_ = Clock::now() + milliseconds(1000 * kPage / kDisksPerSecond);
    if (last) {
        end_round();
    }
}

void StubKeeper::end_round() {
    const auto rest = milliseconds(1000 * round_->disks / kMeanDisksPerSecond);
    next_round_ =
        Clock::now() + std::clamp(rest, std::min(settings_.shortest_round, settings_.lifetime),
                                  settings_.lifetime);
    known_.sequence = round_->sequence;
    {
        const std::lock_guard lock(mutex_);
        confirmed_ = round_->begun;
    }
    round_.reset();
    save_note();
}

// PAGE: all that the catalog has behind AFTER, up to the page's last name, or to the end.
bool StubKeeper::write_page(std::vector<DiskRecord> page, const std::string& after, bool last) {
    const auto rows = store_.rows();
    if (rows == nullptr) {
        return false;
    }
    Restoration change;
    auto now = page.begin();
    std::string from = after;
    for (bool more = true; more;) {
        const auto kept = rows->list("", from, kPage);
        if (!kept) {
            store_.failed(kept.error());
            return false;
        }
        more = kept->size() == kPage;
        for (const DiskRecord& disk : *kept) {
            for (; now != page.end() && now->name < disk.name; ++now) {
                compare(std::move(*now), nullptr, change);
            }
            const bool both = now != page.end() && now->name == disk.name;
            if (!both && now == page.end() && !last) {
                more = false;  // behind this page
                break;
            }
            compare(both ? std::optional(std::move(*now++)) : std::nullopt, &disk, change);
        }
        from = kept->empty() ? from : kept->back().name.str();
    }
    for (; now != page.end(); ++now) {
        compare(std::move(*now), nullptr, change);
    }
    return write(change);
}

// What has to be written so that KEPT becomes NOW; either may be missing.
void StubKeeper::compare(std::optional<DiskRecord> now, const DiskRecord* kept,
                         Restoration& change) {
    const Location* const own = location_of(kept, settings_.server);
    if (own != nullptr && !own_told_) {
        const Location* const there = now ? location_of(&*now, settings_.server) : nullptr;
        if (there == nullptr || there->generation < own->generation) {
            if (!now) {
                now = DiskRecord{kept->name, {}};
            }
            put(*now, *own);
        }
    }
    if (now) {
        // One such row would have all of its page refused.
        std::erase_if(now->locations, [](const Location& location) {
            return location.generation > kMaxRestoredGeneration;
        });
        if (kept == nullptr ? !now->locations.empty() : !same(*now, *kept)) {
            change.disks.push_back(std::move(*now));
        }
    } else if (kept != nullptr && Clock::now() >= removals_from_) {
        change.vanished.push_back(kept->name);
    }
}

bool StubKeeper::write(const Restoration& change) {
    if (change.servers.empty() && change.disks.empty() && change.vanished.empty()) {
        return true;
    }
    return store_.write(change);
}

void StubKeeper::notice_new_beginning() {
    if (std::exchange(beginnings_, store_.beginnings()) != store_.beginnings()) {
        known_.sequence = 0;
        round_.reset();
        round_wanted_ = true;
        next_round_ = Clock::now();
    }
}

// What comes within a moment is written together.
void StubKeeper::write_news() {
    News news;
    {
        const std::lock_guard lock(mutex_);
        if (!stopping_ && Clock::now() < news_at_) {
            return;
        }
        news.swap(news_);
    }
    const auto rows = news.empty() ? nullptr : store_.rows();
    if (rows == nullptr) {
        return;
    }
    const bool strangers = std::ranges::any_of(
        news, [&](const auto& item) { return item.second && has_strangers(*rows, *item.second); });
    if (strangers && !away_) {
        static_cast<void>(write_servers());  // without its server a location is not kept
    }
    Restoration change;
    for (auto& [name, record] : news) {
        const auto kept = rows->find(name);
        if (kept) {
            compare(std::move(record), *kept ? &**kept : nullptr, change);
        }
    }
    write(change);
}

void StubKeeper::look_again_at_used() {
    const auto now = Clock::now();
    std::vector<DiskName> due;
    {
        const std::lock_guard lock(mutex_);
        for (auto use = used_.begin(); use != used_.end() && due.size() < kUsedAtOnce;) {
            if (use->second.due > now) {
                ++use;
            } else if (now - use->second.last > kUnusedFor) {
                use = used_.erase(use);
            } else {
                use->second.due = now + settings_.lifetime;
                due.push_back(use++->first);
            }
        }
    }
    News news;
    for (const DiskName& name : due) {
        auto found = live_.find(name);
        if (!found) {
            lost(found.error());
            return;
        }
        news.emplace(name, std::move(*found));
    }
    const std::lock_guard lock(mutex_);
    news_at_ = news_.empty() ? now : news_at_;
    news_.merge(news);
}

void StubKeeper::save_note() {
    known_.as_of = as_of();
    known_.server = settings_.server;
    known_.catalog = store_.note().catalog;
    store_.set_note(known_);
    note_at_ = Clock::now() + kNoteEvery;
}

}  // namespace signpost
