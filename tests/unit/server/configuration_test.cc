// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/server/configuration.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <sstream>

#include "nbd-server/server/configuration_options.h"
#include "nbd-server/server/configuration_values.h"
#include "tests/unit/disk/programs.h"

namespace signpost::test {
namespace {

ServerEnvironment environment() {
    ServerEnvironment environment;
    environment.directory = "/base";
    return environment;
}

ServerConfiguration good(const Words& words, const ServerEnvironment& from = environment()) {
    auto result = configure(words, from);
    if (const auto* answer = std::get_if<ServerAnswer>(&result)) {
        ADD_FAILURE() << answer->errors << answer->output;
        return {};
    }
    return std::get<ServerConfiguration>(result);
}

ServerAnswer answer(const Words& words, const ServerEnvironment& from = environment()) {
    auto result = configure(words, from);
    if (!std::holds_alternative<ServerAnswer>(result)) {
        ADD_FAILURE() << "was accepted";
        return {};
    }
    return std::get<ServerAnswer>(result);
}

class ConfigurationFile : public testing::Test {
   protected:
    std::string file(const std::string& text, const std::string& name = "s.toml") {
        write_file(directory_.path(name), text);
        return directory_.path(name);
    }

    ServerConfiguration read(const std::string& text, Words more = {}) {
        more.insert(more.end(), {"--config", file(text)});
        return good(more);
    }

    // The mistakes, without the directory of the file.
    std::string mistakes(const std::string& text) {
        const ServerAnswer refused = answer({"--config", file(text)});
        EXPECT_EQ(refused.status, 2);
        std::string errors = refused.errors;
        const std::string prefix = directory_.path() + "/";
        for (std::size_t at; (at = errors.find(prefix)) != errors.npos;) {
            errors.erase(at, prefix.size());
        }
        return errors;
    }

    void expect_mistake(const std::string& text, const std::string& line) {
        const std::string errors = mistakes(text);
        EXPECT_NE(errors.find(line), std::string::npos) << errors;
    }

