// SPDX-License-Identifier: BSD-3-Clause
#include "catalog/disk_name.h"

#include <gtest/gtest.h>

#include <random>

namespace signpost {
namespace {

using namespace std::string_literals;

void expect_refused(std::string_view name, std::string_view rule) {
    const auto parsed = DiskName::parse(name);
    ASSERT_FALSE(parsed) << name;
    EXPECT_EQ(parsed.error().code, Errc::invalid);
    EXPECT_NE(parsed.error().message.find(rule), std::string::npos) << parsed.error().message;
}

TEST(DiskName, KeepsItsText) {
    for (const auto* name : {"a", "web01/vda", "..a/b..", ".hidden", "a b", "été/ディスク", "a/b:c",
                             "web01/vda@2026-10-01T02:00", "-", "a\\b", "CON"})
        EXPECT_EQ(DiskName::parse(name).value().str(), name);
}

TEST(DiskName, RefusesEmptyName) {
    expect_refused("", "empty");
}

TEST(DiskName, RefusesEmptyComponent) {
    for (const auto* name : {"/", "/a", "a/", "a//b"})
        expect_refused(name, "a component is empty");
}

TEST(DiskName, RefusesDotComponent) {
    for (const auto* name : {".", "./a", "a/./b", "a/."})
        expect_refused(name, "\".\"");
}

TEST(DiskName, RefusesDotDotComponent) {
    for (const auto* name : {"..", "../a", "a/../b", "a/.."})
        expect_refused(name, "\"..\"");
}

TEST(DiskName, RefusesControlCharacters) {
    expect_refused("a\0b"s, "control");
    expect_refused("a\nb", "control");
    expect_refused("a\x7f", "control");
    expect_refused("a\xc2\x85z", "control");
}

TEST(DiskName, RefusesColonInFirstComponentOnly) {
    expect_refused("local:a", ":");
    expect_refused(":", ":");
    EXPECT_TRUE(DiskName::parse("a/local:b"));
}

TEST(DiskName, RefusesWhatIsNotUtf8) {
    for (const auto* name : {"\xff", "a\x80", "\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80",
                             "\xf4\x90\x80\x80", "\xe2\x82", "\xf8\x88\x80\x80\x80"})
        expect_refused(name, "UTF-8");
}

TEST(DiskName, HasAtMost1024Bytes) {
    EXPECT_TRUE(DiskName::parse(std::string(1024, 'a')));
    expect_refused(std::string(1025, 'a'), "1024");
}

TEST(DiskName, IsOrderedByBytes) {
    EXPECT_LT(DiskName::parse("Z").value(), DiskName::parse("a").value());
    EXPECT_LT(DiskName::parse("a").value(), DiskName::parse("é").value());
    EXPECT_LT(DiskName::parse("a-b").value(), DiskName::parse("a/b").value());
}

TEST(DiskName, ErrorQuotesTheNameOnOneShortLine) {
    const auto refused = DiskName::parse("\x1b[31m\n" + std::string(100'000, 'x'));
    ASSERT_FALSE(refused);
    EXPECT_LT(refused.error().message.size(), 400u);
    EXPECT_EQ(refused.error().message.find('\n'), std::string::npos);
    EXPECT_EQ(refused.error().message.find('\x1b'), std::string::npos);
}

TEST(ExportName, LocalPrefixMeansLocalOnly) {
    const auto name = ExportName::parse("local:web01/vda").value();
    EXPECT_TRUE(name.local_only);
    EXPECT_EQ(name.disk.str(), "web01/vda");
    EXPECT_FALSE(ExportName::parse("web01/vda").value().local_only);
}

TEST(ExportName, RefusesLocalPrefixTwiceAndAlone) {
    EXPECT_FALSE(ExportName::parse("local:local:a"));
    EXPECT_FALSE(ExportName::parse("local:"));
    EXPECT_FALSE(ExportName::parse("LOCAL:a"));
}

TEST(Escaped, LeavesPlainTextAlone) {
    EXPECT_EQ(escaped("web01/vda été"), "web01/vda été");
}

TEST(Escaped, ShowsControlCharactersAndBadBytesAsHex) {
    EXPECT_EQ(escaped("a\n\x1b\0z"s), "a\\x0a\\x1b\\x00z"s);
    EXPECT_EQ(escaped("\xff\xc3"), "\\xff\\xc3");
    EXPECT_EQ(escaped("\xc2\x9b"), "\\xc2\\x9b");
}

TEST(Escaped, ShowsDirectionControlsByNumber) {
    EXPECT_EQ(escaped("a\u202eb\u2066"), "a\\u{202e}b\\u{2066}");
}

TEST(Escaped, CutsBetweenCharacters) {
    EXPECT_EQ(escaped("abcdef", 6), "abcdef");
    EXPECT_EQ(escaped("abcdef", 5), "abcde...");
    EXPECT_EQ(escaped("aé", 2), "a...");
    EXPECT_EQ(escaped("a\n", 4), "a...");
    EXPECT_EQ(escaped("a", 0), "...");
}

std::string random_text(std::mt19937& random, std::string_view alphabet) {
    std::string text;
    for (auto left = random() % 24; left > 0; --left)
        text +=
            alphabet.empty() ? static_cast<char>(random()) : alphabet[random() % alphabet.size()];
    return text;
}

TEST(DiskName, WhateverItAcceptsKeepsTheRules) {
    std::mt19937 random(1);
    for (int round = 0; round < 20'000; ++round) {
        const std::string text = random_text(random, round % 2 ? "ab./:\x01\xc3\xa9" : "");
        const auto name = DiskName::parse(text);
        EXPECT_TRUE(is_utf8(escaped(text)));
        if (!name)
            continue;
        EXPECT_EQ(name->str(), text);
        EXPECT_TRUE(is_utf8(text));
        EXPECT_EQ(("/" + text + "/").find("/../"), std::string::npos);
        EXPECT_EQ(("/" + text + "/").find("//"), std::string::npos);
        EXPECT_TRUE(ExportName::parse("local:" + text).value().local_only);
    }
}

}  // namespace
}  // namespace signpost
