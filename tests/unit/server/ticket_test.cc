// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/server/ticket.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "nbd-server/server/ticket_json.h"
#include "tests/unit/disk/programs.h"
#include "tests/unit/requires.h"

namespace signpost::test {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kNow = 1'800'000'000;

class Ticket : public testing::Test {
   protected:
    void SetUp() override {
        SIGNPOST_REQUIRES("certtool");
        for (const char* server : {"alpha", "beta"}) {
            fs::create_directories(directory_.path(server) + std::string("/peers"));
            make_key(server);
        }
        fs::copy_file(directory_.path("alpha.pub"), directory_.path("beta/peers/alpha.pem"));
        alpha_ = loaded("alpha");
        beta_ = loaded("beta");
    }

    void make_key(const std::string& server, const std::string& type = "ed25519") {
        const std::string key = directory_.path(server + "/peer-key.pem");
        run_program({"certtool", "--generate-privkey", "--key-type=" + type, "--outfile", key});
        run_program({"certtool", "--load-privkey", key, "--pubkey-info", "--outfile",
                     directory_.path(server + ".pub")});
    }

    std::shared_ptr<const TicketKeys> loaded(const std::string& server) {
        auto keys = TicketKeys::load(directory_.path(server));
        EXPECT_TRUE(keys) << keys.error().message;
        return keys.value_or(nullptr);
    }

    static TicketClaims claims() {
        TicketClaims claims = *claims_from(kNow, std::chrono::seconds(60));
        claims.disk = "web01/vda";
        claims.issuer = "alpha";
        claims.audience = "beta";
        claims.client.address = *IpAddress::parse("10.0.0.7");
        claims.client.port = 40000;
        claims.client.tls = true;
        claims.client.dn = "CN=backup1,O=\u00dcber \"Co\"";
        claims.client.sans = {"dns:backup1.example"};
        return claims;
    }

    std::string signed_text(const TicketClaims& claims) {
        auto text = make_ticket(*alpha_, claims);
        EXPECT_TRUE(text) << text.error().message;
        return text.value_or("");
    }

    Result<TicketClaims> checked(std::string_view text, std::int64_t now = kNow) {
        return check_ticket(text, *beta_, {"beta", now, 120});
    }

    void expect_denied(const TicketClaims& claims, const std::string& part,
                       std::int64_t now = kNow) {
        const auto result = checked(signed_text(claims), now);
        ASSERT_FALSE(result);
        EXPECT_EQ(result.error().code, Errc::denied);
        EXPECT_NE(result.error().message.find(part), std::string::npos) << result.error().message;
    }