    TempDirectory directory_;
};

TEST(CommandLine, DefaultsServeOnThePortOfNbd) {
    const auto c = good({});
    ASSERT_EQ(c.listen.size(), 1U);
    EXPECT_EQ(c.listen.front().str(), ":10809");
    EXPECT_EQ(c.tls.mode, DoorTls::off);
    EXPECT_EQ(c.federation.relay.tls.mode, wire::TlsMode::off);
    EXPECT_FALSE(c.access.writable);
    EXPECT_EQ(c.limits.max_sessions, 16384U);
    EXPECT_EQ(c.limits.max_sessions_per_address, 0U);
    EXPECT_EQ(c.limits.memory, 512U << 20);
    EXPECT_EQ(c.federation.relay.limits.request, std::chrono::seconds(12));
    EXPECT_EQ(c.federation.relay.limits.connections, 4U);
}

// Words with spaces between them.
Words words_of(const std::string& text) {
    std::istringstream stream(text);
    Words words;
    for (std::string word; stream >> word;) {
        words.push_back(word);
    }
    return words;
}

TEST(CommandLine, WhatIsServedArrives) {
    const auto c =
        good(words_of("--repository a --repository=/b/ --catalog c.db --server alpha "
                      "--uri nbd://alpha.example --site north --priority 7 --writable "
                      "--block-devices --listen 127.0.0.1:0 --listen unix:s"));
    EXPECT_EQ(c.federation.repositories, (std::vector<std::string>{"/base/a", "/b"}));
    EXPECT_EQ(c.federation.catalog_url, "sqlite:/base/c.db");
    EXPECT_EQ(c.federation.server, "alpha");
    EXPECT_EQ(c.federation.uri, "nbd://alpha.example");
    EXPECT_EQ(c.federation.site, "north");
    EXPECT_EQ(c.federation.priority, 7);
    EXPECT_TRUE(c.federation.repository_options.writable && c.access.writable);
    EXPECT_TRUE(c.federation.repository_options.block_devices);
    EXPECT_EQ(c.listen.at(0).str(), "127.0.0.1:0");
    EXPECT_EQ(c.listen.at(1).str(), "unix:/base/s");
}

TEST(CommandLine, LimitsArrive) {
    const auto c = good(words_of(
        "--peer-timeout 2 --connections 9 --privileged-ports "
        "--max-sessions 100 --max-sessions-per-address 7 --memory 1G --handshake-timeout 3 "
        "--drain-timeout 4 --threads 5 --copies off"));
    const RelayLimits& peers = c.federation.relay.limits;
    EXPECT_EQ(peers.request, std::chrono::seconds(2));
    EXPECT_EQ(peers.hang, std::chrono::seconds(2));
    EXPECT_EQ(peers.connections, 9U);
    EXPECT_TRUE(c.federation.relay.allow_privileged_ports);
    EXPECT_EQ(c.limits.max_sessions, 100U);
    EXPECT_EQ(c.limits.max_sessions_per_address, 7U);
    EXPECT_EQ(c.limits.memory, std::uint64_t{1} << 30);
    EXPECT_EQ(c.limits.handshake_timeout.count(), 3);
    EXPECT_EQ(c.limits.drain_timeout.count(), 4);
    EXPECT_EQ(c.limits.threads, 5U);
    EXPECT_FALSE(c.federation.copies);
}

TEST(CommandLine, WhatTheProcessDoesArrives) {
    const auto c =
        good(words_of("--user nobody --log-format json --audit-log audit --pid-file pid "
                      "--verbose --peer-keys keys"));
    EXPECT_EQ(c.user, "nobody");
    EXPECT_EQ(c.log.format, LogFormat::json);
    EXPECT_EQ(c.log.audit, "/base/audit");
    EXPECT_EQ(c.pid_file, "/base/pid");
    EXPECT_TRUE(c.log.verbose);
    EXPECT_EQ(c.peer_keys, "/base/keys");
}

// One refusal, one line, beginning with the flag.
void expect_bad_value(const std::string& flag, const std::string& value) {
    const ServerAnswer refused = answer({flag + "=" + value});
    EXPECT_EQ(refused.status, 2) << flag << value;
    EXPECT_TRUE(refused.errors.starts_with(flag + ": ")) << refused.errors;
    EXPECT_EQ(std::ranges::count(refused.errors, '\n'), 1) << refused.errors;
}

TEST(CommandLine, BadAddressIsRefused) {
    for (const char* bad : {"10809", "::1:10809", "[1.2.3.4]:1", "a:65536", "unix:", "a:", "a b:1",
                            "/run/s", "[::1:1"}) {
        expect_bad_value("--listen", bad);
    }
    expect_bad_value("--listen", "unix:" + std::string(120, 'x'));
}

TEST(CommandLine, BadNumberIsRefused) {
    for (const char* bad : {"-1", "1000001", "x", "1x", "0x10", "99999999999999999999"}) {
        expect_bad_value("--priority", bad);
    }
    expect_bad_value("--peer-timeout", "0");
    expect_bad_value("--peer-timeout", "3601");
    expect_bad_value("--connections", "65");
    expect_bad_value("--max-sessions", "0");
    expect_bad_value("--threads", "two");
    for (const char* bad : {"1", "1X", "99999999999999999999", "2048T"}) {
        expect_bad_value("--memory", bad);
    }
}

TEST(CommandLine, BadWordIsRefused) {
    expect_bad_value("--server", "a b");
    expect_bad_value("--uri", "http://x");
    expect_bad_value("--site", "a\nb");
    expect_bad_value("--writable", "maybe");
    expect_bad_value("--tls", "yes");
    expect_bad_value("--peer-tls", "always");
    expect_bad_value("--log-format", "xml");
    expect_bad_value("--user", std::string(257, 'x'));
}

TEST(CommandLine, EmptyValueIsRefused) {
    for (const char* flag : {"--catalog", "--user", "--repository", "--site", "--server"}) {
        EXPECT_EQ(answer({flag, ""}).status, 2) << flag;
    }
}

TEST(CommandLine, UnknownOptionAndStrayWordAreRefused) {
    EXPECT_EQ(answer({"--repositroy", "x"}).status, 2);
    EXPECT_EQ(answer({"/srv/images"}).status, 2);
    EXPECT_EQ(answer({"--server", "a", "--server", "b"}).status, 2);
    EXPECT_EQ(answer({"--server"}).status, 2);
}

TEST(CommandLine, RepositoryTakesOneWordOnly) {
    EXPECT_EQ(answer({"--repository", "a", "b"}).status, 2);
}

TEST(CommandLine, HelpNamesEveryOption) {
    const ServerAnswer help = answer({"--help"});
    EXPECT_EQ(help.status, 0);
    for (const OptionInfo& option : all_options()) {
        EXPECT_NE(help.output.find("  --" + std::string(option.flag)), std::string::npos)
            << option.flag;
    }
    EXPECT_NE(help.output.find("examples:"), std::string::npos);
    EXPECT_TRUE(answer({"--version"}).output.starts_with("signpostd "));
}

TEST(CommandLine, StdioListensToNobody) {
    EXPECT_TRUE(good({"--stdio"}).listen.empty());
    EXPECT_EQ(answer({"--stdio", "--listen", ":1"}).status, 2);
}

TEST(CommandLine, PassedSocketsAreTheDefault) {
    ServerEnvironment passed = environment();
    passed.passed_sockets = 1;
    EXPECT_EQ(good({}, passed).listen.front().str(), "systemd");
    EXPECT_EQ(good({"--listen", ":1"}, passed).listen.front().str(), ":1");
}

TEST(Environment, IsBetweenFileAndFlags) {
    TempDirectory directory;
    write_file(directory.path("s.toml"),
               "server = \"file\"\nsite = \"file\"\ncatalog = \"f.db\"\n");
    ServerEnvironment from = environment();
    from.variables = {{"SIGNPOST_CONFIG", directory.path("s.toml")},
                      {"SIGNPOST_SERVER", "variable"},
                      {"SIGNPOST_CATALOG", "v.db"},
                      {"SIGNPOST_PEER_TIMEOUT", "3"},
                      {"SIGNPOST_NO_SUCH_THING", "x"}};
    const auto c = good({"--server", "flag"}, from);
    EXPECT_EQ(c.federation.server, "flag");
    EXPECT_EQ(c.federation.catalog_url, "sqlite:/base/v.db");
    EXPECT_EQ(c.federation.site, "file");
    EXPECT_EQ(c.federation.relay.limits.request, std::chrono::seconds(3));
    from.variables["SIGNPOST_PEER_TIMEOUT"] = "x";
    EXPECT_TRUE(answer({}, from).errors.starts_with("SIGNPOST_PEER_TIMEOUT: "));
}

TEST(ListenAddressText, IsReadAndShownAgain) {
    for (const char* text : {"127.0.0.1:10809", "[::1]:0", ":10809", "alpha.example:1",
                             "unix:/run/s", "systemd", "systemd:nbd"}) {
        const auto address = ListenAddress::parse(text);
        ASSERT_TRUE(address) << text;
        EXPECT_EQ(address->str(), text);
    }
    EXPECT_EQ(ListenAddress::parse("*:7")->str(), ":7");
}

TEST(SizeText, KnowsUnits) {
    EXPECT_EQ(size_in("64MiB", 0, UINT64_MAX), std::uint64_t{64} << 20);
    EXPECT_EQ(size_in("2g", 0, UINT64_MAX), std::uint64_t{2} << 30);
    EXPECT_EQ(size_in("3k", 0, UINT64_MAX), 3072U);
    EXPECT_FALSE(size_in("16777216T", 0, UINT64_MAX));
    EXPECT_FALSE(size_in("", 0, UINT64_MAX));
}

TEST_F(ConfigurationFile, EverySectionArrives) {
    const auto c = read(R"(
repository = ["images", "/srv/more"]
listen = "127.0.0.1:10810"
writable = true
[tls]
mode = "on"
psk = "keys.psk"
[peers]
timeout = 5
connections = 2
privileged-ports = true
tls = "require"
tls-psk = "own.psk"
tls-username = "alpha"
keys = "keys"
[limits]
sessions = 50
memory = "128M"
handshake-timeout = 6
drain-timeout = 7
threads = 1
[log]
format = "json"
verbose = true
audit = "-"
[[access]]
psk = ["alpha", "beta"]
cidr = "10.0.0.0/8"
disk = "web*"
right = "read-write"
[[access]]
uid = 0
right = "read-only"
)");
    const std::string base = directory_.path();
    EXPECT_EQ(c.federation.repositories, (std::vector<std::string>{base + "/images", "/srv/more"}));
    EXPECT_EQ(c.tls.mode, DoorTls::on);
    EXPECT_EQ(c.tls.psk_file, base + "/keys.psk");
    const RelaySettings& relay = c.federation.relay;
    EXPECT_EQ(relay.tls.mode, wire::TlsMode::require);
    EXPECT_EQ(relay.tls.psk_file, base + "/own.psk");
    EXPECT_EQ(relay.tls.username, "alpha");
    EXPECT_EQ(relay.limits.request, std::chrono::seconds(5));
    EXPECT_EQ(c.peer_keys, base + "/keys");
    EXPECT_EQ(c.limits.memory, 128U << 20);
    EXPECT_EQ(c.log.audit, "-");
    ASSERT_EQ(c.access.rules.size(), 2U);
    EXPECT_EQ(c.access.rules[0].psk, (std::vector<std::string>{"alpha", "beta"}));
    EXPECT_EQ(c.access.rules[0].right, Right::read_write);
    EXPECT_EQ(c.access.rules[0].origin, "s.toml:26");
    EXPECT_EQ(c.access.rules[1].uid, std::vector<std::string>{"0"});
    EXPECT_TRUE(c.access.writable);
    EXPECT_EQ(c.files, std::vector<std::string>{base + "/s.toml"});
}

TEST_F(ConfigurationFile, FlagReplacesAWholeList) {
    const auto c = read("repository = [\"a\", \"b\"]\nlisten = [\":1\", \":2\"]\n",
                        {"--repository", "/c", "--listen", ":3"});
    EXPECT_EQ(c.federation.repositories, std::vector<std::string>{"/c"});
    EXPECT_EQ(c.listen.size(), 1U);
}

TEST_F(ConfigurationFile, SaysWhereEachMistakeIs) {
    const std::string lines = mistakes("server = \"a b\"\npriority = \"high\"\n[tls]\nmode=1\n");
    EXPECT_TRUE(lines.starts_with("s.toml:1:1: server: \"a b\" is not a server name")) << lines;
    EXPECT_TRUE(
        lines.ends_with("\ns.toml:2:12: priority: give a whole number, not a text\n"
                        "s.toml:4:6: tls.mode: give a text in quotes, not a number\n"))
        << lines;
}

TEST_F(ConfigurationFile, SuggestsWhatWasMeant) {
    expect_mistake("repositry = \"x\"\n",
                   "s.toml:1:1: unknown key repositry; did you mean repository?");
    expect_mistake("[tls]\ncertificate = \"x\"\n",
                   "s.toml:2:1: unknown key certificate in [tls]; did you mean certificates?");
    expect_mistake("[tls]\naudit = \"x\"\n", "did you mean audit in [log]?");
    expect_mistake("peer-timeout = 3\n", "did you mean timeout in [peers]?");
    expect_mistake("[limits]\nserver = \"x\"\n", "it goes before the first [section], as server");
    expect_mistake("[nonsense]\n", "unknown key nonsense; signpost.toml(5) has them all");
}

TEST_F(ConfigurationFile, RefusesWrongTypes) {
    expect_mistake("repository = 3\n", "1:14: repository: give a list of texts in quotes, or one");
    expect_mistake("repository = [\"a\", 3]\n", "1:20: repository: give texts in quotes");
    expect_mistake("writable = \"yes\"\n", "writable: give true or false, not a text");
    expect_mistake("tls = \"on\"\n", "write [tls] on a line of its own");
    expect_mistake("access = 3\n", "begin each rule with [[access]]");
    expect_mistake("[access]\nright = \"deny\"\n", "begin each rule with [[access]]");
    expect_mistake("stdio = true\n", "unknown key stdio");
    expect_mistake("\"tls.mode\" = \"on\"\n", "unknown key tls.mode");
}

TEST_F(ConfigurationFile, RefusesWhatIsNoToml) {
    expect_mistake("server = alpha\n", "s.toml:1:");
    expect_mistake("a = 1\na = 2\n", "s.toml:2:");
    expect_mistake(std::string("server = \"a\0b\"\n", 15), "s.toml:1:");
    expect_mistake("\xff\xfe", "s.toml:1:");
    expect_mistake("server = 8\u0219\n", "s.toml:1:");
    expect_mistake(std::string(100'000, '['), "s.toml:1:");
}

TEST_F(ConfigurationFile, RefusesCopiesThatCannotBeMeant) {
    expect_mistake("[[copies]]\ndisks = \"*\"\n", "s.toml:1:1: copies: copies is missing");
    expect_mistake("copies = \"off\"\n", "s.toml:1:10: copies: begin each entry with [[copies]]");
    expect_mistake("[limits]\ncopies = \"no\"\n", "\"no\" is neither on nor off");
    read("[[copies]]\ndisks = \"*\"\ncopies = 2\n[limits]\ncopies = \"off\"\n");
}

TEST_F(ConfigurationFile, RefusesRulesThatCannotBeMeant) {
    expect_mistake("[[access]]\ndn = \"CN=x\"\n", "s.toml:1:1: access: right is missing");
    expect_mistake("[[access]]\nright = \"rw\"\n", "2:9: access: right \"rw\" is none of deny");
    expect_mistake("[[access]]\nright = \"deny\"\nsans = \"x\"\n", "did you mean san?");
    expect_mistake("[[access]]\nright = \"deny\"\ndisk = []\n", "disk is an empty list");
    expect_mistake("[[access]]\nright = \"deny\"\ncidr = \"10\"\n", "access: cidr \"10\"");
    expect_mistake("[[access]]\nright = \"read-only\"\ncidr = \"10.0.0.0/8\"\n", "cidr alone");
    expect_mistake("[[access]]\nright = \"trusted-relay\"\nuid = 0\n", "say with dn, san or psk");
}

TEST_F(ConfigurationFile, TrustedRelayReadsOnly) {
    const auto rules =
        read("writable = true\n[[access]]\nright = \"trusted-relay\"\npsk = \"gate\"\n").access;
    ClientIdentity gate;
    gate.psk = "gate";
    const Access access = decide(rules, gate, "web01/vda");
    EXPECT_EQ(access.right, Right::read_only);
    EXPECT_TRUE(access.trusted_relay);
    EXPECT_EQ(to_string(access), "trusted-relay");
}

TEST_F(ConfigurationFile, RuleWithAMistakeLetsNobodyThrough) {
    ConfigurationDraft draft;
    EXPECT_EQ(answer({"--config", file("[[access]]\nright = \"read-only\"\ndn = 3\n")}).status, 2);
}

TEST_F(ConfigurationFile, ThousandRulesAreEnough) {
    std::string rules;
    for (int i = 0; i < 1000; ++i) {
        rules += "[[access]]\nright = \"deny\"\n";
    }
    EXPECT_EQ(read(rules).access.rules.size(), 1000U);
    expect_mistake(rules + "[[access]]\nright = \"deny\"\n", "at most 1000 rules");
}

TEST_F(ConfigurationFile, DirectoryIsReadInTheOrderOfNames) {
    file("server = \"b\"\n[[access]]\nright = \"deny\"\n", "20.toml");
    file("server = \"a\"\nsite = \"s\"\n[[access]]\nright = \"read-only\"\n", "10.toml");
    file("nonsense", "30.toml.bak");
    const auto c = good({"--config", directory_.path()});
    EXPECT_EQ(c.federation.server, "b");
    EXPECT_EQ(c.federation.site, "s");
    ASSERT_EQ(c.access.rules.size(), 2U);
    EXPECT_EQ(c.access.rules[0].right, Right::read_only);
}

TEST_F(ConfigurationFile, MissingOneIsNamed) {
    const ServerAnswer refused = answer({"--config", directory_.path("none.toml")});
    EXPECT_EQ(refused.status, 2);
    EXPECT_NE(refused.errors.find("none.toml: No such file"), std::string::npos);
}

TEST_F(ConfigurationFile, FifoDoesNotHang) {
    ASSERT_EQ(::mkfifo(directory_.path("f").c_str(), 0600), 0);
    EXPECT_EQ(answer({"--config", directory_.path("f")}).status, 2);
}

TEST_F(ConfigurationFile, CheckSaysThatAllIsWell) {
    std::filesystem::create_directory(directory_.path("images"));
    const ServerAnswer checked =
        answer({"--check-config", "--config", file("repository = \"images\"\n")});
    EXPECT_EQ(checked.status, 0) << checked.errors;
    EXPECT_NE(checked.output.find("good"), std::string::npos);
}

TEST_F(ConfigurationFile, CheckLooksForFilesToo) {
    const ServerAnswer checked = answer(
        {"--check-config", "--config",
         file("repository = \"nowhere\"\n[tls]\ncertificates = \"pki\"\n[peers]\nkeys = \"k\"\n")});
    EXPECT_EQ(checked.status, 2);
    for (const char* line :
         {"s.toml:1:1: repository", "s.toml:3:1: tls: ", "pki/ca-cert.pem", "s.toml:5:1: tls: "}) {
        EXPECT_NE(checked.errors.find(line), std::string::npos) << line << checked.errors;
    }
}

TEST(ExampleFile, IsGood) {
    const auto c = good({"--config", SIGNPOST_SOURCE_DIR "/examples/signpostd.toml"});
    EXPECT_EQ(c.federation.server, "alpha");
    EXPECT_EQ(c.access.rules.size(), 4U);
    EXPECT_TRUE(c.warnings.empty()) << c.warnings.front();
}

TEST(ManualPage, NamesEveryKeyOfTheFileAndNoOther) {
    std::istringstream page(
        read_whole_file(SIGNPOST_SOURCE_DIR "/nbd-server/server/signpost.toml.pod"));
    std::set<std::string> in_page;
    bool keys = false;
    for (std::string line; std::getline(page, line);) {
        keys = line.starts_with("=head1") ? line == "=head1 KEYS" : keys;
        if (keys && line.starts_with("=item B<")) {
            in_page.insert(line.substr(8, line.find('>') - 8));
        }
    }
    std::set<std::string> in_table;
    for (const OptionInfo& option : all_options()) {
        if (option.in_file) {
            in_table.insert(std::string(option.key));
        }
    }
    EXPECT_EQ(in_page, in_table);
}

// The examples in the manual, read as files.
TEST_F(ConfigurationFile, ExamplesOfTheManualAreGood) {
    const std::string page =
        read_whole_file(SIGNPOST_SOURCE_DIR "/nbd-server/server/signpost.toml.pod");
    std::istringstream text(page.substr(page.find("=head1 EXAMPLES"),
                                        page.find("=head1 KEYS") - page.find("=head1 EXAMPLES")));
    std::vector<std::string> examples;
    bool inside = false;
    for (std::string line; std::getline(text, line);) {
        if (line.starts_with(' ')) {
            if (!inside) {
                examples.emplace_back();
            }
            examples.back() += line + "\n";
        }
        inside = line.starts_with(' ') || (inside && line.empty());
    }
    ASSERT_EQ(examples.size(), 3U);
    for (const std::string& example : examples) {
        read(example);
    }
}

TEST(TlsOptions, CertificatesAloneMeanRequireForBoth) {
    const auto c = good({"--tls-certificates", "/pki"});
    EXPECT_EQ(c.tls.mode, DoorTls::require);
    EXPECT_TRUE(c.tls.verify_peer);
    EXPECT_EQ(c.federation.relay.tls.mode, wire::TlsMode::require);
    EXPECT_EQ(c.federation.relay.tls.certificates, "/pki");
    EXPECT_TRUE(c.warnings.empty());
}

TEST(TlsOptions, ClientsKeysNeverGoToPeers) {
    EXPECT_EQ(answer({"--tls-psk", "/keys"}).status, 2);
    const auto c = good({"--tls-psk", "/keys", "--peer-tls", "off"});
    EXPECT_EQ(c.tls.mode, DoorTls::require);
    EXPECT_EQ(c.federation.relay.tls.mode, wire::TlsMode::off);
    const auto own = good({"--tls-psk", "/keys", "--peer-tls-psk", "/own"});
    EXPECT_EQ(own.federation.relay.tls.psk_file, "/own");
    EXPECT_EQ(own.federation.relay.tls.mode, wire::TlsMode::require);
    EXPECT_EQ(own.federation.relay.tls.certificates, "");
}

TEST(TlsOptions, PeersMayHaveTheirOwn) {
    const auto c = good({"--peer-tls-certificates", "/peers"});
    EXPECT_EQ(c.tls.mode, DoorTls::off);
    EXPECT_EQ(c.federation.relay.tls.mode, wire::TlsMode::require);
    const auto off = good({"--tls-certificates", "/pki", "--peer-tls", "off"});
    EXPECT_EQ(off.federation.relay.tls.mode, wire::TlsMode::off);
    EXPECT_EQ(off.federation.relay.tls.certificates, "");
}

TEST(TlsOptions, ThatContradictAreRefused) {
    for (const Words& words : {Words{"--tls", "require"},
                               {"--tls-certificates", "/a", "--tls-psk", "/b"},
                               {"--tls-psk", "/b", "--peer-tls", "off", "--tls-verify-peer"},
                               {"--peer-tls-psk", "/a", "--peer-tls", "off"},
                               {"--tls-username", "x"},
                               {"--peer-tls-psk", "/a", "--peer-tls-certificates", "/b"},
                               {"--block-devices"}}) {
        EXPECT_EQ(answer(words).status, 2) << words.front();
    }
}

TEST(TlsOptions, VerificationCanBeSwitchedOff) {
    const auto c = good({"--tls-certificates", "/pki", "--tls-verify-peer=false"});
    EXPECT_FALSE(c.tls.verify_peer);
    EXPECT_FALSE(c.warnings.empty());
}

TEST(Warnings, SayWhoMayDoWhat) {
    EXPECT_EQ(good({}).warnings.size(), 1U);
    EXPECT_NE(good({"--writable"}).warnings.front().find("read and write"), std::string::npos);
    EXPECT_TRUE(good({"--listen", "127.0.0.1:0"}).warnings.empty());
    EXPECT_TRUE(good({"--listen", "unix:/run/s"}).warnings.empty());
}

TEST_F(ConfigurationFile, SaysWhichFilesAreRestorePoints) {
    const auto points = [](const ServerConfiguration& c) {
        return c.federation.repository_options.points;
    };
    EXPECT_EQ(points(read("")).name_of("vda-2026-11-20"), "vda@2026-11-20");
    const auto own = points(read("points = [\"{disk}_%d.%m.%Y\", \"chains\"]\n"));
    EXPECT_EQ(own.name_of("vda_20.11.2026"), "vda@2026-11-20");
    EXPECT_EQ(own.name_of("vda-2026-11-20"), std::nullopt);
    EXPECT_TRUE(own.chains());
    EXPECT_FALSE(points(read("points = \"off\"\n")).chains());
    EXPECT_EQ(
        points(read("points = \"off\"\n", {"--points", "{disk}-{date}"})).name_of("vda-2026-11-20"),
        "vda@2026-11-20");
    expect_mistake("points = [\"{disk}\"]\n", "s.toml:1:");
    expect_mistake("points = [\"chains\", \"{disk}-%q\"]\n", "points");
}

TEST(CommandLine, WhatIsAboutTheCacheNeedsOne) {
    const auto c = good({"--cache", "/c", "--cache-fill", "5M"});
    EXPECT_EQ(c.federation.cache.fill_rate, 5U << 20);
    EXPECT_EQ(good({"--cache", "/c"}).federation.cache.fill_rate, 0U);
    for (const char* option : {"--cache-fill=5M", "--cache-size=1G"}) {
        EXPECT_NE(answer({option}).errors.find("give cache.directory (--cache), too"),
                  std::string::npos);
    }
    EXPECT_NE(answer({"--cache=/c", "--cache-fill=fast"}).errors.find("fast"), std::string::npos);
}

}  // namespace
}  // namespace signpost::test
