// SPDX-License-Identifier: BSD-3-Clause
//
// The copier of one server, `alpha`, on a real repository and a catalog in memory; the relays are
// disks of the test's making.

#include "nbd-server/disk/copier.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "nbd-server/disk/digest_tree.h"
#include "nbd-server/disk/local_disk.h"
#include "nbd-server/wire/protocol.h"
#include "tests/unit/disk/kept_log.h"
#include "tests/unit/disk/observed_catalog.h"
#include "tests/unit/disk/temp_tree.h"

namespace signpost::test {
namespace {

using namespace std::chrono_literals;

std::string digest_of_text(const std::string& text) {
    auto tree = DigestTree::start(text.size()).value();
    const auto bytes = std::as_bytes(std::span(text));
    for (std::uint64_t at = 0, length = 0; at < bytes.size(); at += length) {
        length = tree.next_chunk_bytes();
        EXPECT_TRUE(tree.add(bytes.subspan(at, length)));
    }
    return tree.finish().value();
}

// What a server elsewhere serves.
class FarDisk final : public Disk {
   public:
    // LIES: its allocation map says that all is zero.
    FarDisk(RelayPlan plan, std::string content, bool away, bool lies)
        : plan_(std::move(plan)), content_(std::move(content)), away_(away), lies_(lies) {
        traits_.size = plan_.traits.size;
    }

    const DiskTraits& traits() const override { return traits_; }

    void reach(Told told) override {
        if (away_) {
            told(fail(Errc::unavailable, "nobody is there"));
            return;
        }
        const Location& first = plan_.upstreams.front().location;
        if (plan_.pinned) {
            plan_.pinned(first, first.fingerprint);
        }
        told({});
    }

   private:
    void start(Request& request) override {
        if (request.op == Op::extents && lies_) {
            *request.extents = {{request.length, wire::kStateZero}};
            request.done(request, 0);
            return;
        }
        if (request.op != Op::read || content_.size() < request.offset + request.length) {
            request.done(request, EIO);
            return;
        }
        std::memcpy(request.buffer, content_.data() + request.offset, request.length);
        request.done(request, 0);
    }

    const RelayPlan plan_;
    const std::string content_;
    const bool away_;
    const bool lies_;
    DiskTraits traits_;
};

class CopierTest : public testing::Test {
   protected:
    CopierTest() {
        for (const char* server_name : {"alpha", "beta"}) {
            Server server;
            server.name = server_name;
            server.uris = {NbdUri::parse("nbd://127.0.0.1:10810").value()};
            server.instance = server_name;
            EXPECT_TRUE(catalog.put_server(server));
        }
    }

    // SERVER publishes the disk `vm/a`; DIGEST may be empty.
    void publish(const std::string& server, const std::string& known, bool read_only = true) {
        Image image{.name = name, .export_name = "vm/a", .fingerprint = "r-" + server};
        image.size = content.size();
        image.read_only = read_only;
        ASSERT_TRUE(catalog.publish(server, {.images = {image}}));
        if (!known.empty()) {
            const auto row = catalog.location("vm/a", server);
            ASSERT_TRUE(catalog.record_digest({name, server, row->generation, known}));
        }
    }

    void put(JobKind kind, const std::string& target, const std::string& source) {
        Job job{.id = id,
                .kind = kind,
                .disk = name,
                .target = target,
                .source = source,
                .message = {}};
        ASSERT_TRUE(catalog.put_job(job));
    }

    void start(bool writable = false, bool accepts = true) {
        std::vector<Repository> all;
        all.push_back(Repository::open(tree.root(), {.writable = writable}).value());
        repositories.emplace(std::move(all));
        copier = start_copier(
            {.catalog = catalog,
             .repositories = *repositories,
             .log = log,
             .server = "alpha",
             .site = {},
             .accepts = accepts,
             .relay =
                 [this](RelayPlan plan) {
                     ++relays;
                     std::string sent = content;
                     if (plan.upstreams.front().location.server == rotten) {
                         sent.front() = '?';
                     }
                     return std::make_shared<FarDisk>(std::move(plan), std::move(sent), away.load(),
                                                      lies.load());
                 },
             .serve =
                 [this](OpenImage image) { return make_local_disk(std::move(image), {}, log); },
             .being_written =
                 [this](const DiskName&) {
                     ++writes_asked;
                     return written.load();
                 },
             .digests = digests.get()},
            {.look = 5ms, .report = 5ms, .retry = 10ms, .slowest = 20ms});
    }

