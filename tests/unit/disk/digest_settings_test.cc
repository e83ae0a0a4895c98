// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/digest_settings.h"

#include <gtest/gtest.h>

namespace signpost::test {
namespace {

TEST(DigestRate, IsANumberOfBytesWithOrWithoutAUnit) {
    EXPECT_EQ(*parse_digest_rate("64M"), std::uint64_t{64} << 20);
    EXPECT_EQ(*parse_digest_rate("1GiB"), std::uint64_t{1} << 30);
    EXPECT_EQ(*parse_digest_rate("4096"), 4096U);
    EXPECT_EQ(*parse_digest_rate("0"), 0U);
    EXPECT_EQ(*parse_digest_rate("off"), 0U);
    EXPECT_EQ(*parse_digest_rate("1T"), std::uint64_t{1} << 40);
    for (const char* text : {"", "M", "-1", "2T", "64X", "64MB/s", "1.5G", "9999999999999"}) {
        EXPECT_FALSE(parse_digest_rate(text)) << text;
    }
}

TEST(Scrub, IsATimeWithItsUnit) {
    EXPECT_EQ(*parse_scrub("7d"), std::chrono::seconds(7 * 24 * 3600));
    EXPECT_EQ(*parse_scrub("90s"), std::chrono::seconds(90));
    EXPECT_EQ(*parse_scrub("off"), std::chrono::seconds(0));
    for (const char* text : {"", "7", "d", "0d", "4000d", "7w", "-1d", "7dd"}) {
        EXPECT_FALSE(parse_scrub(text)) << text;
    }
}

TEST(VerifyWord, IsOneOfThree) {
    EXPECT_EQ(*parse_verify("relay"), Verify::relay);
    EXPECT_EQ(*parse_verify("require"), Verify::require);
    EXPECT_EQ(*parse_verify("off"), Verify::off);
    EXPECT_FALSE(parse_verify("on"));
}

}  // namespace
}  // namespace signpost::test
