// SPDX-License-Identifier: BSD-3-Clause
//
// Reads with a landing. That they bring the same as reads into a buffer, exchange.h looks at with
// every exchange of the other tests.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "nbd-server/wire/reply_reader.h"
#include "tests/unit/wire/exchange.h"

namespace signpost::wire::test {
namespace {

constexpr std::uint64_t kOffset = 65536;
constexpr std::uint32_t kLarge = 100'000;

// Writes down what it is told.
class Witness final : public Landing {
   public:
    std::byte* data(std::uint64_t offset, std::uint32_t length,
                    std::span<const std::byte> begun) override {
        told += "data " + std::to_string(offset) + "+" + std::to_string(length) + ";";
        first_bytes = begun.size();
        return place;
    }
    void hole(std::uint64_t offset, std::uint32_t length) override {
        told += "hole " + std::to_string(offset) + "+" + std::to_string(length) + ";";
    }

    std::string told;
    std::size_t first_bytes = 0;
    std::byte* place = nullptr;
};

class Landings : public testing::Test {
   protected:
    void ask(std::uint32_t length) {
        Pending pending{Command::read, kOffset, length};
        pending.landing = &witness_;
        reader_.expect(1, pending);
    }

    void say(std::string_view bytes) {
        while (!bytes.empty() && reader_.apart().landing == nullptr && !reader_.broken()) {
            receive(reader_, bytes, bytes.size(), finished_);
        }
        left_ = bytes;
    }

    Witness witness_;
    ReplyReader reader_{kStructuredReplies};
    std::vector<ReplyReader::Finished> finished_;
    std::string_view left_;  // what the reader would not take
};

TEST_F(Landings, LargePayloadNeverEntersTheReader) {
    ask(kLarge);
    const std::string server = data_chunk(1, kDone, kOffset, pattern(kLarge));
    say(server);
    EXPECT_EQ(left_.size(), kLarge);
    EXPECT_EQ(witness_.first_bytes, 0U);
    EXPECT_EQ(reader_.apart().left, kLarge);
    reader_.moved(kLarge, finished_);
    EXPECT_EQ(finished_.size(), 1U);
}

TEST_F(Landings, LargePayloadOfASimpleReplyNeverEntersTheReader) {
    reader_ = ReplyReader(kSimple);
    ask(kLarge);
    const std::string server = simple_reply(1, 0, pattern(kLarge));
    say(server);
    EXPECT_EQ(left_.size(), kLarge);
    EXPECT_EQ(reader_.apart().left, kLarge);
}

TEST_F(Landings, SmallPayloadsAreTakenTogether) {
    ask(4);
    const std::string server = data_chunk(1, kDone, kOffset, "abcd");
    say(server);
    EXPECT_EQ(witness_.first_bytes, 4U);
    EXPECT_EQ(reader_.apart().landing, nullptr);
    EXPECT_EQ(finished_.size(), 1U);
}

TEST_F(Landings, AreToldOfHoles) {
    ask(8);
    say(hole_chunk(1, kDone, kOffset, 8));
    EXPECT_EQ(witness_.told, "hole 65536+8;");
    EXPECT_EQ(finished_.size(), 1U);
}

TEST_F(Landings, AreNotToldOfWhatIsNotTheirs) {
    ask(8);
    say(data_chunk(1, 0, kOffset + 4, "abcdefgh"));
    EXPECT_TRUE(reader_.broken());
    EXPECT_EQ(witness_.told, "");
}

TEST_F(Landings, AreNotToldOfTheSameTwice) {
    std::string place(8, '\0');
    witness_.place = reinterpret_cast<std::byte*>(place.data());
    ask(8);
    say(data_chunk(1, 0, kOffset, "abcdefgh") + hole_chunk(1, kDone, kOffset, 8));
    EXPECT_TRUE(reader_.broken());
    EXPECT_EQ(witness_.told, "data 65536+8;");
}

TEST_F(Landings, MayTakeTheRestIntoMemoryAfterAll) {
    ask(kLarge);
    const std::string payload = pattern(kLarge);
    const std::string server = data_chunk(1, kDone, kOffset, payload);
    say(server);
    reader_.moved(60'000, finished_);
    std::string rest(40'000, '\0');
    reader_.land(reinterpret_cast<std::byte*>(rest.data()));
    EXPECT_EQ(reader_.apart().landing, nullptr);
    say(std::string_view(server).substr(server.size() - 40'000));
    EXPECT_EQ(rest, payload.substr(60'000));
    EXPECT_EQ(finished_.size(), 1U);
}

TEST_F(Landings, AbandonedAreForgottenInTheMiddleOfAPayload) {
    ask(kLarge);
    const std::string server = data_chunk(1, 0, kOffset, pattern(50'000)) +
                               data_chunk(1, kDone, kOffset + 50'000, pattern(50'000));
    say(server);
    reader_.moved(20'000, finished_);
    reader_.abandon(1);
    EXPECT_EQ(reader_.apart().landing, nullptr);
    say(left_.substr(20'000));
    EXPECT_EQ(witness_.told, "data 65536+50000;");
    EXPECT_EQ(reader_.outstanding(), 0U);
    EXPECT_TRUE(finished_.empty());
    EXPECT_FALSE(reader_.broken());
}

TEST_F(Landings, ErrorBehindTheDataFailsTheRead) {
    ask(4);
    say(data_chunk(1, 0, kOffset, "abcd") + error_chunk(1, kDone, 5));
    ASSERT_EQ(finished_.size(), 1U);
    EXPECT_EQ(finished_[0].pending.error, 5U);
}

TEST_F(Landings, LongErrorIsReadWhileLargePayloadsAreAwaited) {
    ask(kLarge);
    say(error_chunk(1, kDone, 5, std::string(4000, 'x')));
    ASSERT_EQ(finished_.size(), 1U);
    EXPECT_EQ(finished_[0].pending.error, 5U);
}

}  // namespace
}  // namespace signpost::wire::test