    Job job() {
        const auto all = catalog.jobs("");
        for (const Job& found : *all) {
            if (found.id == id) {
                return found;
            }
        }
        return {.id = {}, .disk = name, .target = {}, .source = {}, .message = "gone"};
    }
    bool wait_for(JobState state) {
        return catalog.wait_until([&] { return job().state == state; });
    }
    bool wait_for_message(std::string_view part) {
        return catalog.wait_until([&] { return job().message.find(part) != std::string::npos; });
    }
    std::string here() const {
        std::ifstream in(tree.path("vm/a.raw"), std::ios::binary);
        return {std::istreambuf_iterator<char>(in), {}};
    }
    bool nothing_here() const {
        std::vector<std::string> files;
        for (const auto& entry : std::filesystem::recursive_directory_iterator(tree.root())) {
            if (entry.is_regular_file()) {
                files.push_back(entry.path());
            }
        }
        return files.empty();
    }

    const DiskName name = DiskName::parse("vm/a").value();
    const std::string id = std::string(32, 'c');
    std::string content = std::string(100'000, 'x') + std::string(70'000, '\0') + "end";
    std::string digest = digest_of_text(content);
    TempTree tree;
    KeptLog log;
    ObservedCatalog catalog;
    std::string rotten;  // a server whose copy begins otherwise
    std::atomic<bool> away{false};
    std::atomic<bool> lies{false};
    std::atomic<bool> written{false};
    std::atomic<int> writes_asked{0};
    std::atomic<int> relays{0};
    TempTree own_state;
    std::unique_ptr<DigestStore> digests =
        DigestStore::open(own_state.path("digests.db"), log).value();
    std::optional<RepositorySet> repositories;
    std::unique_ptr<Copier> copier;  // first to go
};

TEST_F(CopierTest, CopiesAndIsInterchangeableAtOnce) {
    publish("beta", digest);
    put(JobKind::copy, "alpha", "");
    start();
    ASSERT_TRUE(wait_for(JobState::done)) << job().message;
    EXPECT_EQ(here(), content);
    EXPECT_TRUE(
        interchangeable(*catalog.location("vm/a", "alpha"), *catalog.location("vm/a", "beta")));
    EXPECT_TRUE(std::filesystem::is_empty(tree.path(".signpost")));
}

TEST_F(CopierTest, LeavesNothingToBeHashedAgain) {
    content.resize(2 * DigestTree::kChunkBytes + 9, 'n');
    digest = digest_of_text(content);
    publish("beta", digest);
    put(JobKind::copy, "alpha", "");
    start();
    ASSERT_TRUE(wait_for(JobState::done)) << job().message;
    const auto row = catalog.location("vm/a", "alpha");
    const auto entry = digests->find({name, row->fingerprint, content.size()});
    ASSERT_TRUE(entry && *entry);
    EXPECT_EQ((*entry)->digest, digest);
    const auto leaves = digests->leaves((*entry)->id, 0).value();
    const auto bytes = std::as_bytes(std::span(leaves.data()->data(), 32 * leaves.size()));
    EXPECT_TRUE(prove_leaves(bytes, content.size(), digest));
}

TEST_F(CopierTest, OldKnowledgeIsNothingToCopyBy) {
    publish("beta", digest);
    catalog.answer_from_old_knowledge(true);
    put(JobKind::copy, "alpha", "");
    start();
    ASSERT_TRUE(wait_for_message("does not answer"));
    EXPECT_EQ(relays, 0);
    catalog.answer_from_old_knowledge(false);
    EXPECT_TRUE(wait_for(JobState::done)) << job().message;
}

TEST_F(CopierTest, ADamagedCopyIsNoSource) {
    publish("beta", digest);
    const auto row = catalog.location("vm/a", "beta");
    ASSERT_TRUE(catalog.set_location_state(name, "beta", row->generation, LocationState::damaged));
    put(JobKind::copy, "alpha", "beta");
    start();
    ASSERT_TRUE(catalog.wait_until([&] { return !job().message.empty(); }));
    EXPECT_EQ(job().state, JobState::waiting) << job().message;
    EXPECT_EQ(relays, 0);
}

TEST_F(CopierTest, ACopyOfUnknownContentGivesBothADigest) {
    publish("beta", "");
    put(JobKind::copy, "alpha", "beta");
    start();
    ASSERT_TRUE(wait_for(JobState::done)) << job().message;
    EXPECT_EQ(catalog.location("vm/a", "beta")->digest, digest);
    EXPECT_TRUE(
        interchangeable(*catalog.location("vm/a", "alpha"), *catalog.location("vm/a", "beta")));
}

TEST_F(CopierTest, UnknownContentThatMayBeWrittenIsRefused) {
    publish("beta", "", false);
    put(JobKind::copy, "alpha", "");
    start();
    ASSERT_TRUE(wait_for(JobState::failed));
    EXPECT_NE(job().message.find("signpost verify vm/a"), std::string::npos) << job().message;
    EXPECT_EQ(relays, 0);
}

TEST_F(CopierTest, BytesOfAnotherDigestAreThrownAway) {
    publish("beta", digest_of_text("something else"));
    put(JobKind::copy, "alpha", "");
    start();
    ASSERT_TRUE(wait_for(JobState::failed));
    EXPECT_NE(job().message.find("not what the catalog's digest says"), std::string::npos);
    EXPECT_EQ(catalog.location("vm/a", "beta")->state, LocationState::damaged);
    EXPECT_EQ(relays, 2);
    EXPECT_TRUE(nothing_here());
}

TEST_F(CopierTest, ASourceThatHasRottedIsFoundOutAndAnotherIsRead) {
    Server gamma;
    gamma.name = rotten = "gamma";
    gamma.priority = -1;  // asked first
    gamma.uris = {NbdUri::parse("nbd://127.0.0.1:10811").value()};
    ASSERT_TRUE(catalog.put_server(gamma));
    publish("gamma", digest);
    publish("beta", digest);
    put(JobKind::copy, "alpha", "");
    start();
    ASSERT_TRUE(wait_for(JobState::done)) << job().message;
    EXPECT_EQ(here(), content);
    EXPECT_EQ(catalog.location("vm/a", "gamma")->state, LocationState::damaged);
    EXPECT_EQ(catalog.location("vm/a", "beta")->state, LocationState::ready);
}

TEST_F(CopierTest, AMapThatLiesIsNotBelievedTwice) {
    content.resize(DigestTree::kChunkBytes, 'm');
    digest = digest_of_text(content);
    lies = true;
    publish("beta", digest);
    put(JobKind::copy, "alpha", "");
    start();
    ASSERT_TRUE(wait_for(JobState::done)) << job().message;
    EXPECT_EQ(relays, 2);
    EXPECT_EQ(here(), content);
}

TEST_F(CopierTest, WaitsForASourceThatIsAway) {
    away = true;
    publish("beta", digest);
    put(JobKind::copy, "alpha", "");
    start();
    ASSERT_TRUE(wait_for_message("nobody is there"));
    EXPECT_EQ(job().state, JobState::waiting);
    away = false;
    ASSERT_TRUE(wait_for(JobState::done));
    EXPECT_EQ(here(), content);
}

TEST_F(CopierTest, AnotherImageOfThatNameIsKept) {
    tree.write("vm/a.raw", "mine");
    publish("beta", digest);
    put(JobKind::copy, "alpha", "");
    start();
    ASSERT_TRUE(wait_for(JobState::failed));
    EXPECT_NE(job().message.find("another image"), std::string::npos) << job().message;
    EXPECT_EQ(here(), "mine");
}

TEST_F(CopierTest, AnImageOfThatContentIsAllThatWasAsked) {
    tree.write("vm/a.raw", content);
    publish("beta", digest);
    put(JobKind::copy, "alpha", "");
    start();
    ASSERT_TRUE(wait_for(JobState::done)) << job().message;
    EXPECT_EQ(relays, 0);
    EXPECT_EQ(catalog.location("vm/a", "alpha")->digest, digest);
}

TEST_F(CopierTest, ADamagedImageIsReplaced) {
    std::string flipped = content;
    flipped[5] = 'y';
    tree.write("vm/a.raw", flipped);
    publish("beta", digest);
    start();
    auto found = repositories->inspect(name, 0ms);
    ASSERT_TRUE(catalog.publish("alpha", {.images = {found->image}}));
    const auto row = catalog.location("vm/a", "alpha");
    ASSERT_TRUE(catalog.set_location_state(name, "alpha", row->generation, LocationState::damaged));
    put(JobKind::copy, "alpha", "");
    ASSERT_TRUE(wait_for(JobState::done)) << job().message;
    EXPECT_EQ(here(), content);
    EXPECT_EQ(catalog.location("vm/a", "alpha")->state, LocationState::ready);
}

TEST_F(CopierTest, CancelledJobsLeaveNothing) {
    content.resize(64 << 20, 'z');
    digest.clear();
    publish("beta", "");
    Job slow{
        .id = id, .disk = name, .target = "alpha", .source = {}, .rate = 1 << 20, .message = {}};
    ASSERT_TRUE(catalog.put_job(slow));
    start();
    ASSERT_TRUE(wait_for(JobState::running));
    slow.state = JobState::cancelled;
    ASSERT_TRUE(catalog.put_job(slow));
    ASSERT_TRUE(catalog.wait_until([&] { return log.has("was cancelled"); }));
    EXPECT_TRUE(catalog.wait_until([&] { return nothing_here(); }));
}

TEST_F(CopierTest, NamesThatNoRepositoryCanHoldAreRefused) {
    Image image{.name = DiskName::parse("vm/.a").value(), .export_name = "x", .fingerprint = "r-1"};
    image.size = 5;
    ASSERT_TRUE(catalog.publish("beta", {.images = {image}}));
    Job hidden{.id = id, .disk = image.name, .target = "alpha", .source = {}, .message = {}};
    ASSERT_TRUE(catalog.put_job(hidden));
    start();
    ASSERT_TRUE(wait_for(JobState::failed));
    EXPECT_TRUE(nothing_here());
}

TEST_F(CopierTest, ASwitchRefusesEverything) {
    publish("beta", digest);
    put(JobKind::copy, "alpha", "");
    start(false, false);
    ASSERT_TRUE(wait_for(JobState::failed));
    EXPECT_NE(job().message.find("copies=off"), std::string::npos);
}

// ---- moves

class MoveAwayTest : public CopierTest {
   protected:
    // alpha holds the image as CONTENT; beta says that it has it, too.
    void hold(bool writable = false) {
        tree.write("vm/a.raw", content);
        start(writable);
        auto found = repositories->inspect(name, 0ms);
        ASSERT_TRUE(catalog.publish("alpha", {.images = {found->image}}));
        const auto row = catalog.location("vm/a", "alpha");
        ASSERT_TRUE(catalog.record_digest({name, "alpha", row->generation, digest}));
    }
};

TEST_F(MoveAwayTest, AnImageGoesWhenTheTargetServesAllOfIt) {
    hold();
    publish("beta", digest);
    put(JobKind::move, "beta", "alpha");
    ASSERT_TRUE(wait_for(JobState::done)) << job().message;
    EXPECT_TRUE(nothing_here());
    EXPECT_FALSE(catalog.location("vm/a", "alpha"));
    EXPECT_TRUE(catalog.location("vm/a", "beta"));
}

TEST_F(MoveAwayTest, NotByOldKnowledge) {
    hold();
    publish("beta", digest);
    catalog.answer_from_old_knowledge(true);
    const int before = catalog.looks();
    put(JobKind::move, "beta", "alpha");
    ASSERT_TRUE(catalog.wait_until([&] { return catalog.looks() > before + 1; }));
    EXPECT_EQ(relays, 0);
    EXPECT_EQ(here(), content);
    catalog.answer_from_old_knowledge(false);
    ASSERT_TRUE(wait_for(JobState::done)) << job().message;
    EXPECT_TRUE(nothing_here());
}

TEST_F(MoveAwayTest, NotWhileAClientWrites) {
    written = true;
    hold();
    publish("beta", digest);
    put(JobKind::move, "beta", "alpha");
    ASSERT_TRUE(catalog.wait_until([&] { return writes_asked > 1; }));
    EXPECT_EQ(relays, 0);
    EXPECT_EQ(here(), content);
    written = false;
    ASSERT_TRUE(wait_for(JobState::done)) << job().message;
    EXPECT_TRUE(nothing_here());
}

TEST_F(MoveAwayTest, NotWhileTheTargetHasNoDigest) {
    hold();
    publish("beta", "");
    const int before = catalog.looks();
    put(JobKind::move, "beta", "alpha");
    ASSERT_TRUE(catalog.wait_until([&] { return catalog.looks() > before + 1; }));
    EXPECT_EQ(relays, 0);
    EXPECT_EQ(here(), content);
}

TEST_F(MoveAwayTest, NotWhenTheTargetServesOtherBytesThanItSays) {
    hold();
    publish("beta", digest);
    content[7] = 'q';
    put(JobKind::move, "beta", "alpha");
    ASSERT_TRUE(wait_for(JobState::failed));
    EXPECT_NE(job().message.find("keeps its image"), std::string::npos) << job().message;
    EXPECT_FALSE(nothing_here());
    EXPECT_TRUE(catalog.location("vm/a", "alpha"));
}

TEST_F(MoveAwayTest, NotWhenItIsServedWritable) {
    hold(true);
    publish("beta", digest);
    put(JobKind::move, "beta", "alpha");
    ASSERT_TRUE(wait_for(JobState::failed));
    EXPECT_NE(job().message.find("served writable"), std::string::npos) << job().message;
    EXPECT_EQ(here(), content);
}

TEST_F(MoveAwayTest, WaitsWhileAnotherJobWorksOnTheDisk) {
    hold();
    publish("beta", digest);
    Job other{.id = std::string(32, 'd'),
              .disk = name,
              .target = "gamma",
              .source = "alpha",
              .message = {}};
    ASSERT_TRUE(catalog.put_job(other));
    put(JobKind::move, "beta", "alpha");
    other.state = JobState::running;
    ASSERT_TRUE(catalog.report_job(other));
    EXPECT_EQ(here(), content);
    other.state = JobState::done;
    ASSERT_TRUE(catalog.report_job(other));
    ASSERT_TRUE(wait_for(JobState::done)) << job().message;
    EXPECT_TRUE(nothing_here());
}

}  // namespace
}  // namespace signpost::test
