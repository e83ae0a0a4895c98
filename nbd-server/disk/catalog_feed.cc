// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/catalog_feed.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace signpost {

namespace {

constexpr std::chrono::milliseconds kFirstDelay{500};
constexpr std::chrono::seconds kLongestDelay{10};
constexpr std::chrono::minutes kTakeAgain{1};
// Who cannot beat is soon taken for dead: the first beat after that shall not wait for its turn.
constexpr std::chrono::seconds kBeatAgain{1};

}  // namespace

void CatalogFeed::publish(HeldImages& held) {
    if (next_publish(held) > Clock::now() || (!registered_ && !registers(held))) {
        return;
    }
    const Publication news = held.news();
    const auto told = catalog_.publish(server_.name, news);
    if (told) {
        held.news_told();
        ++publications_;
        works();
        log_.debug(fmt::format("server '{}': published {} images and withdrew {}{}", server_.name,
                               news.images.size(), news.vanished.size(),
                               news.complete ? ", all that there are" : ""));
    } else if (told.error().code == Errc::not_found) {
        register_again(held);
    } else {
        failed(told.error());
    }
}

void CatalogFeed::beat(HeldImages& held) {
    if (next_beat() > Clock::now()) {
        return;
    }
    beat_at_ = Clock::now() + interval_;
    if (!registered_ && !registers(held)) {
        return;
    }
    const auto alive =
        catalog_.heartbeat(server_.name, server_.instance, sessions_ ? sessions_->load() : 0);
    if (alive) {
        if (std::exchange(beat_failed_, false)) {
            retry_at_ = Clock::now();
        }
        if (!held.has_news()) {
            works();
        }
    } else if (alive.error().code == Errc::conflict) {
        take_name_again(held, alive.error());
    } else if (alive.error().code == Errc::not_found) {
        register_again(held);
    } else {
        beat_failed_ = true;
        failed(alive.error());
    }
}

CatalogFeed::Clock::time_point CatalogFeed::next_publish(const HeldImages& held) const {
    return name_lost_ || !held.has_news() ? Clock::time_point::max() : retry_at_;
}

CatalogFeed::Clock::time_point CatalogFeed::next_beat() const {
    return name_lost_ ? Clock::time_point::max() : beat_at_;
}

void CatalogFeed::register_again(HeldImages& held) {
    held.tell_everything();
    if (registers(held)) {
        log_.info(
            fmt::format("server '{}' was not in the catalog any more; it is registered again, "
                        "with all its images",
                        server_.name));
    }
}

bool CatalogFeed::registers(HeldImages& held) {
    const auto put = catalog_.put_server(server_);
    if (put) {
        registered_ = true;
        if (held.has_news()) {
            retry_at_ = Clock::now();
        }
        return true;
    }
    // Until it has had the name once, what stands against it may pass: the server that has it ends,
    // or the catalog's row of this one, as it ran before, was wrong.
    if (put.error().code == Errc::conflict && registered_) {
        lose_name(put.error());
    } else {
        failed(put.error());
    }
    return false;
}

void CatalogFeed::failed(const Error& error) {
    delay_ = std::clamp<Clock::duration>(2 * delay_, kFirstDelay, kLongestDelay);
    retry_at_ = Clock::now() + delay_;
    beat_at_ = std::min(beat_at_, Clock::now() + kBeatAgain);
    if (std::exchange(trouble_, error.code) != error.code) {
        log_.error(
            fmt::format("the images of server '{}' cannot be published: {}; serving goes on, "
                        "and it is tried again",
                        server_.name, error.message));
    }
}

void CatalogFeed::works() {
    delay_ = {};
    retry_at_ = {};
    if (std::exchange(trouble_, std::nullopt)) {
        log_.info(fmt::format("the catalog works again; the images of server '{}' are published",
                              server_.name));
    }
}

// A catalog that has gone back in time has the process that ran here before this one. Where it is
// another that runs at the same address, that one will take the name back, and then it is lost.
void CatalogFeed::take_name_again(HeldImages& held, const Error& error) {
    const auto now = Clock::now();
    if (now < may_take_again_) {
        lose_name(error);
        return;
    }
    may_take_again_ = now + kTakeAgain;
    held.tell_everything();
    if (registers(held)) {
        log_.info(
            fmt::format("the catalog had another process as server '{}'; this one is "
                        "registered again, with all its images",
                        server_.name));
    }
}

void CatalogFeed::lose_name(const Error& error) {
    name_lost_ = true;
    log_.error(
        fmt::format("server name {} is now used by another process ({}): this one publishes "
                    "nothing any more; give it another name with server=, and start it again",
                    server_.name, error.message));
}

}  // namespace signpost
