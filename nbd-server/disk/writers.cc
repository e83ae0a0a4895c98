// SPDX-License-Identifier: BSD-3-Clause
//
// One seat for each disk that somebody writes to, or wants to. The thread looks at a seat when a
// request asks for it and when time has come; what it learns from the catalog it learns without the
// lock, so a seat may have changed meanwhile, but it is never gone: only the thread removes seats.

#include "nbd-server/disk/writers.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <utility>
#include <vector>

#include "nbd-server/disk/event_loop.h"
#include "nbd-server/disk/writer_gate.h"

namespace signpost {

namespace {

BootTime boot_time() {
    timespec now{};
    ::clock_gettime(CLOCK_BOOTTIME, &now);
    return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
}

}  // namespace

Writers::Writers(Parts parts, WriterSettings settings)
    : parts_(std::move(parts)), settings_([&] {
          if (!settings.clock) {
              settings.clock = boot_time;
          }
          return std::move(settings);
      }()) {
    if (settings_.own_thread) {
        thread_ = std::thread([this] { run(); });
    }
}

Writers::~Writers() {
    if (thread_.joinable()) {
        {
            const std::lock_guard lock(mutex_);
            stopping_ = true;
        }
        changed_.notify_all();
        thread_.join();
    }
    for (const auto& [disk, seat] : seats_) {
        // A catalog that fails now is not waited for again: the leases lapse by themselves.
        if (seat.left && seat.lease && !parts_.catalog.release_writer(*seat.lease)) {
            break;
        }
    }
}

BootTime Writers::now() const {
    return settings_.clock();
}

std::shared_ptr<Disk> Writers::guard(std::shared_ptr<Disk> disk, Target target, std::string who) {
    return std::make_shared<WriterGate>(*this, std::move(disk), std::move(target),
                                        who.empty() ? "a client of unknown origin" : who);
}

bool Writers::writing(const DiskName& disk) const {
    const std::lock_guard lock(mutex_);
    const auto found = seats_.find(disk);
    return found != seats_.end() && !found->second.holder.empty();
}

void Writers::ask(WriterGate& gate, Request& request) {
    {
        const std::lock_guard lock(mutex_);
        Seat& seat =
            seats_.try_emplace(gate.target().disk, Seat{.target = gate.target()}).first->second;
        if (seat.holder.empty()) {
            seat.target = gate.target();
        }
        seat.held.push_back({&gate, &request, now()});
        news_ = true;
    }
    changed_.notify_all();
}

void Writers::left(WriterGate& gate) {
    const WritePermit* const permit = gate.permit();
    if (permit == nullptr) {
        return;
    }
    const std::lock_guard lock(mutex_);
    const auto found = seats_.find(gate.target().disk);
    if (found == seats_.end() || found->second.permit.get() != permit) {
        return;
    }
    Seat& seat = found->second;
    if (--seat.sessions == 0) {
        seat.left = gate.said_farewell();
        seat.left_at = now();
        seat.kept = gate.disk();
        news_ = true;
        changed_.notify_all();
    }
}

void Writers::run() {
    constexpr std::chrono::milliseconds kShortest{10};
    std::unique_lock lock(mutex_);
    while (!stopping_) {
        news_ = false;
        lock.unlock();
        const BootTime next = look();
        lock.lock();
        const auto wait = std::max<BootTime>(next - now(), kShortest);
        changed_.wait_for(lock, std::min<BootTime>(wait, std::chrono::seconds(60)),
                          [this] { return news_ || stopping_; });
    }
}

BootTime Writers::look() {
    std::vector<DiskName> disks;
    {
        const std::lock_guard lock(mutex_);
        for (const auto& [disk, seat] : seats_) {
            disks.push_back(disk);
        }
    }
    for (const DiskName& disk : disks) {
        look_at(disk);
    }
    const std::lock_guard lock(mutex_);
    return next_look(now());
}

void Writers::look_at(const DiskName& disk) {
    std::unique_lock lock(mutex_);
    Seat& seat = seats_.find(disk)->second;
    if (!seat.holder.empty() && seat.sessions == 0 && !has_held_of_holder(seat)) {
        vacate(lock, seat, now());
    }
    if (seat.holder.empty() && !seat.held.empty()) {
        seat.holder = seat.held.front().gate->who();
        seat.target = seat.held.front().gate->target();
        seat.next = {};
    }
    const bool wanted = seat.sessions > 0 || has_held_of_holder(seat);
    if (!seat.holder.empty() && wanted && now() >= seat.next) {
        seek_permit(lock, seat);
    }
    settle(seat, now());
    const bool idle = seat.holder.empty() && seat.held.empty();
    if (idle && !seat.replaced &&
        (!seat.rival || now() >= seat.rival->since + settings_.good_for)) {
        seats_.erase(disk);
    }
}

bool Writers::has_held_of_holder(const Seat& seat) const {
    return std::ranges::any_of(seat.held,
                               [&](const Held& held) { return held.gate->who() == seat.holder; });
}

// Nobody of the holder is here. One that was cut off keeps the disk for a while.
void Writers::vacate(std::unique_lock<std::mutex>& lock, Seat& seat, BootTime now) {
    if (seat.permit && !seat.left && now < seat.left_at + settings_.come_back) {
        return;
    }
    const auto lease = seat.left ? seat.lease : std::nullopt;
    if (seat.permit) {
        tell(seat, "left", seat.holder);
    }
    const auto kept = std::exchange(seat.kept, nullptr);  // may take its time to end
    forget(seat);
    lock.unlock();
    if (lease) {
        (void)parts_.catalog.release_writer(*lease);  // else it lapses
    }
    lock.lock();
}

void Writers::forget(Seat& seat) {
    seat.holder.clear();
    seat.sessions = 0;
    seat.left = false;
    seat.permit.reset();
    seat.lease.reset();
}

// The first time, and then again and again.
void Writers::seek_permit(std::unique_lock<std::mutex>& lock, Seat& seat) {
    const Question question{seat.target, seat.holder, seat.replaced};
    const BootTime began = now();
    lock.unlock();
    Answer answer = ask_catalog(question);
    lock.lock();
    apply(seat, std::move(answer), began);
}

void Writers::apply(Seat& seat, Answer answer, BootTime began) {
    const BootTime now = this->now();
    seat.next = now + (seat.permit && answer.error == 0 ? settings_.renew : settings_.again);
    const bool from_another = answer.before && answer.before->server != seat.target.server;
    if (from_another && answer.before->expires != 0 &&
        (!seat.rival || !(seat.rival->lease == *answer.before))) {
        seat.rival = Rival{*answer.before, now};
    }
    if (from_another && answer.error != EBUSY) {
        seat.replaced = answer.before;
    }
    if (answer.error == 0) {
        seat.replaced.reset();
    }
    if (seat.permit) {
        const bool other = answer.error == 0 && answer.lease && seat.lease &&
                           answer.lease->fence != seat.lease->fence;
        if (answer.error == EBUSY || answer.error == ESTALE || other) {
            lose(seat, answer.reason);
        } else if (answer.error == 0) {
            seat.lease = std::move(answer.lease);
            seat.permit->extend(answer.contested ? began + settings_.good_for
                                                 : WritePermit::kForEver);
        }
        return;
    }
    if (answer.error != 0) {
        refuse_held(seat, answer, now);
        return;
    }
    seat.lease = std::move(answer.lease);
    if (seat.rival && now < seat.rival->since + settings_.good_for + settings_.margin) {
        return;  // who had it may not know yet; `again` renews the lease until then
    }
    seat.rival.reset();
    seat.permit = std::make_shared<WritePermit>(answer.contested ? began + settings_.good_for
                                                                 : WritePermit::kForEver);
    seat.next = now + settings_.renew;
    tell(seat, "taken", seat.holder);
}

// What the holder asked for, that is not the holder yet.
void Writers::refuse_held(Seat& seat, const Answer& answer, BootTime now) {
    std::deque<Held> over;
    for (const Held& held : std::exchange(seat.held, {})) {
        const bool stays = held.gate->who() != seat.holder ||
                           (answer.error != ESTALE && now - held.since < settings_.patience);
        (stays ? seat.held : over).push_back(held);
    }
    if (!over.empty()) {
        parts_.log.error(fmt::format("disk '{}': a write of {} is refused: {}",
                                     escaped(seat.target.disk.str()), seat.holder, answer.reason));
        tell(seat, "refused", seat.holder, answer.reason);
    }
    for (const Held& held : over) {
        fail(*held.gate, *held.request, answer.error);
    }
    if (!has_held_of_holder(seat)) {
        forget(seat);
    }
}

// Its sessions find out with their next write; who opens the disk anew may ask again.
void Writers::lose(Seat& seat, const std::string& reason) {
    parts_.log.error(
        fmt::format("disk '{}': {} may write to the image of server {} no more: {}; what was "
                    "flushed is in that image",
                    escaped(seat.target.disk.str()), seat.holder, seat.target.server, reason));
    tell(seat, "lost", seat.holder, reason);
    seat.permit->revoke();
    forget(seat);
}

void Writers::settle(Seat& seat, BootTime now) {
    std::erase_if(seat.held, [&](const Held& held) { return settle_one(seat, held, now); });
}

// True when the request is no longer held.
bool Writers::settle_one(Seat& seat, const Held& held, BootTime now) {
    WritePermit* const had = held.gate->permit();
    const bool is_holder =
        had != nullptr ? seat.permit.get() == had : held.gate->who() == seat.holder && seat.permit;
    if (is_holder && seat.permit->good(now)) {
        attach(seat, *held.gate);
        let(*held.gate, *held.request);
        return true;
    }
    int error = 0;
    if (had != nullptr && !is_holder) {
        error = ESTALE;
    } else if (!seat.holder.empty() && held.gate->who() != seat.holder) {
        error = now - held.since >= settings_.patience ? EBUSY : 0;
    } else {
        error = now - held.since >= settings_.request ? EIO : 0;
    }
    if (error == 0) {
        return false;
    }
    if (error == EBUSY) {
        const std::string why = fmt::format("{} writes to it", seat.holder);
        parts_.log.error(fmt::format("disk '{}': a write of {} is refused: {}",
                                     escaped(seat.target.disk.str()), held.gate->who(), why));
        tell(seat, "refused", held.gate->who(), why);
    }
    fail(*held.gate, *held.request, error);
    return true;
}

void Writers::attach(Seat& seat, WriterGate& gate) {
    if (gate.permit() != nullptr) {
        return;
    }
    gate.give(seat.permit);
    ++seat.sessions;
    seat.left = false;
    seat.kept.reset();
}

// A local disk may block, and this thread must not.
void Writers::let(WriterGate& gate, Request& request) {
    if (gate.home_loop() != nullptr) {
        gate.pass(request);
    } else {
        parts_.workers.run([&gate, &request] { gate.pass(request); });
    }
}

void Writers::fail(WriterGate& gate, Request& request, int error) {
    const auto end = [&request, error] { request.done(request, error); };
    if (gate.home_loop() != nullptr) {
        gate.home_loop()->post(end);
    } else {
        parts_.workers.run(end);
    }
}

BootTime Writers::next_look(BootTime now) const {
    BootTime next = WritePermit::kForEver;
    for (const auto& [disk, seat] : seats_) {
        if (!seat.held.empty()) {
            next = std::min<BootTime>(next, now + settings_.again);
        }
        if (!seat.holder.empty()) {
            next = std::min(next, seat.sessions > 0 || !seat.permit
                                      ? seat.next
                                      : seat.left_at + settings_.come_back);
        }
        if (seat.rival) {
            next = std::min<BootTime>(next, seat.rival->since + settings_.good_for);
        }
    }
    return std::max(next, now);
}

void Writers::tell(const Seat& seat, std::string_view what, std::string_view who,
                   std::string_view why) const {
    if (settings_.told) {
        settings_.told({.what = what,
                        .disk = seat.target.disk.str(),
                        .server = seat.target.server,
                        .who = who,
                        .why = why});
    }
}

}  // namespace signpost
