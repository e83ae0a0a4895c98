// SPDX-License-Identifier: BSD-3-Clause
//
// A good session, damaged at random: whatever comes of it, nothing crashes, nothing is written
// outside of the buffers (guard bytes; the sanitizers see more), no request finishes twice, and a
// read that succeeds has had all its bytes answered.
#include <gtest/gtest.h>

#include <random>
#include <set>

#include "nbd-server/wire/client_handshake.h"
#include "tests/unit/wire/exchange.h"
#include "tests/unit/wire/talk.h"

namespace signpost::wire::test {
namespace {

constexpr int kRounds = 4000;

std::size_t below(std::mt19937& random, std::size_t limit) {
    return limit == 0 ? 0 : random() % limit;
}

void mutate_once(std::string& bytes, std::mt19937& random) {
    const std::size_t at = below(random, bytes.size());
    const std::size_t n = below(random, std::min<std::size_t>(bytes.size() - at, 64));
    switch (random() % 6) {
        case 0:
            bytes[at] = static_cast<char>(bytes[at] ^ 1 << random() % 8);
            break;
        case 1:
            bytes[at] = static_cast<char>(random());
            break;
        case 2:
            bytes.erase(at, n);
            break;
        case 3:
            bytes.insert(at, bytes.substr(below(random, bytes.size()), n));
            break;
        case 4:
            bytes.replace(at, std::min<std::size_t>(4, bytes.size() - at), 4,
                          random() % 2 == 0 ? '\xff' : '\0');
            break;
        default:
            bytes.resize(at);
    }
}

std::string mutated(std::string bytes, std::mt19937& random) {
    for (std::size_t i = 1 + below(random, 3); i > 0 && !bytes.empty(); --i) {
        mutate_once(bytes, random);
    }
    return bytes;
}

TEST(Mutation, OfAHandshakeNeverCrashesAndIsTheSameByteByByte) {
    const std::string good = greeting() + option_reply(kStructured, kAck) +
                             meta_context(7, "base:allocation") + option_reply(kSetMeta, kAck) +
                             block_size_info(512, 4096, 1 << 25) + description_info("words") +
                             export_info(1 << 30, 0x18f) + option_reply(kGo, kAck);
    std::mt19937 random(1);
    std::set<ClientHandshake::Outcome> seen;
    for (int round = 0; round < kRounds; ++round) {
        const std::string server = mutated(good, random);
        if (!server.empty()) {
            const Talk talk = converse({.export_name = "a"}, server);
            EXPECT_EQ(talk.reason.find_first_of("\n\r\x1b"), std::string::npos);
            seen.insert(talk.outcome);
        }
    }
    EXPECT_GE(seen.size(), 4u);  // the mutations are neither too tame nor too wild
}

const std::vector<Ask> kAsks{
    {.cookie = 1, .offset = 4096, .length = 1000},
    {.cookie = 2, .command = Command::write, .offset = 0, .length = 512},
    {.cookie = 3, .command = Command::block_status, .offset = 0, .length = 4096},
    {.cookie = 4, .offset = 0, .length = 300},
    {.cookie = 5, .offset = 512, .length = 256, .has_buffer = false},
    {.cookie = 6, .command = Command::flush},
};

std::string structured_session() {
    const std::vector<std::pair<std::uint32_t, std::uint32_t>> extents{{512, 3}, {4096, 0}};
    return data_chunk(1, 0, 4096, pattern(500)) + simple_reply(2, 0) + hole_chunk(1, 0, 4596, 100) +
           status_chunk(3, kDone, kContext, extents) +
           error_offset_chunk(4, 0, kErrorIo, "bad", 100) +
           data_chunk(1, kDone, 4696, pattern(400)) + hole_chunk(5, kDone, 512, 256) +
           error_chunk(4, kDone, kErrorIo) + none(6);
}

std::string simple_session() {
    return simple_reply(4, 0, pattern(300)) + simple_reply(2, 0) + simple_reply(1, kErrorIo) +
           simple_reply(5, 0, pattern(256)) + simple_reply(6, 0) + simple_reply(3, kErrorInvalid);
}

std::size_t longest_run(std::string_view text, char of) {
    std::size_t longest = 0;
    std::size_t run = 0;
    for (const char c : text) {
        run = c == of ? run + 1 : 0;
        longest = std::max(longest, run);
    }
    return longest;
}

void check(const Outcome& outcome) {
    std::set<std::uint64_t> cookies;
    for (const auto& [cookie, error] : outcome.finished) {
        EXPECT_TRUE(cookies.insert(cookie).second) << "finished twice: " << cookie;
        if (error == 0 && (cookie == 1 || cookie == 4)) {
            EXPECT_LT(longest_run(outcome.data.at(cookie), kUntouched), 40u)
                << "bytes of a successful read were not answered";
        }
    }
    EXPECT_EQ(outcome.finished.size() + outcome.outstanding, kAsks.size());
}

void damage(ReplyReader::Contract contract, const std::string& good) {
    std::mt19937 random(2);
    std::size_t survived = 0;
    for (int round = 0; round < kRounds; ++round) {
        const std::string server = mutated(good, random);
        if (!server.empty()) {
            const Outcome outcome = exchange(contract, kAsks, server);
            check(outcome);
            survived += outcome.reason.empty() ? 1 : 0;
        }
    }
    EXPECT_GT(survived, kRounds / 50u);
    EXPECT_LT(survived, kRounds * 9u / 10);
}

TEST(Mutation, OfStructuredRepliesStaysWithinTheBuffers) {
    damage(kWithStatus, structured_session());
}

TEST(Mutation, OfSimpleRepliesStaysWithinTheBuffers) {
    damage(kSimple, simple_session());
}

TEST(Mutation, UndamagedSessionsAreGood) {
    EXPECT_EQ(exchange(kWithStatus, kAsks, structured_session()).finished.size(), kAsks.size());
    EXPECT_EQ(exchange(kSimple, kAsks, simple_session()).finished.size(), kAsks.size());
}

}  // namespace
}  // namespace signpost::wire::test
