// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/server/access_rules.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>

#include "catalog/disk_name.h"

namespace signpost {
namespace {

constexpr std::array<std::string_view, 4> kSanPrefixes{"dns:", "uri:", "ip:", "email:"};

using Patterns = std::vector<std::string>;

bool any_matches(const Patterns& patterns, std::string_view text) {
    return std::ranges::any_of(patterns,
                               [&](const auto& pattern) { return glob_matches(pattern, text); });
}

// Of an absent condition: fits. Of a name that was not proven: does not, not even `*`.
bool fits_name(const Patterns& patterns, std::string_view name) {
    return patterns.empty() || (!name.empty() && any_matches(patterns, name));
}

bool fits_sans(const Patterns& patterns, const std::vector<std::string>& sans) {
    return patterns.empty() ||
           std::ranges::any_of(sans, [&](const auto& san) { return any_matches(patterns, san); });
}

// A number of a user means something on one machine only, so not when somebody vouches for it.
bool fits_uid(const Patterns& patterns, const ClientIdentity& client) {
    return patterns.empty() || (client.local && client.via.empty() &&
                                any_matches(patterns, fmt::format("{}", client.local->uid)));
}

bool fits_network(const std::vector<IpNetwork>& networks, const ClientIdentity& client) {
    return networks.empty() ||
           (client.address && std::ranges::any_of(networks, [&](const IpNetwork& network) {
                return network.contains(*client.address);
            }));
}

// From the cheapest to the dearest.
bool fits(const AccessRule& rule, const ClientIdentity& client, std::string_view disk) {
    return fits_network(rule.network, client) && fits_uid(rule.uid, client) &&
           fits_name(rule.user, client.user) && fits_name(rule.psk, client.psk) &&
           fits_name(rule.dn, client.dn) && fits_sans(rule.san, client.sans) &&
           (rule.disk.empty() || any_matches(rule.disk, disk));
}

std::size_t character_length(std::string_view text, std::size_t at) {
    std::size_t end = at + 1;
    while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) {
        ++end;
    }
    return end - at;
}

std::unexpected<Error> bad_rule(std::string message) {
    return fail(Errc::invalid, std::move(message));
}

Result<void> check_patterns(std::string_view condition, const Patterns& patterns) {
    if (patterns.size() > AccessRules::kMaxPatterns) {
        return bad_rule(fmt::format("{}: {} patterns; a condition has at most {}", condition,
                                    patterns.size(), AccessRules::kMaxPatterns));
    }
    for (const std::string& pattern : patterns) {
        if (pattern.empty() || pattern.size() > AccessRules::kMaxPattern ||
            escaped(pattern, AccessRules::kMaxPattern * 4) != pattern) {
            return bad_rule(fmt::format("{} \"{}\" is not a pattern: 1 to {} bytes of plain text",
                                        condition, escaped(pattern, 100),
                                        AccessRules::kMaxPattern));
        }
    }
    return {};
}

Result<void> normalise_san(std::string& pattern) {
    for (const std::string_view prefix : kSanPrefixes) {
        if (pattern.starts_with(prefix) && pattern.size() > prefix.size()) {
            if (prefix == kSanPrefixes.front()) {
                std::ranges::transform(pattern, pattern.begin(), [](unsigned char c) {
                    return static_cast<char>(c < 0x80 ? std::tolower(c) : c);
                });
            }
            return {};
        }
    }
    if (pattern.find(':') != pattern.npos) {
        return bad_rule(
            fmt::format("san \"{}\": write what kind it is before the first colon: "
                        "dns:, uri:, ip: or email:",
                        escaped(pattern)));
    }
    pattern.insert(0, kSanPrefixes.front());
    return normalise_san(pattern);
}

Result<void> check_uid(const std::string& pattern) {
    const bool sound = std::ranges::all_of(
        pattern, [](char c) { return (c >= '0' && c <= '9') || c == '*' || c == '?'; });
    if (!sound) {
        return bad_rule(fmt::format("uid \"{}\" is no number; `id -u {}` tells a user's",
                                    escaped(pattern), escaped(pattern)));
    }
    return {};
}

// A pattern that no disk can have is a mistake that would go unseen for long.
Result<void> check_disk(const std::string& pattern) {
    for (const auto prefix : {ExportName::kLocalPrefix, ExportName::kDigestsPrefix}) {
        if (pattern.starts_with(prefix)) {
            return bad_rule(fmt::format("disk \"{}\": leave `{}` out; it is the same disk",
                                        escaped(pattern), prefix));
        }
    }
    if (pattern.starts_with('/')) {
        return bad_rule(
            fmt::format("disk \"{}\": names of disks do not begin with `/`", escaped(pattern)));
    }
    return {};
}

Result<void> check_network(const AccessRule& rule) {
    if (rule.network.size() > AccessRules::kMaxPatterns) {
        return bad_rule(fmt::format("cidr: at most {} networks", AccessRules::kMaxPatterns));
    }
    const bool alone = rule.dn.empty() && rule.san.empty() && rule.psk.empty() &&
                       rule.uid.empty() && rule.user.empty();
    if (!rule.network.empty() && alone && rule.right != Right::deny) {
        return bad_rule(
            "cidr alone lets nobody in, for an address proves nothing: add dn, san or psk");
    }
    return {};
}

Result<void> check_relay(const AccessRule& rule) {
    if (rule.trusted_relay && rule.dn.empty() && rule.san.empty() && rule.psk.empty()) {
        return bad_rule("trusted-relay: say with dn, san or psk which server that is");
    }
    return {};
}

}  // namespace

