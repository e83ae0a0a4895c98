// SPDX-License-Identifier: BSD-3-Clause
#include "tests/unit/server/session_fixture.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <latch>
#include <thread>
#include <utility>

namespace signpost::test {

using namespace wire::test;

namespace {

constexpr std::chrono::seconds kPatience{20};

}  // namespace

HeldDisk::HeldDisk(EventLoop* home) : home_(home) {
    traits_.size = kSize;
    traits_.read_only = false;
    traits_.relayed = home != nullptr;
}

std::string HeldDisk::bytes_at(std::uint64_t offset, std::uint64_t length) {
    std::string bytes(length, '\0');
    for (std::uint64_t i = 0; i < length; ++i) {
        bytes[i] = static_cast<char>((offset + i) * 31 + ((offset + i) >> 8));
    }
    return bytes;
}

Disk::Now HeldDisk::locate_now(std::uint64_t offset, std::uint32_t length,
                               std::vector<ReadPart>& parts) {
    if (file_ < 0) {
        return Now::would_wait;
    }
    for (const std::uint64_t end = offset + length; offset < end;) {
        ReadPart part;
        part.place = ReadPart::Place::file;
        part.offset = part.at = offset;
        part.length = static_cast<std::uint32_t>(std::min<std::uint64_t>(part_, end - offset));
        part.file = file_;
        offset += part.length;
        parts.push_back(std::move(part));
    }
    return Now::done;
}

std::size_t HeldDisk::held() {
    const std::lock_guard lock(mutex_);
    return static_cast<std::size_t>(std::ranges::count(held_, false, &Held::ended));
}

std::size_t HeldDisk::started() {
    const std::lock_guard lock(mutex_);
    return started_;
}

std::string HeldDisk::written() {
    const std::lock_guard lock(mutex_);
    return written_;
}

void HeldDisk::wait_held(std::size_t count) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, kPatience,
                                  [&] {
                                      return static_cast<std::size_t>(std::ranges::count(
                                                 held_, false, &Held::ended)) >= count;
                                  }))
        << "only " << held_.size() << " requests have come";
}

void HeldDisk::start(Request& request) {
    std::unique_lock lock(mutex_);
    const std::uint64_t number = ++started_;
    if (request.op == Op::write) {
        written_.append(reinterpret_cast<const char*>(request.buffer), request.length);
    }
    if (released_) {
        lock.unlock();
        finish(request, 0);
        return;
    }
    held_.push_back({&request, number});
    changed_.notify_all();
    if (home_ != nullptr) {
        return;
    }
    const auto mine = [&] { return std::ranges::find(held_, number, &Held::number); };
    changed_.wait(lock, [&] { return mine()->ended; });
    const int error = mine()->error;
    held_.erase(mine());
    lock.unlock();
    finish(request, error);
}

void HeldDisk::end(std::size_t index, int error) {
    const std::lock_guard lock(mutex_);
    for (auto held = held_.begin(); held != held_.end(); ++held) {
        if (held->ended || index-- > 0) {
            continue;
        }
        if (home_ == nullptr) {
            held->ended = true;
            held->error = error;
            changed_.notify_all();
            return;
        }
        home_->post([this, request = held->request, error] { finish(*request, error); });
        held_.erase(held);
        return;
    }
    ADD_FAILURE() << "no such request is held";
}

void HeldDisk::release() {
    {
        const std::lock_guard lock(mutex_);
        released_ = true;
    }
    while (held() > 0) {
        end(0);
    }
}

