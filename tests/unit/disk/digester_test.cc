// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/digester.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <limits>
#include <optional>
#include <thread>

#include "catalog/memory_catalog.h"
#include "nbd-server/disk/leaves_disk.h"
#include "nbd-server/disk/local_disk.h"
#include "tests/unit/disk/kept_log.h"
#include "tests/unit/disk/temp_tree.h"

namespace signpost::test {
namespace {

constexpr std::uint64_t kChunk = DigestTree::kChunkBytes;

class ToldPublisher final : public Publisher {
   public:
    std::vector<Image> images() const override {
        ++looks;
        return held;
    }
    std::vector<DiskName> names_beginning(std::string_view) const override { return {}; }
    std::uint64_t publications() const override { return told; }

    std::vector<Image> held;
    std::atomic<std::uint64_t> told{1};
    mutable std::atomic<int> looks{0};  // how many passes have begun
};

class DigesterTest : public testing::Test {
   protected:
    DigesterTest() {
        Server server;
        server.name = "alpha";
        EXPECT_TRUE(catalog_.put_server(server));
        open_store();
    }

    void open_store() {
        store_.reset();
        store_ = std::move(*DigestStore::open(tree_.path("digests.db"), log_));
    }

    // Two whole chunks, the second a hole, and a shorter one.
    void write_image() {
        std::string bytes(kChunk, 'a');
        tree_.write("repository/vda.raw", bytes);
        ASSERT_EQ(::truncate(tree_.path("repository/vda.raw").c_str(), 2 * kChunk + 512), 0);
    }

    void publish(bool writable = false) {
        repositories_.emplace(std::vector<Repository>());
        std::vector<Repository> list;
        list.push_back(
            std::move(*Repository::open(tree_.path("repository"), {.writable = writable})));
        repositories_.emplace(std::move(list));
        publisher_.held = repositories_->scan().images;
        ASSERT_EQ(publisher_.held.size(), 1U);
        ASSERT_TRUE(catalog_.publish("alpha", {.images = publisher_.held}));
    }

    std::unique_ptr<Digester> start(DigestSettings settings = {}) {
        return start_digester(
            {.server = "alpha",
             .repositories = *repositories_,
             .publisher = publisher_,
             .catalog = catalog_,
             .store = *store_,
             .serve =
                 [this](OpenImage image) { return make_local_disk(std::move(image), {}, log_); }},
            settings, log_);
    }

    Location row() { return (*catalog_.find(name_))->locations.front(); }

    bool wait_for(const std::function<bool()>& condition) {
        const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
        while (!condition() && std::chrono::steady_clock::now() < until) {
            std::this_thread::yield();
        }
        return condition();
    }

    DigestStore::Image key() const {
        const Image& image = publisher_.held.front();
        return {image.name, image.fingerprint, image.size};
    }

    static std::string right_digest() {
        DigestTree tree = std::move(*DigestTree::start(2 * kChunk + 512));
        const std::vector<std::byte> bytes(kChunk, std::byte{'a'});
        EXPECT_TRUE(tree.add(bytes));
        EXPECT_TRUE(tree.add_zero_chunk());
        EXPECT_TRUE(tree.add_zero_chunk());
        return *tree.finish();
    }

    TempTree tree_;
    KeptLog log_;
    const DiskName name_ = *DiskName::parse("vda");
    MemoryCatalog catalog_;
    ToldPublisher publisher_;
    std::optional<RepositorySet> repositories_;
    std::unique_ptr<DigestStore> store_;
};

TEST_F(DigesterTest, GivesAPublishedImageItsDigest) {
    write_image();
    publish();
    const auto digester = start();
    EXPECT_TRUE(wait_for([this] { return row().digest == right_digest(); }));
}

TEST_F(DigesterTest, LeavesAWritableImageAlone) {
    write_image();
    publish(true);
    const auto digester = start();
    ASSERT_TRUE(wait_for([this] { return publisher_.looks == 1; }));
    publisher_.told = 2;
    ASSERT_TRUE(wait_for([this] { return publisher_.looks == 2; }));  // so the first has ended
    EXPECT_EQ(row().digest, "");
    EXPECT_FALSE(*store_->find(key()));
}

TEST_F(DigesterTest, AnotherCatalogIsToldWithoutReadingAgain) {
    write_image();
    publish();
    {
        const auto digester = start();
        ASSERT_TRUE(wait_for([this] { return !row().digest.empty(); }));
    }
    ASSERT_TRUE(catalog_.mark_changed(name_, "alpha"));
    open_store();
    const auto read_before = (*store_->find(key()))->read;
    const auto digester = start();
    EXPECT_TRUE(wait_for([this] { return row().digest == right_digest(); }));
    EXPECT_EQ((*store_->find(key()))->read, read_before);
}

TEST_F(DigesterTest, ServesChunkDigestsThatCanBeProven) {
    write_image();
    publish();
    const auto digester = start();
    ASSERT_TRUE(wait_for([this] { return !row().digest.empty(); }));
    const auto disk = make_leaves_disk(*store_, **store_->find(key()), 2 * kChunk + 512);
    std::vector<std::byte> bytes(disk->traits().size);
    ASSERT_EQ(bytes.size(), 96U);
    Request request;
    request.length = bytes.size();
    request.buffer = bytes.data();
    EXPECT_EQ(submit_and_wait(*disk, request), 0);
    EXPECT_TRUE(prove_leaves(bytes, 2 * kChunk + 512, row().digest));
}

TEST_F(DigesterTest, AScrubFindsWhatIsNotWhatItWas) {
    write_image();
    publish();
    // As if the first chunk had been another when the digest was computed.
    const auto entry = store_->begin(key());
    DigestTree tree = std::move(*DigestTree::start(2 * kChunk + 512));
    DigestTree::Leaves leaves;
    ASSERT_TRUE(tree.add(std::vector<std::byte>(kChunk, std::byte{'b'})));
    leaves.push_back(tree.last());
    for (int i = 0; i < 2; ++i) {
        ASSERT_TRUE(tree.add_zero_chunk());
        leaves.push_back(tree.last());
    }
    const std::string digest = *tree.finish();
    ASSERT_TRUE(store_->add(entry->id, 0, leaves));
    ASSERT_TRUE(store_->finish(entry->id, digest));
    ASSERT_TRUE(store_->note_reading(entry->id, 0, 1));
    ASSERT_TRUE(catalog_.record_digest({name_, "alpha", row().generation, digest}));

    const auto digester = start({.scrub = std::chrono::seconds(3600)});
    EXPECT_TRUE(wait_for([this] { return row().state == LocationState::damaged; }));
    EXPECT_TRUE(log_.has("bytes 0 to 4194304 are not what they were"));
}

TEST_F(DigesterTest, ADamagedFileIsBegunAnew) {
    store_.reset();
    tree_.write("digests.db",
                "no database, but a text that is long enough to look at " + std::string(2000, 'x'));
    open_store();
    EXPECT_TRUE(log_.has("is begun anew"));
    write_image();
    publish();
    EXPECT_TRUE(store_->begin(key()));
}

TEST_F(DigesterTest, WhatNobodyAsksForIsForgotten) {
    write_image();
    publish();
    const auto entry = store_->begin(key());
    ASSERT_TRUE(store_->add(entry->id, 0, DigestTree::Leaves(3)));
    ASSERT_TRUE(store_->forget(std::numeric_limits<std::int64_t>::max()));
    EXPECT_FALSE(*store_->find(key()));
    EXPECT_FALSE(store_->leaves(entry->id, 0));
}

}  // namespace
}  // namespace signpost::test
