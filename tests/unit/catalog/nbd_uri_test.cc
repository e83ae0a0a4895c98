// SPDX-License-Identifier: BSD-3-Clause
#include "catalog/nbd_uri.h"

#include <gtest/gtest.h>

#include <random>

#include "catalog/disk_name.h"

namespace signpost {
namespace {

using namespace std::string_literals;

NbdUri parsed(std::string_view text) {
    auto uri = NbdUri::parse(text);
    EXPECT_TRUE(uri) << (uri ? "" : uri.error().message);
    return uri.value_or(NbdUri());
}

void expect_refused(std::string_view text, std::string_view why) {
    const auto uri = NbdUri::parse(text);
    ASSERT_FALSE(uri) << text;
    EXPECT_EQ(uri.error().code, Errc::invalid);
    EXPECT_NE(uri.error().message.find(why), std::string::npos) << uri.error().message;
}

TEST(NbdUri, TakesHostPortAndExport) {
    const NbdUri uri = parsed("nbd://beta.example:10810/web01/vda");
    EXPECT_FALSE(uri.tls);
    EXPECT_FALSE(uri.is_unix());
    EXPECT_EQ(uri.host, "beta.example");
    EXPECT_EQ(uri.port, 10810);
    EXPECT_EQ(uri.export_name, "web01/vda");
    EXPECT_EQ(uri.endpoint(), "beta.example:10810");
}

TEST(NbdUri, HasTheRegisteredPortByDefault) {
    EXPECT_EQ(parsed("nbd://beta").port, 10809);
    EXPECT_EQ(parsed("nbd://beta:10809/a").str(), "nbd://beta/a");
}

TEST(NbdUri, TakesIpv6InBrackets) {
    const NbdUri uri = parsed("nbd://[::1]:10810/a%20b");
    EXPECT_EQ(uri.host, "::1");
    EXPECT_EQ(uri.port, 10810);
    EXPECT_EQ(uri.export_name, "a b");
    EXPECT_EQ(uri.endpoint(), "[::1]:10810");
    EXPECT_EQ(uri.str(), "nbd://[::1]:10810/a%20b");
}

TEST(NbdUri, TakesUnixSocket) {
    const NbdUri uri = parsed("nbd+unix:///name?socket=/run/a%20b.sock");
    EXPECT_TRUE(uri.is_unix());
    EXPECT_EQ(uri.host, "");
    EXPECT_EQ(uri.socket_path, "/run/a b.sock");
    EXPECT_EQ(uri.export_name, "name");
    EXPECT_EQ(uri.endpoint(), "/run/a b.sock");
    EXPECT_EQ(uri.str(), "nbd+unix:///name?socket=/run/a%20b.sock");
}

TEST(NbdUri, KnowsTls) {
    EXPECT_TRUE(parsed("nbds://beta/a").tls);
    EXPECT_TRUE(parsed("nbds+unix:///?socket=/s").tls);
    EXPECT_TRUE(parsed("NBDS://beta/a").tls);
}

TEST(NbdUri, ExportNameMayBeEmptyOrBeginWithSlash) {
    EXPECT_EQ(parsed("nbd://beta").export_name, "");
    EXPECT_EQ(parsed("nbd://beta/").export_name, "");
    EXPECT_EQ(parsed("nbd://beta//a").export_name, "/a");
    EXPECT_EQ(parsed("nbd://beta//a").str(), "nbd://beta//a");
}

TEST(NbdUri, PointInTimeNameRoundTrips) {
    const auto* const name = "t1/vm-1/vda@2026-10-01T02:00";
    EXPECT_EQ(parsed("nbd://beta/t1/vm-1/vda@2026-10-01T02:00").export_name, name);
    EXPECT_EQ(parsed("nbd://beta/t1/vm-1/vda%402026-10-01T02%3A00").export_name, name);
}

TEST(NbdUri, WithExportChangesOnlyThat) {
    const NbdUri uri = parsed("nbds://beta:1/a").with_export("local:b?c#d");
    EXPECT_EQ(uri.str(), "nbds://beta:1/local:b%3Fc%23d");
    EXPECT_EQ(parsed(uri.str()), uri);
}

TEST(NbdUri, RefusesOtherSchemes) {
    for (const auto* text :
         {"nbd+ssh://host/a", "nbds+ssh://host/a", "nbd+vsock://2:1/a", "http://host/a",
          "file:///a", "nbd+unix+ssh://h", "://host", "xnbd://a"})
        expect_refused(text, "scheme");
    expect_refused("host:10809", "scheme");
    expect_refused("nbd:host:10809", "scheme");
    expect_refused("", "scheme");
}

TEST(NbdUri, RefusesUserNames) {
    expect_refused("nbd://user@host/a", "user name");
    expect_refused("nbd://user:secret@host/a", "user name");
    expect_refused("nbd://@host/a", "user name");
}

TEST(NbdUri, RefusesHostsThatAreNone) {
    expect_refused("nbd:///a", "no host");
    expect_refused("nbd://", "no host");
    expect_refused("nbd://-oProxyCommand=x/a", "host");
    expect_refused("nbd://a,b/a", "host");
    expect_refused("nbd://a%20b/a", "host");
    expect_refused("nbd://[::1/a", "bracket");
    expect_refused("nbd://[::g]/a", "IPv6");
    expect_refused("nbd://[127.0.0.1]/a", "IPv6");
    expect_refused("nbd://[::1]x/a", "between");
    expect_refused("nbd://" + std::string(254, 'a') + "/a", "host");
}

TEST(NbdUri, RefusesPortsOutOfRange) {
    for (const auto* port : {"0", "65536", "-1", "+1", "1x", "", "000001", "99999999999"})
        expect_refused("nbd://host:"s + port + "/a", "port");
    EXPECT_EQ(parsed("nbd://host:65535/a").port, 65535);
    EXPECT_EQ(parsed("nbd://host:1/a").port, 1);
}

TEST(NbdUri, RefusesQueriesButSocket) {
    expect_refused("nbd://host/a?tls-psk-file=/etc/shadow", "query");
    expect_refused("nbd://host/a?", "query");
    expect_refused("nbd://host/a?socket=/s", "query");
    expect_refused("nbd+unix:///a?command=/bin/sh", "query");
    expect_refused("nbd+unix:///a?socket=/s&tls-certificates=/x", "query");
    expect_refused("nbd+unix:///a?socket=/s&socket=/t", "query");
    expect_refused("nbd+unix:///a", "query");
}

TEST(NbdUri, RefusesSocketsThatAreNoAbsolutePath) {
    expect_refused("nbd+unix:///a?socket=run/s", "socket");
    expect_refused("nbd+unix:///a?socket=", "socket");
    expect_refused("nbd+unix:///a?socket=/s%00", "socket");
    expect_refused("nbd+unix:///a?socket=/s%0a", "socket");
    expect_refused("nbd+unix:///a?socket=/" + std::string(107, 's'), "socket");
    EXPECT_TRUE(NbdUri::parse("nbd+unix:///a?socket=/" + std::string(106, 's')));
}

TEST(NbdUri, RefusesHostInUnixUri) {
    expect_refused("nbd+unix://host/a?socket=/s", "no host");
}

TEST(NbdUri, RefusesBadEscapes) {
    for (const auto* name : {"%", "%4", "%zz", "a%2"})
        expect_refused("nbd://host/"s + name, "hexadecimal");
    expect_refused("nbd://host/%00", "UTF-8");
    expect_refused("nbd://host/%ff", "UTF-8");
}

TEST(NbdUri, RefusesSpacesControlsAndFragments) {
    expect_refused("nbd://host/a b", "space");
    expect_refused("nbd://host/a\n", "control");
    expect_refused("nbd://host/a\0b"s, "control");
    expect_refused("nbd://host/a#b", "fragment");
}

TEST(NbdUri, RefusesWhatIsTooLong) {
    EXPECT_TRUE(NbdUri::parse("nbd://host/" + std::string(4096, 'a')));
    expect_refused("nbd://host/" + std::string(4097, 'a'), "4096");
    expect_refused("nbd://host/" + std::string(100'000, 'a'), "too long");
}

TEST(NbdUri, ErrorShowsAGoodOne) {
    expect_refused("beta", "nbd://HOST:PORT/EXPORT");
    EXPECT_LT(NbdUri::parse(std::string(100'000, '\n')).error().message.size(), 500u);
}

std::string random_name(std::mt19937& random) {
    std::string name;
    for (auto left = random() % 16; left > 0; --left)
        name += static_cast<char>(1 + random() % 127);
    return name;
}

TEST(NbdUri, EveryUriIsReadBackAsItself) {
    std::mt19937 random(2);
    for (int round = 0; round < 5'000; ++round) {
        NbdUri uri;
        uri.tls = random() % 2;
        uri.export_name = random_name(random);
        if (random() % 2) {
            uri.socket_path = "/run/%?#&= é/s" + std::to_string(random());
        } else {
            uri.host = random() % 2 ? "2001:db8::1" : "host-1.example";
            uri.port = static_cast<std::uint16_t>(1 + random() % 65535);
        }
        EXPECT_EQ(parsed(uri.str()), uri) << uri.str();
    }
}

TEST(NbdUri, RandomTextIsRefusedOrReadBackAsItself) {
    std::mt19937 random(3);
    const std::string_view pieces[] = {
        "nbd", "s",   "+unix", "://", "/",     "?",    "socket=", "%2", "%41", "[",
        "]",   "::1", "@",     ":",   "10809", "host", "\xff",    "-",  "."};
    for (int round = 0; round < 50'000; ++round) {
        std::string text = random() % 2 ? "nbd://" : "";
        for (auto left = random() % 12; left > 0; --left)
            text += pieces[random() % std::size(pieces)];
        const auto uri = NbdUri::parse(text);
        if (uri)
            EXPECT_EQ(NbdUri::parse(uri->str()).value(), *uri) << text;
        else
            EXPECT_TRUE(is_utf8(uri.error().message));
    }
}

}  // namespace
}  // namespace signpost