void HeldDisk::fill(Request& request) {
    const std::string bytes = bytes_at(request.offset, request.length);
    if (request.op == Op::extents) {
        *request.extents = {Extent{request.length, 0}};
    } else if (request.op == Op::read && request.sink == nullptr) {
        std::memcpy(request.buffer, bytes.data(), bytes.size());
    } else if (request.op == Op::read) {
        // In two parts, the later one first, and lent.
        const std::uint64_t half = request.length / 2;
        for (const std::uint64_t begin : {half, std::uint64_t{0}}) {
            ReadPart part;
            part.offset = request.offset + begin;
            part.length = static_cast<std::uint32_t>(begin == 0 ? half : request.length - half);
            auto memory = std::make_unique_for_overwrite<std::byte[]>(part.length);
            std::memcpy(memory.get(), bytes.data() + begin, part.length);
            if (begin == 0) {
                part.place = ReadPart::Place::memory;
                part.bytes = std::move(memory);
            } else {
                const std::shared_ptr<const std::byte[]> lent = std::move(memory);
                part.place = ReadPart::Place::lent;
                part.loan = {lent, lent.get()};
            }
            request.sink->take(request, std::move(part));
        }
    }
}

void HeldDisk::finish(Request& request, int error) {
    if (error == 0) {
        fill(request);
    }
    request.done(request, error);
}

FakeFederation::FakeFederation(Log& log) {
    RelaySettings settings;
    settings.loops = 2;
    engine_ = std::move(*make_relay_engine(settings, log));
}

void FakeFederation::pass_gate() {
    std::unique_lock lock(mutex_);
    ++waiting_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return !closed_; });
    --waiting_;
}

void FakeFederation::close_gate() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
}

void FakeFederation::open_gate() {
    const std::lock_guard lock(mutex_);
    closed_ = false;
    changed_.notify_all();
}

void FakeFederation::wait_at_gate() {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, kPatience, [this] { return waiting_ > 0; }));
}

Result<std::shared_ptr<Disk>> FakeFederation::open(const std::string& name, bool, const Asker&) {
    pass_gate();
    const auto found = disks.find(name);
    if (found == disks.end()) {
        return fail(Errc::not_found, "no such disk");
    }
    return found->second;
}

Result<Federation::Listing> FakeFederation::exports(std::size_t limit, const std::string& after) {
    pass_gate();
    Listing listing;
    for (auto disk = disks.upper_bound(after); disk != disks.end(); ++disk) {
        if (listing.entries.size() == limit) {
            listing.complete = false;
            break;
        }
        listing.entries.push_back({disk->first, "a disk"});
    }
    return listing;
}

void RawClient::send(const std::string& bytes) {
    std::size_t done = 0;
    while (done < bytes.size()) {
        const ssize_t n =
            ::send(socket_.get(), bytes.data() + done, bytes.size() - done, MSG_NOSIGNAL);
        if (n < 0 && errno == EPIPE) {
            return;  // which the next receive() shows
        }
        ASSERT_GT(n, 0) << std::strerror(errno);
        done += static_cast<std::size_t>(n);
    }
}

// Less when the stream ends before, or nothing comes for long.
std::string RawClient::receive(std::size_t length) {
    std::string bytes(length, '\0');
    std::size_t done = 0;
    while (done < length) {
        pollfd ready{socket_.get(), POLLIN, 0};
        if (::poll(&ready, 1, static_cast<int>(std::chrono::milliseconds(kPatience).count())) <=
            0) {
            ADD_FAILURE() << "nothing comes";
            break;
        }
        const ssize_t n = ::recv(socket_.get(), bytes.data() + done, length - done, 0);
        if (n <= 0) {
            break;
        }
        done += static_cast<std::size_t>(n);
    }
    bytes.resize(done);
    return bytes;
}

void RawClient::expect(const std::string& bytes) {
    EXPECT_EQ(receive(bytes.size()), bytes);
}

void RawClient::expect_end() {
    EXPECT_EQ(receive(1), "");
}

void RawClient::end_of_requests() {
    ::shutdown(socket_.get(), SHUT_WR);
}

void RawClient::drop_input() {
    std::string some(1 << 20, '\0');
    while (::recv(socket_.get(), some.data(), some.size(), MSG_DONTWAIT) > 0) {
    }
}

