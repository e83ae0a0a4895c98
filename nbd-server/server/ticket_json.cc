// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/server/ticket_json.h"

#include <fmt/core.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "catalog/records.h"
#include "nbd-server/server/json_line.h"

namespace signpost {
namespace {

using nlohmann::json;

constexpr std::size_t kNonceDigits = 32;

std::unexpected<Error> bad_claims(std::string_view why) {
    return fail(Errc::invalid, fmt::format("ticket: {}", why));
}

bool is_plain(std::string_view text, std::size_t limit) {
    return text.size() <= limit && escaped(text, limit * 4) == text;
}

JsonLine client_json(const ClientIdentity& client) {
    JsonLine line;
    add_client(line, client);
    return line;
}

// Takes the members of one object, one by one; what is left over at the end was not known.
class Members {
   public:
    explicit Members(const json& object) : object_(object) { sound_ = object.is_object(); }

    void text(const char* key, std::string& to) {
        if (const json* value = take(key)) {
            sound_ = sound_ && value->is_string();
            if (sound_) {
                to = value->get<std::string>();
            }
        }
    }

    template <class Number>
    void number(const char* key, Number& to) {
        const json* value = take(key);
        if (value == nullptr) {
            return;
        }
        // Unsigned numbers beyond int64 would wrap.
        sound_ = sound_ && value->is_number_integer() &&
                 (!value->is_number_unsigned() ||
                  value->get<std::uint64_t>() <=
                      static_cast<std::uint64_t>(std::numeric_limits<Number>::max())) &&
                 (value->is_number_unsigned() ||
                  value->get<std::int64_t>() >=
                      static_cast<std::int64_t>(std::numeric_limits<Number>::min()));
        if (sound_) {
            to = value->get<Number>();
        }
    }

    void texts(const char* key, std::vector<std::string>& to, std::size_t limit) {
        const json* value = take(key);
        if (value == nullptr) {
            return;
        }
        sound_ = sound_ && value->is_array() && value->size() <= limit &&
                 std::ranges::all_of(*value, [](const json& each) { return each.is_string(); });
        if (sound_) {
            to = value->get<std::vector<std::string>>();
        }
    }

    const json* take(const char* key) {
        const auto found = sound_ ? object_.find(key) : object_.end();
        if (!sound_ || found == object_.end()) {
            return nullptr;
        }
        ++taken_;
        return &*found;
    }

    bool has(const char* key) const { return sound_ && object_.contains(key); }
    bool is_sound() const { return sound_ && taken_ == object_.size(); }

   private:
    const json& object_;
    bool sound_;
    std::size_t taken_ = 0;
};

bool read_client(const json& object, ClientIdentity& client) {
    Members members(object);
    std::string address;
    int tls = 0;
    members.text("address", address);
    members.number("port", client.port);
    if (members.has("uid")) {
        client.local.emplace();
        members.number("uid", client.local->uid);
        members.number("gid", client.local->gid);
        members.number("pid", client.local->pid);
    }
    members.number("tls", tls);
    client.tls = tls == 1;
    members.text("dn", client.dn);
    members.text("psk", client.psk);
    members.texts("sans", client.sans, ClientIdentity::kMaxSans);
    if (!address.empty()) {
        const auto parsed = IpAddress::parse(address);
        client.address = parsed ? std::optional(*parsed) : std::nullopt;
    }
    return members.is_sound() && (tls == 0 || tls == 1) &&
           (address.empty() || client.address.has_value());
}

bool read_ops(const json& object, bool& write) {
    write = object == json::array({"read", "write"});
    return write || object == json::array({"read"});
}

// nlohmann keeps the last of two equal keys, and whoever reads the first would see another ticket.
json parse_once(std::string_view text) {
    std::vector<std::set<std::string>> open;
    bool twice = false;
    const auto look = [&](int depth, json::parse_event_t event, json& parsed) {
        if (event == json::parse_event_t::object_start) {
            open.emplace_back();
        } else if (event == json::parse_event_t::object_end && !open.empty()) {
            open.pop_back();
        } else if (event == json::parse_event_t::key && !open.empty()) {
            twice |= !open.back().insert(parsed.get<std::string>()).second;
        }
        return depth < 8;
    };
    json result = json::parse(text, look, false);
    return twice ? json() : result;
}

}  // namespace

std::string claims_json(const TicketClaims& claims) {
    JsonLine line;
    line.add("disk", claims.disk)
        .add("ops", claims.write ? std::vector<std::string>{"read", "write"}
                                 : std::vector<std::string>{"read"})
        .add_object("client", client_json(claims.client))
        .add("iss", claims.issuer)
        .add("aud", claims.audience)
        .add("nbf", claims.not_before)
        .add("exp", claims.expires)
        .add("nonce", claims.nonce);
    return line.str();
}

Result<TicketClaims> parse_claims(std::string_view text) {
    const json object = parse_once(text);
    TicketClaims claims;
    Members members(object);
    members.text("disk", claims.disk);
    members.text("iss", claims.issuer);
    members.text("aud", claims.audience);
    members.text("nonce", claims.nonce);
    members.number("nbf", claims.not_before);
    members.number("exp", claims.expires);
    const json* ops = members.take("ops");
    const json* client = members.take("client");
    if (!members.is_sound() || ops == nullptr || client == nullptr) {
        return bad_claims("its JSON is not that of a ticket");
    }
    if (!read_ops(*ops, claims.write)) {
        return bad_claims("its ops are neither [\"read\"] nor [\"read\",\"write\"]");
    }
    if (!read_client(*client, claims.client)) {
        return bad_claims("its client is malformed");
    }
    if (auto sound = check_claims(claims); !sound) {
        return std::unexpected(std::move(sound.error()));
    }
    return claims;
}

Result<void> check_claims(const TicketClaims& claims) {
    if (const auto disk = DiskName::parse(claims.disk); !disk) {
        return bad_claims(disk.error().message);
    }
    for (const std::string* server : {&claims.issuer, &claims.audience}) {
        if (const auto name = check_server_name(*server); !name) {
            return bad_claims(name.error().message);
        }
    }
    const bool hexadecimal = std::ranges::all_of(
        claims.nonce, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
    if (claims.nonce.size() != kNonceDigits || !hexadecimal) {
        return bad_claims("its nonce is not 32 hexadecimal digits");
    }
    if (claims.not_before < 0 || claims.expires <= claims.not_before ||
        claims.expires - claims.not_before > kMaxTicketLife) {
        return bad_claims(
            fmt::format("it is good for no time, or for more than {} s", kMaxTicketLife));
    }
    const ClientIdentity& client = claims.client;
    const bool plain = is_plain(client.dn, ClientIdentity::kMaxName) &&
                       is_plain(client.psk, ClientIdentity::kMaxName) &&
                       client.sans.size() <= ClientIdentity::kMaxSans &&
                       std::ranges::all_of(client.sans, [](const std::string& san) {
                           return !san.empty() && is_plain(san, ClientIdentity::kMaxName);
                       });
    if (!plain) {
        return bad_claims("a name of its client is too long or not plain text");
    }
    return {};
}

}  // namespace signpost
