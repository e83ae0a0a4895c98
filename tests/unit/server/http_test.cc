// SPDX-License-Identifier: BSD-3-Clause
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <fstream>

#include "nbd-server/http/http_host.h"
#include "nbd-server/http/metrics_text.h"
#include "nbd-server/http/page.h"
#include "nbd-server/http/session_report.h"
#include "nbd-server/http/sign_in.h"

namespace signpost {
namespace {

TEST(HostNames, KnowsItsOwnWithAnyPort) {
    const HostNames names({"Alpha.example"});
    EXPECT_TRUE(names.knows("alpha.example"));
    EXPECT_TRUE(names.knows("ALPHA.example:8443"));
    EXPECT_TRUE(names.knows("alpha.example."));
    EXPECT_TRUE(names.knows("localhost:1"));
}

TEST(HostNames, KnowsAddressesForTheyCannotBeForged) {
    const HostNames names({});
    EXPECT_TRUE(names.knows("127.0.0.1:80"));
    EXPECT_TRUE(names.knows("10.1.2.3"));
    EXPECT_TRUE(names.knows("[::1]:80"));
    EXPECT_TRUE(names.knows("[2001:db8::1]"));
}

TEST(HostNames, RefusesOthers) {
    const HostNames names({"alpha"});
    for (const char* host :
         {"", "evil.example", "alpha.evil.example", "evil.example:80", "alpha@evil.example",
          "alpha/evil", "[alpha]", "[::1", "::1", "alpha:80:80", "alpha:x", "alpha:123456",
          " alpha", "localhost.evil.example", "127.0.0.1.evil.example"}) {
        EXPECT_FALSE(names.knows(host)) << host;
    }
    EXPECT_FALSE(names.knows(std::string(300, 'a')));
}

TEST(MetricsText, EscapesLabels) {
    MetricsText text;
    text.family("x", MetricsText::Kind::gauge, "Help.");
    text.sample({{"peer", "a\"b\\c\nd"}}, 7);
    EXPECT_EQ(text.str(),
              "# HELP signpost_x Help.\n# TYPE signpost_x gauge\n"
              "signpost_x{peer=\"a\\\"b\\\\c\\\\x0ad\"} 7\n");
}

TEST(MetricsText, SumsClassesOfDurationsUp) {
    Histogram histogram;
    histogram.count(std::chrono::microseconds(0), 3);
    histogram.count(std::chrono::milliseconds(2));
    histogram.count(std::chrono::seconds(60));
    MetricsText text;
    text.family("x", MetricsText::Kind::histogram, "Help.");
    text.sample({}, histogram.read());
    EXPECT_NE(text.str().find("signpost_x_bucket{le=\"0.0001\"} 3\n"), std::string::npos);
    EXPECT_NE(text.str().find("signpost_x_bucket{le=\"0.005\"} 4\n"), std::string::npos);
    EXPECT_NE(text.str().find("signpost_x_bucket{le=\"5\"} 4\n"), std::string::npos);
    EXPECT_NE(text.str().find("signpost_x_bucket{le=\"+Inf\"} 5\n"), std::string::npos);
    EXPECT_NE(text.str().find("signpost_x_sum 60.002\n"), std::string::npos) << text.str();
    EXPECT_NE(text.str().find("signpost_x_count 5\n"), std::string::npos);
}

TEST(PagePolicy, NamesTheHashesOfItsOwnScripts) {
    const std::string policy = page_policy("<style>p {}</style><script>1</script>");
    // printf 1 | openssl dgst -sha256 -binary | base64
    EXPECT_NE(policy.find("script-src 'sha256-a4ayc/80/OGda4BO/1o/V0etpOqiLx1JwB5S3beHW0s='"),
              std::string::npos)
        << policy;
    EXPECT_EQ(policy.find("unsafe"), std::string::npos);
    EXPECT_NE(page_policy("none").find("script-src 'none'"), std::string::npos);
}

TEST(SessionReport, ReadsBackWhatItWrites) {
    SessionReport session;
    session.id = 17;
    session.disk = "web\n01\xe2\x80\xae/vda";
    session.export_name = session.disk;
    session.client = "10.0.0.7:5";
    session.route = "relay";
    session.peer = "beta";
    session.read = 5;
    session.since = 1;
    session.samples = {1, 2, 3};
    const std::string json = sessions_json("alpha", {session});
    for (const char c : json) {
        EXPECT_TRUE(c == '\n' || (c >= ' ' && c < 0x7f));
    }
    const auto answer = parse_sessions(json);
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->server, "alpha");
    ASSERT_EQ(answer->sessions.size(), 1u);
    EXPECT_EQ(answer->sessions[0].disk, session.disk);
    EXPECT_EQ(answer->sessions[0].peer, "beta");
    EXPECT_EQ(answer->sessions[0].rate(), 3u);
    EXPECT_FALSE(parse_sessions("{\"sessions\": [1]}"));
}

TEST(ParseUsers, TakesHashesThatAreWorthTheNameOnly) {
    std::size_t skipped = 0;
    const auto users = parse_users(
        "ann:$2y$05$abcdefghijklmnopqrstuuABCDEFG\n"
        "# a comment\n"
        "bob:secret\n"
        "carl:$apr1$abc$def\n"
        "dave:{SHA}abc\r\n"
        ":$6$abcdefghijklmn$abc\n"
        "eve:$6$abcdefghijklmn$abc",
        &skipped);
    EXPECT_EQ(users.size(), 2u);
    EXPECT_TRUE(users.contains("ann"));
    EXPECT_TRUE(users.contains("eve"));
    EXPECT_EQ(skipped, 4u);
}

class SignInTest : public testing::Test {
   protected:
    SignInTest() {
        char path[] = "/tmp/signpost-users.XXXXXX";
        ::close(::mkstemp(path));
        path_ = path;
        // Of "secret", by htpasswd -B -C 4
        write("ann:$2y$04$/GGYlkWi5lcCHfVGVi3H7u2oH6dVBRvw8VqJpTIndY2hpvBh5Wj.i\n");
    }
    ~SignInTest() override { ::unlink(path_.c_str()); }

