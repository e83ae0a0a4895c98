// SPDX-License-Identifier: BSD-3-Clause
//
// The small parts: ByteReader, wire structs, text, Coverage, CookieTable.
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <vector>

#include "nbd-server/wire/byte_reader.h"
#include "nbd-server/wire/cookie_table.h"
#include "nbd-server/wire/coverage.h"
#include "nbd-server/wire/reply_reader.h"
#include "nbd-server/wire/text.h"
#include "tests/unit/wire/bytes.h"

namespace signpost::wire::test {
namespace {

TEST(ByteReader, TakesBigEndianValuesInOrder) {
    const std::string bytes =
        Bytes().u16(0x0102).u32(0x03040506).u64(0x0708090a0b0c0d0e).text("xy");
    ByteReader reader(bytes);
    EXPECT_EQ(reader.take_u16(), 0x0102);
    EXPECT_EQ(reader.take_u32(), 0x03040506u);
    EXPECT_EQ(reader.take_u64(), 0x0708090a0b0c0d0eu);
    EXPECT_EQ(reader.take_text(1), "x");
    EXPECT_EQ(reader.take_rest(), "y");
    EXPECT_TRUE(reader.ok());
    EXPECT_EQ(reader.left(), 0u);
}

TEST(ByteReader, GivesZeroAndFailsForGoodPastTheEnd) {
    ByteReader reader(std::string_view("abc"));
    EXPECT_EQ(reader.take_u32(), 0u);
    EXPECT_FALSE(reader.ok());
    EXPECT_EQ(reader.left(), 3u);
    EXPECT_EQ(reader.take_u16(), 0x6162);
    EXPECT_FALSE(reader.ok());
}

TEST(ByteReader, RefusesALengthThatWouldWrap) {
    ByteReader reader(std::string_view("abc"));
    reader.take_text(1);
    EXPECT_EQ(reader.take_text(~std::size_t{0}), "");
    EXPECT_FALSE(reader.ok());
}

TEST(AppendRequest, IsThe28BytesOfTheProtocol) {
    std::string out = "before";
    append_request(out, Command::write_zeroes, kCommandFua, 0x1122334455667788, 0x99aabbccddeeff00,
                   0x01020304);
    EXPECT_EQ(out, "before" + Bytes()
                                  .u32(0x25609513)
                                  .u16(1)
                                  .u16(6)
                                  .u64(0x1122334455667788)
                                  .u64(0x99aabbccddeeff00)
                                  .u32(0x01020304)
                                  .str());
}

TEST(ProtocolString, AcceptsUtf8OfEveryLength) {
    EXPECT_TRUE(is_protocol_string(""));
    EXPECT_TRUE(is_protocol_string("plain"));
    EXPECT_TRUE(is_protocol_string("\xc2\x80 \xdf\xbf \xe0\xa0\x80 \xed\x9f\xbf \xee\x80\x80"));
    EXPECT_TRUE(is_protocol_string("\xf0\x90\x80\x80 \xf4\x8f\xbf\xbf"));
    EXPECT_TRUE(is_protocol_string(std::string(4096, 'x')));
}

TEST(ProtocolString, RefusesWhatIsNotUtf8) {
    for (const std::string_view bad :
         {"\x80", "\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf",
          "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "\xc2", "\xe2\x82", "\xc2 "}) {
        EXPECT_FALSE(is_protocol_string(bad)) << quoted(bad);
    }
}

TEST(ProtocolString, RefusesNulAndExcessLength) {
    EXPECT_FALSE(is_protocol_string(std::string_view("a\0b", 3)));
    EXPECT_FALSE(is_protocol_string(std::string(4097, 'x')));
}

TEST(Quoted, EscapesWhatATerminalWouldObey) {
    EXPECT_EQ(quoted("a\"b\\c\n\x1b[0m\x7f\xc3\xa9"), R"("a\"b\\c\x0a\x1b[0m\x7f\xc3\xa9")");
}

TEST(Quoted, CutsAtTheLimit) {
    EXPECT_EQ(quoted("abcd", 4), "\"abcd\"");
    EXPECT_EQ(quoted("abcde", 4), "\"abcd...\"");
}

TEST(Coverage, OneChunkForAllCompletesIt) {
    Coverage coverage;
    coverage.reset(100);
    EXPECT_FALSE(coverage.complete());
    EXPECT_EQ(coverage.add(0, 100), Coverage::Verdict::added);
    EXPECT_TRUE(coverage.complete());
    EXPECT_EQ(coverage.add(0, 1), Coverage::Verdict::overlaps);
}

TEST(Coverage, NothingToCoverIsComplete) {
    Coverage coverage;
    coverage.reset(0);
    EXPECT_TRUE(coverage.complete());
}

TEST(Coverage, AgreesWithABitmapOnRandomParts) {
    std::mt19937 random(7);
    for (int round = 0; round < 200; ++round) {
        const std::uint32_t length = 1 + random() % 300;
        std::vector<bool> bitmap(length, false);
        Coverage coverage;
        coverage.reset(length);
        for (int i = 0; i < 200; ++i) {
            const std::uint32_t begin = random() % length;
            const std::uint32_t size =
                1 + random() % std::min<std::uint32_t>(length - begin, 1 + random() % 20);
            const auto first = bitmap.begin() + begin;
            const bool free = std::find(first, first + size, true) == first + size;
            ASSERT_EQ(coverage.add(begin, size),
                      free ? Coverage::Verdict::added : Coverage::Verdict::overlaps);
            if (free) {
                std::fill(first, first + size, true);
            }
            ASSERT_EQ(coverage.complete(),
                      std::find(bitmap.begin(), bitmap.end(), false) == bitmap.end());
        }
    }
}

TEST(Coverage, BoundsItsMemory) {
    Coverage coverage;
    coverage.reset(0xffffffff);
    for (std::uint32_t i = 0; i < Coverage::kMaxParts; ++i) {
        ASSERT_EQ(coverage.add(2 * i, 1), Coverage::Verdict::added);
    }
    EXPECT_EQ(coverage.add(2 * Coverage::kMaxParts, 1), Coverage::Verdict::too_many);
    EXPECT_EQ(coverage.add(1, 1), Coverage::Verdict::added);  // joins two: makes room
    EXPECT_EQ(coverage.add(2 * Coverage::kMaxParts, 1), Coverage::Verdict::added);
}

TEST(Coverage, ReachesTheEndOfTheLargestRead) {
    Coverage coverage;
    coverage.reset(0xffffffff);
    EXPECT_EQ(coverage.add(0xfffffffe, 1), Coverage::Verdict::added);
    EXPECT_EQ(coverage.add(0, 0xfffffffe), Coverage::Verdict::added);
    EXPECT_TRUE(coverage.complete());
}

TEST(CookieTable, AgreesWithAMapOnRandomUse) {
    std::mt19937_64 random(11);
    CookieTable table;
    std::map<std::uint64_t, std::uint32_t> model;
    for (std::uint32_t i = 0; i < 50000; ++i) {
        // Few distinct cookies with many shared low bits: long probes, frequent removal.
        const std::uint64_t cookie = (random() % 700) << 40;
        const auto known = model.find(cookie);
        ASSERT_EQ(table.find(cookie), known == model.end() ? CookieTable::kNone : known->second);
        if (known == model.end()) {
            table.insert(cookie, i);
            model.emplace(cookie, i);
        } else {
            table.erase(cookie);
            model.erase(known);
        }
        ASSERT_EQ(table.size(), model.size());
    }
    for (const auto& [cookie, slot] : model) {
        ASSERT_EQ(table.find(cookie), slot);
    }
}

TEST(Displayable, WhatIsShownToAHumanHasNoControlsAndNoTurnOfDirection) {
    EXPECT_EQ(displayable("\x01\x1b\x7f"), "\\x01\\x1b\\x7f");
    EXPECT_EQ(displayable("\xc2\x85 \xe2\x80\xae \xe2\x81\xa6"),
              "\\xc2\\x85 \\xe2\\x80\\xae \\xe2\\x81\\xa6");
    EXPECT_EQ(displayable("gr\xc3\xbc\xc3\x9f dich, \xe4\xb8\x96"),
              "gr\xc3\xbc\xc3\x9f dich, \xe4\xb8\x96");
    EXPECT_EQ(displayable(std::string_view("a\0b\xff", 4)), "a\\x00b\\xff");
    EXPECT_EQ(displayable(""), "");
}

TEST(Displayable, WhatIsShownToAHumanIsCutBetweenCharacters) {
    const std::string euro = "\xe2\x82\xac";
    char room[10];
    const std::string four = euro + euro + euro + euro;
    EXPECT_EQ(std::string(room, write_displayable(room, four)), euro + euro + "...");
    EXPECT_EQ(std::string(room, write_displayable(room, "0123456789")), "0123456789");
    EXPECT_EQ(std::string(room, write_displayable(room, "0123456789a")), "0123456...");
    EXPECT_EQ(write_displayable({}, "words"), 0u);
    EXPECT_EQ(displayable(std::string(4096, 'w')), std::string(4096, 'w'));
    EXPECT_EQ(displayable(std::string(4097, 'w')), std::string(4093, 'w') + "...");
    EXPECT_EQ(displayable(std::string(4096, '\n')).size(), 4092u + 3);
}

}  // namespace
}  // namespace signpost::wire::test