    TempDirectory directory_;
    std::shared_ptr<const TicketKeys> alpha_;
    std::shared_ptr<const TicketKeys> beta_;
};

TEST_F(Ticket, ArrivesAsItWasMadeAndSaysThroughWhom) {
    TicketClaims sent = claims();
    sent.write = true;
    const std::string text = signed_text(sent);
    EXPECT_LE(text.size(), kMaxTicket);
    const auto got = checked(text);
    ASSERT_TRUE(got) << got.error().message;
    sent.client.via = "alpha";
    EXPECT_EQ(*got, sent);
}

TEST_F(Ticket, OfALocalClientArrives) {
    TicketClaims sent = claims();
    sent.client = {};
    sent.client.local = UnixPeer{1000, 100, 4711};
    const auto got = checked(signed_text(sent));
    ASSERT_TRUE(got) << got.error().message;
    EXPECT_EQ(got->client.local, sent.client.local);
}

TEST_F(Ticket, WithAnyCharacterChangedIsRefused) {
    const std::string text = signed_text(claims());
    for (std::size_t i = 0; i < text.size(); ++i) {
        std::string changed = text;
        changed[i] = changed[i] == 'A' ? 'B' : 'A';
        EXPECT_FALSE(checked(changed)) << i;
    }
    EXPECT_FALSE(checked(text + "A"));
    EXPECT_FALSE(checked(text.substr(0, text.size() - 1)));
}

TEST_F(Ticket, OfAServerThatNobodyKnowsIsRefused) {
    TicketClaims other = claims();
    other.issuer = "gamma";
    expect_denied(other, "nobody here knows the server gamma");
}

TEST_F(Ticket, SignedByAnotherThanItsIssuerIsRefused) {
    fs::copy_file(directory_.path("beta.pub"), directory_.path("beta/peers/delta.pem"));
    beta_ = loaded("beta");
    TicketClaims other = claims();
    other.issuer = "delta";
    expect_denied(other, "signature");
}

TEST_F(Ticket, ForAnotherServerIsRefused) {
    TicketClaims other = claims();
    other.audience = "gamma";
    expect_denied(other, "for the server gamma");
}

TEST_F(Ticket, IsGoodFromItsBeginToItsEndGiveOrTakeTheClocks) {
    const std::string text = signed_text(claims());
    EXPECT_TRUE(checked(text, kNow - 120));
    EXPECT_TRUE(checked(text, kNow + 179));
    expect_denied(claims(), "not good before", kNow - 121);
    expect_denied(claims(), "ended", kNow + 180);
}

TEST_F(Ticket, WithHugeTimesIsRefused) {
    for (const std::int64_t time : {std::int64_t{0}, INT64_MAX - 60}) {
        TicketClaims other = claims();
        other.not_before = time;
        other.expires = time + 60;
        EXPECT_FALSE(checked(signed_text(other)));
    }
}

TEST_F(Ticket, ThatBreaksARuleIsNotMade) {
    const auto broken = [](auto change) {
        TicketClaims claims = Ticket::claims();
        change(claims);
        return claims;
    };
    for (const TicketClaims& each :
         {broken([](auto& c) { c.disk = "../x"; }), broken([](auto& c) { c.disk = "local:x"; }),
          broken([](auto& c) { c.issuer = ""; }), broken([](auto& c) { c.audience = "a b"; }),
          broken([](auto& c) { c.expires = c.not_before + 61; }),
          broken([](auto& c) { c.expires = c.not_before; }),
          broken([](auto& c) { c.not_before = -1; }), broken([](auto& c) { c.nonce = "00"; }),
          broken([](auto& c) { c.client.dn = "a\nb"; }),
          broken([](auto& c) { c.client.dn = "\xff"; }),
          broken([](auto& c) { c.client.sans.assign(33, "dns:x"); }),
          broken([](auto& c) { c.client.sans.assign(5, "dns:" + std::string(900, 'x')); })}) {
        const auto text = make_ticket(*alpha_, each);
        ASSERT_FALSE(text);
        EXPECT_EQ(text.error().code, Errc::invalid);
    }
}

TEST_F(Ticket, NeedsAKeyToBeMade) {
    fs::remove(directory_.path("alpha/peer-key.pem"));
    EXPECT_FALSE(make_ticket(*loaded("alpha"), claims()));
}

TEST_F(Ticket, KeysAreNamed) {
    EXPECT_TRUE(alpha_->can_sign());
    EXPECT_TRUE(beta_->knows("alpha"));
    EXPECT_FALSE(beta_->knows("beta"));
    EXPECT_EQ(beta_->issuers(), std::vector<std::string>{"alpha"});
}

TEST_F(Ticket, KeyOfAnotherKindIsNamed) {
    make_key("alpha", "ecdsa");
    const auto keys = TicketKeys::load(directory_.path("alpha"));
    ASSERT_FALSE(keys);
    EXPECT_NE(keys.error().message.find("alpha/peer-key.pem"), std::string::npos);
    fs::copy_file(directory_.path("alpha.pub"), directory_.path("beta/peers/alpha.pem"),
                  fs::copy_options::overwrite_existing);
    const auto peers = TicketKeys::load(directory_.path("beta"));
    ASSERT_FALSE(peers);
    EXPECT_NE(peers.error().message.find("peers/alpha.pem"), std::string::npos);
}

TEST_F(Ticket, PrivateKeyForAPeerIsRefused) {
    fs::copy_file(directory_.path("alpha/peer-key.pem"), directory_.path("beta/peers/alpha.pem"),
                  fs::copy_options::overwrite_existing);
    EXPECT_FALSE(TicketKeys::load(directory_.path("beta")));
}

TEST(TicketKeyDirectory, ThatIsMissingIsNamed) {
    const auto keys = TicketKeys::load("/nowhere/keys");
    ASSERT_FALSE(keys);
    EXPECT_EQ(keys.error().code, Errc::not_found);
    EXPECT_NE(keys.error().message.find("/nowhere/keys"), std::string::npos);
}

TEST(TicketKeyDirectory, WithFilesOfOtherNamesIsRefused) {
    const TempDirectory directory;
    fs::create_directory(directory.path("peers"));
    write_file(directory.path("peers/-x.pem"), "");
    EXPECT_FALSE(TicketKeys::load(directory.path()));
}

constexpr const char* kGood =
    R"({"disk":"a","ops":["read"],"client":{"tls":0},"iss":"alpha","aud":"beta","nbf":1,"exp":2,)"
    R"("nonce":"00000000000000000000000000000000"})";

std::string with(std::string_view old, std::string_view with) {
    std::string text = kGood;
    const std::size_t at = text.find(old);
    EXPECT_NE(at, std::string::npos);
    return text.replace(at, old.size(), with);
}

TEST(TicketJson, GoodOneIsRead) {
    const auto claims = parse_claims(kGood);
    ASSERT_TRUE(claims) << claims.error().message;
    EXPECT_EQ(parse_claims(claims_json(*claims)), *claims);
}

TEST(TicketJson, AnythingElseIsRefused) {
    for (const std::string& bad : {std::string(),
                                   std::string("[]"),
                                   std::string("null"),
                                   std::string(3000, '['),
                                   with("\"exp\":2", "\"exp\":2.5"),
                                   with("\"exp\":2", "\"exp\":\"2\""),
                                   with("\"exp\":2", "\"exp\":18446744073709551615"),
                                   with("\"exp\":2", "\"exp\":2,\"exp\":3"),
                                   with("\"exp\":2", "\"exp\":2,\"more\":1"),
                                   with("\"exp\":2,", ""),
                                   with("[\"read\"]", "[\"write\"]"),
                                   with("[\"read\"]", "\"read\""),
                                   with("{\"tls\":0}", "{\"tls\":2}"),
                                   with("{\"tls\":0}", "{\"tls\":0,\"tls\":0}"),
                                   with("{\"tls\":0}", "{\"tls\":0,\"port\":65536}"),
                                   with("{\"tls\":0}", "{\"tls\":0,\"port\":-1}"),
                                   with("{\"tls\":0}", "{\"tls\":0,\"uid\":4294967296}"),
                                   with("{\"tls\":0}", "{\"tls\":0,\"address\":\"here\"}"),
                                   with("{\"tls\":0}", "{\"tls\":0,\"sans\":[1]}"),
                                   with("{\"tls\":0}", "{\"tls\":0,\"dn\":\"\\u0000\"}"),
                                   with("{\"tls\":0}", "[]"),
                                   with("\"a\"", "\"a\\ud800\""),
                                   with("\"a\"", "\"\xff\""),
                                   with("0000\"", "000G\"")}) {
        EXPECT_FALSE(parse_claims(bad)) << bad;
    }
}

TicketClaims numbered(int number, std::int64_t expires) {
    TicketClaims claims;
    claims.issuer = "alpha";
    claims.nonce = std::to_string(number);
    claims.expires = expires;
    return claims;
}

TEST(TicketNonce, IsGoodOnce) {
    NonceWindow window;
    const TicketCheck check{"beta", kNow, 120};
    EXPECT_TRUE(window.admit(numbered(1, kNow + 60), check));
    const auto again = window.admit(numbered(1, kNow + 60), check);
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().code, Errc::denied);
    EXPECT_TRUE(window.admit(numbered(2, kNow + 60), check));
}

TEST(TicketNonce, IsForgottenWhenTheTicketHasEnded) {
    NonceWindow window;
    EXPECT_TRUE(window.admit(numbered(1, kNow + 60), {"beta", kNow, 120}));
    EXPECT_TRUE(window.admit(numbered(2, kNow + 200), {"beta", kNow + 179, 120}));
    EXPECT_EQ(window.size(), 2U);
    EXPECT_TRUE(window.admit(numbered(3, kNow + 200), {"beta", kNow + 180, 120}));
    EXPECT_EQ(window.size(), 2U);
}

TEST(TicketNonce, WindowIsBounded) {
    NonceWindow window(2);
    const TicketCheck check{"beta", kNow, 120};
    EXPECT_TRUE(window.admit(numbered(1, kNow + 60), check));
    EXPECT_TRUE(window.admit(numbered(2, kNow + 60), check));
    const auto third = window.admit(numbered(3, kNow + 60), check);
    ASSERT_FALSE(third);
    EXPECT_EQ(third.error().code, Errc::unavailable);
}

}  // namespace
}  // namespace signpost::test