std::string_view to_string(Right right) {
    switch (right) {
        case Right::read_only:
            return "read-only";
        case Right::read_write:
            return "read-write";
        case Right::deny:
            break;
    }
    return "deny";
}

std::string_view to_string(const Access& access) {
    return access.trusted_relay ? kTrustedRelay : to_string(access.right);
}

Result<IpNetwork> IpNetwork::parse(std::string_view text) {
    const std::size_t slash = text.find('/');
    auto address = IpAddress::parse(text.substr(0, slash));
    if (!address) {
        return fail(Errc::invalid, fmt::format("\"{}\" is no network; write 10.0.0.0/8 or "
                                               "2001:db8::/32",
                                               escaped(text)));
    }
    IpNetwork network{*address, 128};
    const unsigned offset = address->is_v4() && text.find(':') == text.npos ? 96 : 0;
    if (slash != text.npos) {
        const std::string_view digits = text.substr(slash + 1);
        const auto [stop, error] =
            std::from_chars(digits.data(), digits.data() + digits.size(), network.bits);
        if (error != std::errc() || stop != digits.data() + digits.size() ||
            network.bits > 128 - offset) {
            return fail(Errc::invalid, fmt::format("\"{}\": after the slash goes a number from 0 "
                                                   "to {}",
                                                   escaped(text), 128 - offset));
        }
        network.bits += offset;
    }
    return network;
}

bool IpNetwork::contains(const IpAddress& other) const {
    const unsigned whole = bits / 8;
    if (!std::equal(address.bytes.begin(), address.bytes.begin() + whole, other.bytes.begin())) {
        return false;
    }
    const unsigned rest = bits % 8;
    return rest == 0 || ((address.bytes[whole] ^ other.bytes[whole]) >> (8 - rest)) == 0;
}

Access decide(const AccessRules& rules, const ClientIdentity& client, std::string_view disk) {
    const Right most = rules.writable ? Right::read_write : Right::read_only;
    if (rules.rules.empty()) {
        return {most, "no rules"};
    }
    for (const AccessRule& rule : rules.rules) {
        if (fits(rule, client, disk)) {
            return {std::min(rule.right, most), rule.origin, rule.trusted_relay};
        }
    }
    return {Right::deny, "no rule fits"};
}

Result<AccessRule> checked_rule(AccessRule rule) {
    const std::array<std::pair<std::string_view, const Patterns*>, 6> conditions{
        {{"dn", &rule.dn},
         {"san", &rule.san},
         {"psk", &rule.psk},
         {"uid", &rule.uid},
         {"user", &rule.user},
         {"disk", &rule.disk}}};
    for (const auto& [name, patterns] : conditions) {
        if (auto sound = check_patterns(name, *patterns); !sound) {
            return std::unexpected(std::move(sound.error()));
        }
    }
    std::ranges::transform(rule.dn, rule.dn.begin(), normal_dn);
    Result<void> sound = check_network(rule);
    sound = sound ? check_relay(rule) : sound;
    const auto check_each = [&](Patterns& patterns, auto check) {
        for (std::string& pattern : patterns) {
            sound = sound ? check(pattern) : sound;
        }
    };
    check_each(rule.san, normalise_san);
    check_each(rule.uid, check_uid);
    check_each(rule.disk, check_disk);
    if (!sound) {
        return std::unexpected(std::move(sound.error()));
    }
    return rule;
}

// After a mismatch only the last `*` takes one more character: what an earlier one could take, the
// last one can, too. So there is nothing to recurse into.
bool glob_matches(std::string_view pattern, std::string_view text) {
    constexpr std::size_t kNone = std::string_view::npos;
    std::size_t p = 0;
    std::size_t t = 0;
    std::size_t star = kNone;
    std::size_t resume = 0;
    while (t < text.size()) {
        if (p < pattern.size() && pattern[p] == '*') {
            star = p++;
            resume = t;
        } else if (p < pattern.size() && pattern[p] == '?') {
            ++p;
            t += character_length(text, t);
        } else if (p < pattern.size() && pattern[p] == text[t]) {
            ++p;
            ++t;
        } else if (star != kNone) {
            p = star + 1;
            t = resume += character_length(text, resume);
        } else {
            return false;
        }
    }
    return pattern.find_first_not_of('*', p) == kNone;
}

}  // namespace signpost
