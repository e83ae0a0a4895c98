// SPDX-License-Identifier: BSD-3-Clause
//
// Sessions over socket pairs, with all that they stand on but disks and catalog: those are told by
// the test what to do and when.

#pragma once

#include <gtest/gtest.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "catalog/memory_catalog.h"
#include "nbd-server/server/service.h"
#include "nbd-server/server/session.h"
#include "tests/unit/disk/kept_log.h"
#include "tests/unit/wire/bytes.h"

namespace signpost::test {

// A disk whose requests end when the test says so, in the order that it says.
class HeldDisk final : public Disk {
   public:
    static constexpr std::uint64_t kSize = 4 * 1024 * 1024;

    // HOME null: requests hold a thread each until they end.
    explicit HeldDisk(EventLoop* home);
    ~HeldDisk() override { release(); }

    const DiskTraits& traits() const override { return traits_; }
    EventLoop* home_loop() const override { return home_; }
    bool content_holds(std::span<const ReadRange>) override { return holds_; }
    Now locate_now(std::uint64_t offset, std::uint32_t length,
                   std::vector<ReadPart>& parts) override;

    // From now on they end at once; those that are held, too.
    void release();

    std::size_t held();     // now
    std::size_t started();  // so far
    void wait_held(std::size_t count);

    // The INDEXth of those that are held.
    void end(std::size_t index, int error = 0);

    static std::string bytes_at(std::uint64_t offset, std::uint64_t length);
    std::string written();  // all that came, in order

    DiskTraits traits_;
    int file_ = -1;               // with the disk's bytes, which are then at hand
    std::uint32_t part_ = kSize;  // at most so long, as if the next were in another file
    bool holds_ = true;

   private:
    struct Held {
        Request* request;
        std::uint64_t number;
        bool ended = false;
        int error = 0;
    };

    void start(Request& request) override;
    void fill(Request& request);
    void finish(Request& request, int error);

    EventLoop* const home_;
    std::mutex mutex_;  // guards all below
    std::condition_variable changed_;
    std::deque<Held> held_;
    std::size_t started_ = 0;
    bool released_ = false;
    std::string written_;
};

class FakeFederation final : public Federation {
   public:
    explicit FakeFederation(Log& log);

    Result<std::shared_ptr<Disk>> open(const std::string& name, bool writable,
                                       const Asker& asker) override;
    Result<Listing> exports(std::size_t limit, const std::string& after) override;
    RelayEngine& engine() override { return *engine_; }
    Catalog& catalog() override { return catalog_; }

    // While it is closed nothing is opened or listed.
    void close_gate();
    void open_gate();
    void wait_at_gate();

    std::map<std::string, std::shared_ptr<Disk>> disks;  // before the first session

   private:
    void pass_gate();

    std::unique_ptr<RelayEngine> engine_;
    MemoryCatalog catalog_;
    std::mutex mutex_;  // guards all below
    std::condition_variable changed_;
    bool closed_ = false;
    unsigned waiting_ = 0;
};

// The other end of a session.
class RawClient {
   public:
    explicit RawClient(UniqueFd socket) : socket_(std::move(socket)) {}

    void send(const std::string& bytes);
    std::string receive(std::size_t length);
    void expect(const std::string& bytes);
    void expect_end();
    void leave() { socket_.reset(); }
    void end_of_requests();
    void drop_input();  // takes what is there, and forgets it

   private:
    UniqueFd socket_;
};

class SessionTest : public testing::Test {
   protected:
    SessionTest() { start({}); }
    ~SessionTest() override { stop(); }

    // Anew, with those limits, and rules.
    void start(const ServerLimits& limits, AccessRules access = {});
    void stop();

    EventLoop& loop(std::size_t number = 0) { return *federation_->engine().loops()[number]; }
    std::shared_ptr<HeldDisk> add_disk(const std::string& name, EventLoop* home);

    // A session on the first loop, its client having said its flags.
    RawClient connect();
    // That has gone on to transmission, with simple or structured replies.
    RawClient open(const std::string& name, bool structured = false);
    static std::string go(const std::string& name);

    void on_loops(const std::function<void(SessionLoop&)>& what);
    void drain();
    void pass_time(std::chrono::seconds time);
    void wait_until(const std::function<bool()>& condition);
    void wait_ended() {
        wait_until([this] { return service_->sessions.load() == 0; });
    }

    KeptLog log_;
    LiveSessions live_;
    std::unique_ptr<FakeFederation> federation_;
    std::unique_ptr<WorkerPool> workers_;
    std::unique_ptr<Service> service_;
};

}  // namespace signpost::test
