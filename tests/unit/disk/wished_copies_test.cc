// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/wished_copies.h"

#include <gtest/gtest.h>

namespace signpost::test {
namespace {

std::string refusal(std::string_view text) {
    const auto parsed = parse_wished_copies(text, "f.toml");
    return parsed ? "none" : parsed.error().message;
}

TEST(WishedCopies, AreReadInOrderAndOtherKeysPassedOver) {
    const auto parsed = parse_wished_copies(
        "listen = \":1\"\n[limits]\ncopies = \"off\"\n[[copies]]\ndisks = \"db/*\"\ncopies = 2\n"
        "[[copies]]\ncopies = 1\ndisks = \"*\"\n",
        "f.toml");
    ASSERT_TRUE(parsed) << parsed.error().message;
    EXPECT_EQ(*parsed, (std::vector<WishedCopies>{{"db/*", 2}, {"*", 1}}));
    EXPECT_TRUE(parse_wished_copies("", "f.toml")->empty());
}

TEST(WishedCopies, MistakesHaveTheirPlace) {
    EXPECT_EQ(refusal("[[copies]]\ndisk = \"*\"\n"),
              "f.toml:2:1: unknown key disk in [[copies]]; it has disks and copies");
    EXPECT_TRUE(refusal("[[copies]]\ncopies = 2\n").starts_with("f.toml:1:1: copies: disks"));
    EXPECT_TRUE(refusal("[[copies]]\ndisks = \"*\"\ncopies = 17\n").starts_with("f.toml:1:1: "));
    EXPECT_TRUE(refusal("copies = \"off\"\n").starts_with("f.toml:1:10: copies: begin each"));
    EXPECT_TRUE(refusal("copies = [1]\n").starts_with("f.toml:1:10: "));
    EXPECT_TRUE(refusal("[[[").starts_with("f.toml:1:"));
}

}  // namespace
}  // namespace signpost::test
