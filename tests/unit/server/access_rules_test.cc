// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/server/access_rules.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstring>

#include "nbd-server/disk/unique_fd.h"

namespace signpost::test {
namespace {

TEST(Glob, MatchesTheWholeText) {
    EXPECT_TRUE(glob_matches("web01/vda", "web01/vda"));
    EXPECT_FALSE(glob_matches("web01", "web01/vda"));
    EXPECT_FALSE(glob_matches("vda", "web01/vda"));
    EXPECT_TRUE(glob_matches("", ""));
    EXPECT_FALSE(glob_matches("", "x"));
}

TEST(Glob, StarIsAnyTextAlsoWithSlash) {
    EXPECT_TRUE(glob_matches("*", ""));
    EXPECT_TRUE(glob_matches("web*", "web01/vda"));
    EXPECT_TRUE(glob_matches("*/vda", "a/b/vda"));
    EXPECT_TRUE(glob_matches("a*b*c", "aXbYbZc"));
    EXPECT_FALSE(glob_matches("a*b*c", "aXbYbZ"));
    EXPECT_TRUE(glob_matches("**a**", "a"));
}

TEST(Glob, QuestionMarkIsOneCharacterOfUtf8) {
    EXPECT_TRUE(glob_matches("web?", "web1"));
    EXPECT_TRUE(glob_matches("web?", "web\u00e9"));
    EXPECT_FALSE(glob_matches("web?", "web"));
    EXPECT_FALSE(glob_matches("web?", "web12"));
}

TEST(Glob, BracketsAndBackslashesAreThemselves) {
    EXPECT_TRUE(glob_matches("[ab]", "[ab]"));
    EXPECT_FALSE(glob_matches("[ab]", "a"));
    EXPECT_TRUE(glob_matches("a\\2Cb", "a\\2Cb"));
}

// Matchers that go back to each star take for ever here.
TEST(Glob, ManyStarsStayCheap) {
    std::string pattern;
    for (int i = 0; i < 200; ++i) {
        pattern += "*a";
    }
    pattern += "*b";
    const std::string text(1024, 'a');
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < 100; ++i) {
        EXPECT_FALSE(glob_matches(pattern, text));
    }
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
}

IpNetwork network(std::string_view text) {
    const auto parsed = IpNetwork::parse(text);
    EXPECT_TRUE(parsed) << parsed.error().message;
    return parsed.value_or(IpNetwork{});
}

IpAddress address(std::string_view text) {
    return *IpAddress::parse(text);
}

TEST(Network, HoldsTheAddressesOfItsPrefix) {
    EXPECT_TRUE(network("10.0.0.0/8").contains(address("10.255.0.1")));
    EXPECT_FALSE(network("10.0.0.0/8").contains(address("11.0.0.1")));
    EXPECT_TRUE(network("192.168.4.0/22").contains(address("192.168.7.255")));
    EXPECT_FALSE(network("192.168.4.0/22").contains(address("192.168.8.0")));
    EXPECT_TRUE(network("2001:db8::/32").contains(address("2001:db8:1::5")));
    EXPECT_FALSE(network("2001:db8::/32").contains(address("2001:db9::5")));
    EXPECT_TRUE(network("10.1.2.3").contains(address("10.1.2.3")));
    EXPECT_FALSE(network("10.1.2.3").contains(address("10.1.2.4")));
    EXPECT_TRUE(network("0.0.0.0/0").contains(address("203.0.113.9")));
    EXPECT_FALSE(network("0.0.0.0/0").contains(address("2001:db8::1")));
    EXPECT_TRUE(network("::/0").contains(address("2001:db8::1")));
}

TEST(Network, SeesAMappedAddressAsTheSame) {
    EXPECT_TRUE(network("10.0.0.0/8").contains(address("::ffff:10.1.1.1")));
    EXPECT_EQ(address("::ffff:10.1.1.1").str(), "10.1.1.1");
}

TEST(Network, RefusesWhatIsNone) {
    for (const char* bad : {"", "10.0.0.0/33", "::1/129", "10.0.0/8", "10.0.0.0/", "10.0.0.0/-1",
                            "10.0.0.0/8/8", "example.org", "10.0.0.0/8 ", "::ffff:1.2.3.4/129"}) {
        EXPECT_FALSE(IpNetwork::parse(bad)) << bad;
    }
}

ClientIdentity anybody() {
    ClientIdentity client;
    client.address = address("10.0.0.7");
    return client;
}

ClientIdentity with_certificate() {
    ClientIdentity client = anybody();
    client.tls = true;
    client.dn = "CN=backup1,O=Big Co";
    client.sans = {"dns:backup1.example", "uri:urn:backup1"};
    return client;
}

AccessRules rules_of(std::vector<AccessRule> rules, bool writable = true) {
    AccessRules all;
    all.writable = writable;
    for (AccessRule& rule : rules) {
        auto checked = checked_rule(std::move(rule));
        EXPECT_TRUE(checked) << checked.error().message;
        all.rules.push_back(std::move(*checked));
    }
    return all;
}

Right right_of(const AccessRules& rules, const ClientIdentity& client,
               std::string_view disk = "web01/vda") {
    return decide(rules, client, disk).right;
}

TEST(Access, WithoutRulesEverybodyReadsAndWritesWhatIsWritable) {
    EXPECT_EQ(right_of({}, anybody()), Right::read_only);
    EXPECT_EQ(right_of(rules_of({}, true), anybody()), Right::read_write);
    EXPECT_EQ(decide({}, anybody(), "x").rule, "no rules");
}

TEST(Access, WithRulesWhatFitsNoneIsDenied) {
    const auto rules = rules_of({{.dn = {"CN=other"}, .right = Right::read_only}});
    EXPECT_EQ(right_of(rules, with_certificate()), Right::deny);
    EXPECT_EQ(decide(rules, with_certificate(), "x").rule, "no rule fits");
}

TEST(Access, TheFirstRuleThatFitsDecides) {
    const auto rules = rules_of({{.disk = {"web*"}, .right = Right::deny, .origin = "f:1"},
                                 {.right = Right::read_only, .origin = "f:2"}});
    EXPECT_EQ(decide(rules, anybody(), "web01/vda").rule, "f:1");
    EXPECT_EQ(right_of(rules, anybody(), "web01/vda"), Right::deny);
    EXPECT_EQ(decide(rules, anybody(), "db01").rule, "f:2");
    EXPECT_EQ(right_of(rules, anybody(), "db01"), Right::read_only);
}

TEST(Access, NoRuleMakesAReadOnlyServerWritable) {
    const auto rules = rules_of({{.right = Right::read_write}}, false);
    EXPECT_EQ(right_of(rules, anybody()), Right::read_only);
}

TEST(Access, AllConditionsHaveToFit) {
    const auto rules = rules_of({{.san = {"backup1.example"},
                                  .network = {network("10.0.0.0/8")},
                                  .disk = {"web*"},
                                  .right = Right::read_only}});
    EXPECT_EQ(right_of(rules, with_certificate()), Right::read_only);
    EXPECT_EQ(right_of(rules, with_certificate(), "db01"), Right::deny);
    EXPECT_EQ(right_of(rules, anybody()), Right::deny);
    ClientIdentity elsewhere = with_certificate();
    elsewhere.address = address("192.0.2.1");
    EXPECT_EQ(right_of(rules, elsewhere), Right::deny);
}

TEST(Access, OneOfSeveralPatternsIsEnough) {
    const auto rules =
        rules_of({{.san = {"other.example", "*.example"}, .right = Right::read_only}});
    EXPECT_EQ(right_of(rules, with_certificate()), Right::read_only);
}

TEST(Access, WhatIsNotProvenFitsNoPattern) {
    for (const AccessRule& rule : {AccessRule{.dn = {"*"}, .right = Right::read_only},
                                   AccessRule{.san = {"*"}, .right = Right::read_only},
                                   AccessRule{.psk = {"*"}, .right = Right::read_only},
                                   AccessRule{.uid = {"*"}, .right = Right::read_only}}) {
        EXPECT_EQ(right_of(rules_of({rule}), anybody()), Right::deny);
    }
}

TEST(Access, NameOfOneKindDoesNotFitAnother) {
    ClientIdentity client = with_certificate();
    client.sans = {"uri:backup1.example"};
    const auto rules = rules_of({{.san = {"backup1.example"}, .right = Right::read_only}});
    EXPECT_EQ(right_of(rules, client), Right::deny);
}

TEST(Access, DnsNamesHaveNoCase) {
    const auto rules = rules_of({{.san = {"BACKUP1.Example"}, .right = Right::read_only}});
    EXPECT_EQ(right_of(rules, with_certificate()), Right::read_only);
}

TEST(Access, CommaInsideAValueIsNoSeparator) {
    const auto rules = rules_of({{.dn = {"CN=*,O=Big Co"}, .right = Right::read_only}});
    ClientIdentity client = with_certificate();
    EXPECT_EQ(right_of(rules, client), Right::read_only);
    client.dn = normal_dn("CN=evil\\,O=Big Co");
    EXPECT_EQ(right_of(rules, client), Right::deny);
    const auto exact = rules_of({{.dn = {"CN=evil\\,O=Big Co"}, .right = Right::read_only}});
    EXPECT_EQ(right_of(exact, client), Right::read_only);
}

TEST(Access, UidIsForClientsOfThisMachineOnly) {
    const auto rules = rules_of({{.uid = {"1000"}, .right = Right::read_only}});
    ClientIdentity client;
    client.local = UnixPeer{1000, 1000, 7};
    EXPECT_EQ(right_of(rules, client), Right::read_only);
    client.via = "beta";
    EXPECT_EQ(right_of(rules, client), Right::deny);
    client.via = "";
    client.local->uid = 10001;
    EXPECT_EQ(right_of(rules, client), Right::deny);
}

TEST(AccessRule, AddressAloneMayOnlyDeny) {
    EXPECT_FALSE(checked_rule({.network = {network("10.0.0.0/8")}, .right = Right::read_only}));
    EXPECT_TRUE(checked_rule({.network = {network("10.0.0.0/8")}, .right = Right::deny}));
    EXPECT_TRUE(checked_rule(
        {.psk = {"alpha"}, .network = {network("10.0.0.0/8")}, .right = Right::read_only}));
}

TEST(AccessRule, ThatCannotMeanWhatItSaysIsRefused) {
    for (const AccessRule& rule :
         {AccessRule{.san = {"spiffe://a/b"}}, AccessRule{.uid = {"alice"}},
          AccessRule{.disk = {"local:web01/vda"}}, AccessRule{.disk = {"/srv/x"}},
          AccessRule{.dn = {""}}, AccessRule{.psk = {"a\nb"}},
          AccessRule{.disk = {std::string(1025, 'x')}},
          AccessRule{.disk = std::vector<std::string>(101, "x")}}) {
        const auto checked = checked_rule(rule);
        ASSERT_FALSE(checked);
        EXPECT_EQ(checked.error().code, Errc::invalid);
        EXPECT_EQ(checked.error().message.find('\n'), std::string::npos);
    }
    EXPECT_TRUE(checked_rule({.disk = {std::string(1024, 'x')}}));
    EXPECT_TRUE(checked_rule({.disk = std::vector<std::string>(100, "x")}));
}

TEST(Identity, OfAUnixSocketIsItsProcess) {
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    const UniqueFd near(ends[0]);
    const UniqueFd far(ends[1]);
    const ClientIdentity client = identity_of_socket(near.get());
    ASSERT_TRUE(client.local);
    EXPECT_EQ(client.local->uid, ::getuid());
    EXPECT_EQ(client.local->gid, ::getgid());
    EXPECT_EQ(client.local->pid, ::getpid());
    EXPECT_FALSE(client.address);
}

TEST(Identity, OfATcpSocketIsItsAddress) {
    const UniqueFd listener(::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in6 any{};
    any.sin6_family = AF_INET6;
    socklen_t length = sizeof any;
    ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&any), length), 0);
    ASSERT_EQ(::listen(listener.get(), 1), 0);
    ASSERT_EQ(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&any), &length), 0);
    const UniqueFd near(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = any.sin6_port;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ASSERT_EQ(::connect(near.get(), reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
    const UniqueFd accepted(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    const ClientIdentity client = identity_of_socket(accepted.get());
    ASSERT_TRUE(client.address);
    EXPECT_EQ(client.address->str(), "127.0.0.1");
    EXPECT_NE(client.port, 0);
    EXPECT_FALSE(client.local);
    EXPECT_TRUE(client.str().starts_with("127.0.0.1:")) << client.str();
}

TEST(Identity, OfWhatIsNoSocketIsEmpty) {
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    const UniqueFd near(ends[0]);
    const UniqueFd far(ends[1]);
    EXPECT_EQ(identity_of_socket(near.get()), ClientIdentity{});
}

}  // namespace
}  // namespace signpost::test