void SessionTest::start(const ServerLimits& limits, AccessRules access) {
    stop();
    federation_ = std::make_unique<FakeFederation>(log_);
    workers_ = std::make_unique<WorkerPool>(8);
    auto policy = std::make_shared<Policy>();
    policy->access = std::move(access);
    policy->access.writable = true;
    service_ = std::make_unique<Service>(Service::Parts{.federation = *federation_,
                                                        .workers = *workers_,
                                                        .log = log_,
                                                        .live = live_,
                                                        .server = "alpha",
                                                        .limits = limits},
                                         std::move(policy));
    for (EventLoop* const one : federation_->engine().loops()) {
        service_->loops.push_back(std::make_unique<SessionLoop>(*one));
    }
}

void SessionTest::stop() {
    if (service_ == nullptr) {
        return;
    }
    federation_->open_gate();
    for (const auto& [name, disk] : federation_->disks) {
        if (auto* const held = dynamic_cast<HeldDisk*>(disk.get())) {
            held->release();
        }
    }
    on_loops([](SessionLoop& sessions) {
        sessions.for_each([](Session& session) { session.abort("the test is over"); });
    });
    wait_ended();
    on_loops([](SessionLoop&) {});
    workers_.reset();
    federation_.reset();
    service_.reset();
}

std::shared_ptr<HeldDisk> SessionTest::add_disk(const std::string& name, EventLoop* home) {
    auto disk = std::make_shared<HeldDisk>(home);
    federation_->disks.emplace(name, disk);
    return disk;
}

RawClient SessionTest::connect() {
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    EXPECT_EQ(::fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
    const int small = 32 * 1024;
    ::setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    auto session = std::make_shared<Session>(*service_, UniqueFd(ends[0]), ClientIdentity());
    SessionLoop& home = *service_->loops.front();
    home.loop().post([&home, session = std::move(session)] {
        home.add(session);
        session->begin(home);
    });
    RawClient client((UniqueFd(ends[1])));
    client.expect(greeting());
    client.send(Bytes().u32(3));
    return client;
}

std::string SessionTest::go(const std::string& name) {
    return option(kGo, Bytes().u32(name.size()).text(name).u16(0).str());
}

RawClient SessionTest::open(const std::string& name, bool structured) {
    RawClient client = connect();
    if (structured) {
        client.send(option(kStructured));
        client.expect(option_reply(kStructured, kAck));
    }
    client.send(go(name));
    std::string reply;
    do {
        reply = client.receive(20);
        if (reply.size() < 20) {
            ADD_FAILURE() << "the session ended";
            break;
        }
        client.receive(static_cast<unsigned char>(reply[19]));
    } while (reply[15] == kInfo);
    EXPECT_EQ(reply, option_reply(kGo, kAck));
    return client;
}

void SessionTest::on_loops(const std::function<void(SessionLoop&)>& what) {
    std::latch done(static_cast<std::ptrdiff_t>(service_->loops.size()));
    for (const auto& sessions : service_->loops) {
        sessions->loop().post([&, sessions = sessions.get()] {
            what(*sessions);
            done.count_down();
        });
    }
    done.wait();
}

void SessionTest::drain() {
    service_->draining.store(true);
    on_loops([](SessionLoop& sessions) {
        sessions.for_each([](Session& session) { session.drain(); });
    });
}

// As two ticks that far apart.
void SessionTest::pass_time(std::chrono::seconds time) {
    on_loops([time](SessionLoop& sessions) {
        const auto now = sessions.loop().now();
        sessions.for_each([&](Session& session) { session.look_at_clock(now); });
        sessions.for_each([&](Session& session) { session.look_at_clock(now + time); });
    });
}

void SessionTest::wait_until(const std::function<bool()>& condition) {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    while (!condition()) {
        ASSERT_LT(std::chrono::steady_clock::now(), end) << "it did not come true";
        on_loops([](SessionLoop&) {});
        std::this_thread::yield();
    }
}

}  // namespace signpost::test
