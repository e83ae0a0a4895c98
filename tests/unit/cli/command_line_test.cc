// SPDX-License-Identifier: BSD-3-Clause

#include "cli/command_line.h"

#include <gtest/gtest.h>

#include <iterator>
#include <sstream>

#include "cli/verb_table.h"

namespace signpost {
namespace {

const Defaults kDefaults{"sqlite:/catalog.db", "", "alpha"};

std::vector<std::string> words(const std::string& line) {
    std::istringstream stream(line);
    return {std::istream_iterator<std::string>(stream), {}};
}

Outcome<std::variant<Invocation, Answer>> parse(const std::string& line,
                                                const Defaults& defaults = kDefaults) {
    return parse_command_line(words(line), defaults);
}

// The verb of a good command line.
template <class V>
V verb(const std::string& line) {
    const auto parsed = parse(line);
    EXPECT_TRUE(parsed) << line << ": " << (parsed ? "" : parsed.error().message);
    return std::get<V>(std::get<Invocation>(parsed.value()).verb);
}

Options options(const std::string& line, const Defaults& defaults = kDefaults) {
    const auto parsed = parse(line, defaults);
    EXPECT_TRUE(parsed) << line << ": " << (parsed ? "" : parsed.error().message);
    return std::get<Invocation>(parsed.value()).options;
}

std::string help(const std::string& line) {
    const auto parsed = parse(line);
    return parsed ? std::get<Answer>(*parsed).text : "";
}

// A command line that has to be refused, and a word that the message has to have.
struct Refused {
    std::string line;
    std::string word;
};

void PrintTo(const Refused& refused, std::ostream* stream) {
    *stream << refused.line;
}

class Refusals : public testing::TestWithParam<Refused> {};

TEST_P(Refusals, AreUsageErrorsInOneLineThatNameTheWord) {
    const auto parsed = parse(GetParam().line);
    ASSERT_FALSE(parsed) << GetParam().line;
    EXPECT_EQ(parsed.error().code, ExitCode::usage);
    EXPECT_NE(parsed.error().message.find(GetParam().word), std::string::npos)
        << parsed.error().message;
    EXPECT_EQ(parsed.error().message.find('\n'), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(
    Lines, Refusals,
    testing::Values(
        Refused{"", "--help"}, Refused{"frobnicate", "frobnicate"},
        Refused{"ls --frobnicate", "--frobnicate"}, Refused{"ls a b", "b"},
        Refused{"ls --limit 0", "--limit"}, Refused{"ls --limit -1", "--limit"},
        Refused{"ls --limit 1x", "--limit"}, Refused{"ls --limit 99999999999999999999", "--limit"},
        Refused{"ls --limit", "--limit"}, Refused{"ls --json=xml", "--json"},
        Refused{"ls --color=red", "--color"}, Refused{"ls --catalog=", "--catalog"},
        Refused{"ls --server .hidden", "--server"}, Refused{"ls --server a/b", "--server"},
        Refused{"ls --yes", "--yes"}, Refused{"ls --uri nbd://a", "--uri"},
        Refused{"where", "DISK"}, Refused{"run a", "run what"}, Refused{"run a//b -- true", "a//b"},
        Refused{"where ../x", ".."}, Refused{"where a//b", "a//b"}, Refused{"where x:y", "x:y"},
        Refused{"where a --limit 2", "--limit"}, Refused{"where a b", "b"}, Refused{"uri", "DISK"},
        Refused{"info", "DISK"}, Refused{"find", "TEXT"}, Refused{"rm", "DISK"},
        Refused{"rm /a", "/a"}, Refused{"verify a ../b", ".."}, Refused{"add", "PATH"},
        Refused{"add x.raw --uri http://a", "http"},
        Refused{"add x.raw --uri nbd://a/export", "export"},
        Refused{"scan --uri nbd+ssh://a", "nbd+ssh"}, Refused{"servers frobnicate", "frobnicate"},
        Refused{"servers rm", "NAME"}, Refused{"servers rm -- -x", "-x"},
        Refused{"servers add a", "URI"}, Refused{"servers add a/b nbd://h", "a/b"},
        Refused{"servers add a nbd://h/export", "--foreign"},
        Refused{"servers add a nbd+ssh://-oProxyCommand=x/", "nbd+ssh"},
        Refused{"servers add a /etc/passwd", "/etc/passwd"},
        Refused{"servers add a nbd://h --priority x", "--priority"},
        Refused{"servers add a nbd://h --priority -1", "--priority"},
        Refused{"servers add a nbd://h --priority 1000001", "--priority"},
        Refused{"servers add a nbd://h --class best", "--class"}, Refused{"servers drain", "NAME"},
        Refused{"servers drain a --off --wait", "--wait"}, Refused{"sites cost a b", "COST"},
        Refused{"sites cost a b 10001", "10001"}, Refused{"sites cost a a 5", "within a site"},
        Refused{"sites cost a b -1", "-1"}, Refused{"copy a", "--to"},
        Refused{"copy --to b", "DISK"}, Refused{"copy a --to b/c", "--to"},
        Refused{"copy ../a --to b", ".."}, Refused{"copy a --to b --from b", "same server"},
        Refused{"move a --to b --rate 0", "--rate"}, Refused{"copy a --to b --rate M", "--rate"},
        Refused{"copy a --to b --rate 9999999T", "--rate"},
        Refused{"copy a --to b --limit 1", "--limit"}, Refused{"repair --copies 0", "--copies"},
        Refused{"repair --copies 17", "--copies"}, Refused{"jobs xyz", "xyz"},
        Refused{"sessions kill", "ID"}, Refused{"sessions kill x1", "x1"},
        Refused{"sessions --watch now", "now"}, Refused{"jobs cancel", "ID"},
        Refused{"jobs cancel 12", "12"}, Refused{"servers list x", "x"}, Refused{"status x", "x"},
        Refused{"doctor x", "x"}, Refused{"catalog", "catalog"}, Refused{"catalog drop", "drop"}));

TEST(CommandLine, EmptyWordsAreRefused) {
    for (const auto& line : std::vector<std::vector<std::string>>{{"where", ""},
                                                                  {"find", ""},
                                                                  {"rm", ""},
                                                                  {"servers", "rm", ""},
                                                                  {"ls", "--server", ""},
                                                                  {"ls", "--limit", ""},
                                                                  {"scan", "--uri", ""}}) {
        const auto parsed = parse_command_line(line, kDefaults);
        ASSERT_FALSE(parsed) << line.front();
        EXPECT_EQ(parsed.error().code, ExitCode::usage) << line.front();
    }
}

TEST(CommandLine, ControlCharactersDoNotReachTheTerminal) {
    const auto parsed = parse_command_line({"ls", "--\x1b[31m"}, kDefaults);
    ASSERT_FALSE(parsed);
    EXPECT_EQ(parsed.error().message.find('\x1b'), std::string::npos);
}

TEST(CommandLine, SiteIsPlainText) {
    for (const std::string& site : {std::string(129, 's'), std::string("a\nb")}) {
        EXPECT_FALSE(
            parse_command_line({"servers", "add", "a", "nbd://h", "--site", site}, kDefaults));
    }
    EXPECT_TRUE(
        parse_command_line({"servers", "add", "a", "nbd://h", "--site", "hall 2"}, kDefaults));
}

TEST(CommandLine, OptionsStandBeforeAndAfterTheVerb) {
    EXPECT_EQ(options("--json ls").json, JsonMode::whole);
    EXPECT_EQ(options("ls --json").json, JsonMode::whole);
    EXPECT_EQ(options("ls web --json=lines").json, JsonMode::lines);
    EXPECT_EQ(options("--catalog x.db servers list").catalog, "x.db");
    EXPECT_EQ(options("servers list --catalog x.db").catalog, "x.db");
}

TEST(CommandLine, JsonDoesNotTakeTheNextWord) {
    EXPECT_EQ(verb<WhereVerb>("where --json lines").disk.str(), "lines");
}

TEST(CommandLine, ADiskMayBeCalledAsAVerb) {
    EXPECT_EQ(verb<WhereVerb>("where ls").disk.str(), "ls");
    EXPECT_EQ(verb<InfoVerb>("info servers").disk.str(), "servers");
}

TEST(CommandLine, ADiskMayBeginWithADashAfterTwo) {
    EXPECT_EQ(verb<WhereVerb>("where -- -x").disk.str(), "-x");
}

TEST(CommandLine, AliasesAreTheSameVerb) {
    EXPECT_EQ(verb<ListVerb>("list web").pattern, "web");
    EXPECT_EQ(verb<WhereVerb>("which web").disk.str(), "web");
    verb<ServersListVerb>("servers");
}

TEST(CommandLine, ServersAddHasItsDefaults) {
    const auto add = verb<ServersAddVerb>("servers add vault nbd://127.0.0.1:10810 --foreign");
    EXPECT_EQ(add.name, "vault");
    EXPECT_EQ(add.uri.port, 10810);
    EXPECT_TRUE(add.foreign);
    EXPECT_EQ(add.priority, std::nullopt);
    EXPECT_EQ(add.site, std::nullopt);
}

TEST(CommandLine, ServersDrainAndSites) {
    const auto drain = verb<ServersDrainVerb>("servers drain beta --wait");
    EXPECT_EQ(drain.name, "beta");
    EXPECT_TRUE(drain.wait);
    EXPECT_FALSE(drain.off);
    EXPECT_EQ(verb<ServersAddVerb>("servers add a nbd://h --class site-low").priority_class,
              PriorityClass::site_low);
    verb<SitesListVerb>("sites");
    EXPECT_EQ(verb<SitesCostVerb>("sites cost attic cellar 10").cost,
              (SiteCost{"attic", "cellar", 10}));
    EXPECT_LT(verb<SitesCostVerb>("sites cost attic cellar default").cost.cost, 0);
}

TEST(CommandLine, AForeignUriMayNameAnExport) {
    EXPECT_EQ(verb<ServersAddVerb>("servers add v nbd://h/disk --foreign").uri.export_name, "disk");
}

TEST(CommandLine, ServerComesFromOptionThenEnvironmentThenHost) {
    EXPECT_EQ(options("ls").own_server, "alpha");
    const Defaults environment{"c", "beta", "alpha"};
    EXPECT_EQ(options("ls", environment).own_server, "beta");
    EXPECT_FALSE(options("ls", environment).server_given);
    EXPECT_EQ(options("ls --server gamma", environment).own_server, "gamma");
    EXPECT_TRUE(options("ls --server gamma", environment).server_given);
}

TEST(CommandLine, ABadServerInTheEnvironmentIsNamed) {
    const auto parsed = parse("ls", {"c", "a/b", "alpha"});
    ASSERT_FALSE(parsed);
    EXPECT_NE(parsed.error().message.find("SIGNPOST_SERVER"), std::string::npos);
}

TEST(CommandLine, AStrangeHostNameDisturbsNobodyWhoDoesNotUseIt) {
    EXPECT_EQ(options("ls", {"c", "", "a b"}).own_server, "a b");
}

TEST(CommandLine, ColumnsAreCutAtCommas) {
    EXPECT_EQ(options("ls -o disk,size").table.columns, (std::vector<std::string>{"disk", "size"}));
    EXPECT_TRUE(options("ls -H").table.tabs);
}

TEST(CommandLine, PriorityZeroIsThere) {
    EXPECT_EQ(verb<ServersAddVerb>("servers add a nbd://h --priority 0").priority, 0);
}

TEST(CommandLine, JobsAreWishedFor) {
    const auto copy = verb<CopyVerb>("copy vm/a --to beta --from alpha --rate 50M --detach");
    EXPECT_EQ(copy.disk.str(), "vm/a");
    EXPECT_EQ(copy.wish.kind, JobKind::copy);
    EXPECT_EQ(copy.wish.target, "beta");
    EXPECT_EQ(copy.wish.source, "alpha");
    EXPECT_EQ(copy.wish.rate, 50u << 20);
    EXPECT_TRUE(copy.detach);
    EXPECT_EQ(verb<CopyVerb>("move vm/a --to beta").wish.kind, JobKind::move);
    EXPECT_EQ(verb<RepairVerb>("repair 'db/*' --copies 2").copies, 2u);
    EXPECT_EQ(verb<JobsVerb>("jobs").id, "");
    EXPECT_EQ(verb<JobsVerb>("jobs 1f0c").id, "1f0c");
    EXPECT_EQ(verb<JobsCancelVerb>("jobs cancel 1f0c").id, "1f0c");
    EXPECT_TRUE(verb<SessionsVerb>("sessions --watch").watch);
    EXPECT_EQ(verb<SessionsKillVerb>("sessions kill 17 --yes").id, 17u);
}

TEST(CommandLine, RunTakesAllBehindTheTwoDashesAsTheProgram) {
    const auto run = verb<RunVerb>("run vm/a --cow -- ls --json -- --cow");
    EXPECT_EQ(run.disk.str(), "vm/a");
    EXPECT_TRUE(run.cow);
    EXPECT_EQ(run.command, words("ls --json -- --cow"));
}

TEST(Help, NamesEveryVerb) {
    for (const VerbInfo& info : all_verbs()) {
        EXPECT_NE(help("--help").find("\n  " + std::string(info.name)), std::string::npos)
            << info.name;
    }
}

TEST(Help, OfAVerbHasExamplesAndOnlyItsOptions) {
    for (const VerbInfo& info : all_verbs()) {
        const std::string text = help(std::string(info.name) + " --help");
        EXPECT_NE(text.find("usage: signpost " + std::string(info.name)), std::string::npos);
        EXPECT_NE(text.find("examples:\n  signpost "), std::string::npos) << info.name;
        EXPECT_EQ(text.find("--limit") != std::string::npos, takes_option(info, "limit"))
            << info.name;
    }
}

TEST(Help, ExamplesAreGoodCommandLines) {
    for (const VerbInfo& info : all_verbs()) {
        EXPECT_TRUE(info.examples.starts_with("signpost ")) << info.name;
        EXPECT_TRUE(info.examples.ends_with('\n')) << info.name;
    }
}

TEST(Help, VersionIsTheProjects) {
    EXPECT_TRUE(help("--version").starts_with("signpost "));
}

TEST(CommandLine, SaysWhichFilesAreRestorePoints) {
    const auto usual = verb<ScanVerb>("scan /srv").points;
    EXPECT_EQ(usual.name_of("web01/vda-2026-11-20"), "web01/vda@2026-11-20");
    EXPECT_TRUE(usual.chains());
    const auto own = verb<ScanVerb>("scan /srv --points {disk}_%d.%m.%Y --points chains").points;
    EXPECT_EQ(own.name_of("web01/vda_20.11.2026"), "web01/vda@2026-11-20");
    EXPECT_EQ(own.name_of("web01/vda-2026-11-20"), std::nullopt);
    EXPECT_TRUE(own.chains());
    const auto none = verb<AddVerb>("add /srv/vda-2026-11-20.raw --points off").points;
    EXPECT_EQ(none.name_of("vda-2026-11-20"), std::nullopt);
    EXPECT_FALSE(none.chains());
}

TEST(CommandLine, RefusesAPatternWithoutADiskOrADate) {
    for (const char* line : {"scan /srv --points {disk}", "scan /srv --points x-{date}",
                             "scan /srv --points off --points {disk}-{date}"}) {
        const auto parsed = parse(line);
        ASSERT_FALSE(parsed) << line;
        EXPECT_EQ(parsed.error().code, ExitCode::usage);
        EXPECT_NE(parsed.error().message.find("--points"), std::string::npos)
            << parsed.error().message;
    }
}

TEST(CommandLine, ListsRestorePointsOfAllDisksOrOne) {
    EXPECT_TRUE(verb<ListVerb>("ls --points").points);
    EXPECT_EQ(verb<ListVerb>("ls --points web01/vda").pattern, "web01/vda");
    EXPECT_FALSE(verb<ListVerb>("ls web01/vda").points);
}

}  // namespace
}  // namespace signpost
