// SPDX-License-Identifier: BSD-3-Clause
//
// Copies of one disk on servers that are only said to be there, for tests of verified disks: each
// has bytes and chunk digests, right or wrong, and a relay of them reads from the first of its plan
// that works.

#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "catalog/memory_catalog.h"
#include "nbd-server/disk/digest_tree.h"
#include "nbd-server/disk/event_loop.h"
#include "nbd-server/disk/verified_disk.h"
#include "tests/unit/disk/kept_log.h"

namespace signpost::test {

using Bytes = std::vector<std::byte>;

inline constexpr std::uint64_t kChunk = DigestTree::kChunkBytes;

// Chunk 2 is zero; the last is shorter.
inline Bytes content_of_disk() {
    Bytes content(5 * kChunk + 70'000);
    std::uint64_t state = 1;
    for (std::size_t i = 0; i < content.size(); i += 64) {
        state = state * 6364136223846793005ULL + 1442695040888963407ULL;
        std::memcpy(content.data() + i, &state, std::min<std::size_t>(8, content.size() - i));
    }
    std::fill_n(content.begin() + 2 * kChunk, kChunk, std::byte{0});
    return content;
}

struct Digested {
    std::string digest;
    Bytes leaves;
};

inline Digested digest(const Bytes& content) {
    DigestTree tree = std::move(*DigestTree::start(content.size()));
    Digested result;
    for (std::size_t at = 0; at < content.size(); at += kChunk) {
        const auto length = std::min<std::size_t>(kChunk, content.size() - at);
        EXPECT_TRUE(tree.add(std::span(content).subspan(at, length)));
        result.leaves.insert(result.leaves.end(), tree.last().begin(), tree.last().end());
    }
    result.digest = *tree.finish();
    return result;
}

class Copies {
   public:
    struct Copy {
        Bytes content;
        Bytes leaves;
        bool gives_errors = false;
        bool keeps_leaves_back = false;  // as keeps_content_back: until let_go()
        bool keeps_content_back = false;
    };

    // A machine that is busy needs patience; a test that waits for its end does not.
    struct How {
        std::size_t chunks = 64;
        std::chrono::milliseconds patience{60'000};
        bool must_check = true;
        std::chrono::milliseconds search{60'000};
        std::chrono::milliseconds again{1};
    };

    explicit Copies(const Bytes& content)
        : right_(digest(content)), size_(content.size()), thread_([this] { loop_.run(); }) {}
    ~Copies() { stop(); }

    void add(const std::string& server, Bytes content) {
        copies_[server] = {std::move(content), right_.leaves};
        Server row;
        row.name = server;
        row.uris = {*NbdUri::parse("nbd://" + server + ".example")};
        ASSERT_TRUE(catalog.put_server(row));
        const Image image{.name = name, .export_name = "vda", .size = size_, .fingerprint = "r-1"};
        ASSERT_TRUE(catalog.publish(server, {.images = {image}}));
        ASSERT_TRUE(
            catalog.record_digest({name, server, row_of(server).generation, right_.digest}));
    }

    Copy& operator[](const std::string& server) { return copies_.at(server); }

    Location row_of(const std::string& server) {
        const auto record = catalog.find(name);
        const auto row = std::ranges::find((*record)->locations, server, &Location::server);
        return row == (*record)->locations.end() ? Location{} : *row;
    }

    // In the order of their names.
    RelayPlan plan() {
        RelayPlan plan{.disk = name, .traits = {}, .upstreams = {}};
        plan.traits.size = size_;
        plan.traits.relayed = true;
        for (const auto& [server, copy] : copies_) {
            Upstream upstream;
            upstream.location = row_of(server);
            upstream.uris = {*NbdUri::parse("nbd://" + server + ".example/local:vda")};
            plan.upstreams.push_back(upstream);
        }
        return plan;
    }

    void start(How how) {
        services_ = std::make_unique<VerifyServices>(
            VerifyServices::Parts{.relay = [this](RelayPlan one) { return relay(std::move(one)); },
                                  .catalog = catalog,
                                  .patience = how.patience,
                                  .chunks = how.chunks,
                                  .must_check = how.must_check,
                                  .search = how.search,
                                  .again = how.again},
            log);
        disk = make_verified_disk(*services_, plan(), right_.digest);
    }
    void start() { start({}); }

    // From now on SERVER has the right chunk digests.
    void give_leaves(const std::string& server) {
        loop_.post([this, server] { copies_.at(server).leaves = right_.leaves; });
    }

    // Answers what was kept back.
    void let_go() {
        loop_.post([this] {
            for (const Kept& kept : std::exchange(kept_, {})) {
                kept.request->done(*kept.request, kept.relay->read(*kept.request));
            }
        });
    }

    void stop() {
        let_go();
        disk.reset();
        services_.reset();
        if (thread_.joinable()) {
            loop_.stop();
            thread_.join();
        }
    }

    int read(std::uint64_t offset, std::uint64_t length) {
        Request request;
        request.offset = offset;
        request.length = length;
        buffer.assign(length, std::byte{0xee});
        request.buffer = buffer.data();
        return submit_and_wait(*disk, request);
    }

    bool reads_right(const Bytes& content, std::uint64_t offset, std::uint64_t length) {
        return read(offset, length) == 0 &&
               std::memcmp(buffer.data(), content.data() + offset, length) == 0;
    }

    // Reads of content that went to SERVER first.
    int reads_of(const std::string& server) {
        const std::lock_guard lock(mutex_);
        return reads_[server];
    }

    // When the first COUNT questions for chunk digests came; waits for them.
    std::vector<EventLoop::Time> leaf_reads(std::size_t count) {
        std::unique_lock lock(mutex_);
        asked_.wait(lock, [&] { return leaf_reads_.size() >= count; });
        leaf_reads_.resize(count);
        return leaf_reads_;
    }

    EventLoop& loop() { return loop_; }

    const DiskName name = *DiskName::parse("vda");
    MemoryCatalog catalog;
    KeptLog log;
    std::shared_ptr<Disk> disk;
    Bytes buffer;

   private:
    class Relay final : public Disk {
       public:
        Relay(Copies& copies, RelayPlan plan) : copies_(copies), plan_(std::move(plan)) {}
        const DiskTraits& traits() const override { return plan_.traits; }
        EventLoop* home_loop() const override { return &copies_.loop_; }

        int read(Request& request) {
            for (const Upstream& upstream : plan_.upstreams) {
                const Copy& copy = copies_[upstream.location.server];
                const Bytes& bytes = asks_leaves(upstream) ? copy.leaves : copy.content;
                if ((copy.gives_errors && !asks_leaves(upstream)) ||
                    bytes.size() != plan_.traits.size) {
                    continue;
                }
                give(request, bytes.data() + request.offset);
                return 0;
            }
            return EIO;
        }

       private:
        static bool asks_leaves(const Upstream& upstream) {
            return upstream.uris.front().export_name.starts_with("digests:");
        }

        void start(Request& request) override {
            copies_.loop_.post([this, &request] {
                copies_.count(plan_.upstreams.front().location.server,
                              asks_leaves(plan_.upstreams.front()));
                if (is_kept_back()) {
                    copies_.kept_.push_back({this, &request});
                } else {
                    request.done(request, read(request));
                }
            });
        }

        bool is_kept_back() const {
            const Upstream& first = plan_.upstreams.front();
            const Copy& copy = copies_[first.location.server];
            return asks_leaves(first) ? copy.keeps_leaves_back : copy.keeps_content_back;
        }

        static void give(Request& request, const std::byte* bytes) {
            if (request.sink == nullptr) {
                std::memcpy(request.buffer, bytes, request.length);
                return;
            }
            ReadPart part;
            part.place = ReadPart::Place::memory;
            part.offset = request.offset;
            part.length = static_cast<std::uint32_t>(request.length);
            part.bytes = std::make_unique_for_overwrite<std::byte[]>(request.length);
            std::memcpy(part.bytes.get(), bytes, request.length);
            request.sink->take(request, std::move(part));
        }

        Copies& copies_;
        const RelayPlan plan_;
    };

    struct Kept {
        Relay* relay = nullptr;
        Request* request = nullptr;
    };

    void count(const std::string& server, bool leaves) {
        const std::lock_guard lock(mutex_);
        if (leaves) {
            leaf_reads_.push_back(EventLoop::Clock::now());
            asked_.notify_all();
        } else {
            ++reads_[server];
        }
    }

    std::shared_ptr<Disk> relay(RelayPlan plan) {
        return std::make_shared<Relay>(*this, std::move(plan));
    }

    const Digested right_;
    const std::uint64_t size_;
    std::map<std::string, Copy> copies_;
    std::mutex mutex_;
    std::condition_variable asked_;
    std::map<std::string, int> reads_;         // guarded by mutex_
    std::vector<EventLoop::Time> leaf_reads_;  // guarded by mutex_
    std::vector<Kept> kept_;                   // the loop's
    std::unique_ptr<VerifyServices> services_;
    EventLoop loop_;
    std::thread thread_;
};

}  // namespace signpost::test
