// SPDX-License-Identifier: BSD-3-Clause

#include "libvirt-pool/pool_command_line.h"

#include <gtest/gtest.h>

namespace signpost::test {

using Words = std::vector<std::string>;

template <class Verb>
Verb parsed(const Words& words) {
    const auto result = parse_pool_command_line(words);
    EXPECT_TRUE(result) << (result ? "" : result.error().message);
    return std::get<Verb>(std::get<PoolInvocation>(*result).verb);
}

TEST(PoolCommandLine, OptionsMayStandAnywhere) {
    for (const Words& words : {Words{"--pool", "web", "sync", "--dry-run"},
                               Words{"sync", "--dry-run", "--pool", "web"}}) {
        const auto result = parse_pool_command_line(words);
        ASSERT_TRUE(result);
        const auto& options = std::get<PoolInvocation>(*result).options;
        EXPECT_EQ(options.pool, "web");
        EXPECT_TRUE(options.dry_run);
    }
}

TEST(PoolCommandLine, Recover) {
    const auto verb = parsed<RecoverVerb>(
        {"recover", "web01/vda", "web01/vdb", "--name", "web01", "--memory", "4096", "--isolated"});
    ASSERT_EQ(verb.disks.size(), 2U);
    EXPECT_EQ(verb.disks[1].str(), "web01/vdb");
    EXPECT_EQ(verb.machine, "web01");
    EXPECT_EQ(verb.memory_mib, 4096U);
    EXPECT_TRUE(verb.isolated);
    EXPECT_EQ(verb.bus, "sata");
}

TEST(PoolCommandLine, SyncAsksLibvirtUnlessTold) {
    EXPECT_FALSE(parsed<SyncVerb>({"sync"}).offline);
    EXPECT_TRUE(parsed<SyncVerb>({"sync", "--offline"}).offline);
}

TEST(PoolCommandLine, RateIsInMebibytes) {
    EXPECT_EQ(parsed<HydrateVerb>({"hydrate", "a"}).rate, 0U);
    EXPECT_EQ(parsed<HydrateVerb>({"hydrate", "a", "--rate", "50"}).rate, 50U * 1024 * 1024);
}

TEST(PoolCommandLine, Attach) {
    const auto verb = parsed<AttachVerb>({"attach", "vm", "a/b", "--readonly", "--bus", "scsi"});
    EXPECT_EQ(verb.machine, "vm");
    EXPECT_EQ(verb.disk.str(), "a/b");
    EXPECT_TRUE(verb.read_only);
}

TEST(PoolCommandLine, BadWordsAreRefusedInALine) {
    for (const Words& words :
         {Words{}, Words{"sink"}, Words{"recover", "a"}, Words{"recover", "--name", "x"},
          Words{"recover", "/a", "--name", "x"}, Words{"hydrate", "a", "--rate", "0"},
          Words{"hydrate", "a", "--rate", "1x"}, Words{"hydrate", "a", "--rate", "99999999999"},
          Words{"sync", "--via", "http://x"}, Words{"sync", "--color", "red"},
          Words{"recover", "a", "--name", "x", "--memory", "-1"},
          Words{"recover", "a", "--name", "x", "--firmware", "uefi"}}) {
        const auto refused = parse_pool_command_line(words);
        ASSERT_FALSE(refused) << testing::PrintToString(words);
        EXPECT_EQ(refused.error().code, ExitCode::usage);
        EXPECT_EQ(refused.error().message.find('\n'), std::string::npos);
    }
}

TEST(PoolCommandLine, HelpShowsAVerbsExamples) {
    for (const char* verb : {"define", "sync", "watch", "status", "repair", "attach", "recover",
                             "hydrate", "commit", "resume", "abandon"}) {
        const auto help = parse_pool_command_line({verb, "--help"});
        ASSERT_TRUE(help) << verb;
        const std::string& text = std::get<std::string>(*help);
        EXPECT_NE(text.find(std::string("signpost-pool ") + verb), std::string::npos) << text;
    }
}

}  // namespace signpost::test