    void write(const std::string& text) { std::ofstream(path_) << text; }

    SignIn::Settings settings() {
        return {.users = path_, .now = [this] { return now_; }};
    }

    std::string path_;
    SignIn::Clock::time_point now_{std::chrono::hours(1)};
};

TEST_F(SignInTest, KnowsWhoHasTheRightPassword) {
    SignIn sign_in(settings());
    const auto secret = sign_in.enter({"ann", "secret"}, "::1");
    ASSERT_TRUE(secret) << secret.error().message;
    EXPECT_EQ(sign_in.user_of(*secret), "ann");
    EXPECT_EQ(sign_in.user_of("0000"), "");
    EXPECT_EQ(sign_in.user_of(""), "");
    EXPECT_FALSE(sign_in.enter({"ann", "Secret"}, "::1"));
    EXPECT_FALSE(sign_in.enter({"bob", "secret"}, "::1"));
}

TEST_F(SignInTest, ForgetsAfterADayAndWhenToldTo) {
    SignIn sign_in(settings());
    const auto first = sign_in.enter({"ann", "secret"}, "::1");
    const auto second = sign_in.enter({"ann", "secret"}, "::1");
    ASSERT_TRUE(first && second);
    sign_in.leave(*first);
    EXPECT_EQ(sign_in.user_of(*first), "");
    EXPECT_EQ(sign_in.user_of(*second), "ann");
    now_ += std::chrono::hours(24);
    EXPECT_EQ(sign_in.user_of(*second), "");
}

TEST_F(SignInTest, ForgetsWhoIsTakenOut) {
    SignIn sign_in(settings());
    const auto secret = sign_in.enter({"ann", "secret"}, "::1");
    ASSERT_TRUE(secret);
    write("");
    EXPECT_EQ(sign_in.user_of(*secret), "");
    write("ann:$2y$04$/GGYlkWi5lcCHfVGVi3H7u2oH6dVBRvw8VqJpTIndY2hpvBh5Wj.i\n");
    EXPECT_EQ(sign_in.user_of(*secret), "");
}

TEST_F(SignInTest, LooksAtFewTriesAMinute) {
    SignIn sign_in(settings());
    for (int i = 0; i < 10; ++i) {
        EXPECT_EQ(sign_in.enter({"ann", "x"}, "10.0.0.1").error().code, Errc::denied);
    }
    EXPECT_EQ(sign_in.enter({"ann", "secret"}, "10.0.0.1").error().code, Errc::unavailable);
    EXPECT_TRUE(sign_in.enter({"ann", "secret"}, "10.0.0.2"));
    now_ += std::chrono::minutes(1);
    EXPECT_TRUE(sign_in.enter({"ann", "secret"}, "10.0.0.1"));
}

TEST_F(SignInTest, KeepsABoundedNumberOfSessions) {
    auto few = settings();
    few.sessions = 2;
    SignIn sign_in(few);
    const auto first = sign_in.enter({"ann", "secret"}, "::1");
    now_ += std::chrono::seconds(1);
    const auto second = sign_in.enter({"ann", "secret"}, "::1");
    now_ += std::chrono::seconds(1);
    const auto third = sign_in.enter({"ann", "secret"}, "::1");
    ASSERT_TRUE(first && second && third);
    EXPECT_EQ(sign_in.user_of(*first), "");
    EXPECT_EQ(sign_in.user_of(*second), "ann");
    EXPECT_EQ(sign_in.user_of(*third), "ann");
}

}  // namespace
}  // namespace signpost
