// SPDX-License-Identifier: BSD-3-Clause
//
// Who may do what with which disk: a list of rules, of which the first that fits decides. A rule
// fits when each of its conditions does; a condition is a list of patterns of which one has to
// match. When there are rules and none fits: deny. When there are none at all: every client that
// got through the door (TLS, where it is required) may read every disk, and write where the server
// is writable. What is not writable is not made so by any rule.
//
// Values; decide is pure. Threads: any (share them as const; a reload makes new ones).

#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "nbd-server/server/client_identity.h"

namespace signpost {

enum class Right { deny, read_only, read_write };

std::string_view to_string(Right right);  // "deny", "read-only", "read-write"

// An address and how many of its bits count: "10.0.0.0/8", "2001:db8::/32", "::1".
struct IpNetwork {
    IpAddress address;
    unsigned bits = 128;  // of the IPv6 form: 96 more than an IPv4 prefix

    static Result<IpNetwork> parse(std::string_view text);
    bool contains(const IpAddress& other) const;

    bool operator==(const IpNetwork&) const = default;
};

// Patterns: `*` is any text (also with `/`), `?` one character; all else is itself. Empty lists are
// no condition.
struct AccessRule {
    std::vector<std::string> dn = {};  // of the verified certificate, the whole RFC 4514 string
    std::vector<std::string> san = {};  // "uri:…", "ip:…", "email:…", "dns:…"; without prefix: dns
    std::vector<std::string> psk = {};  // user of the pre-shared key
    std::vector<std::string> uid = {};  // of a client on this machine, over a Unix socket; a number
    std::vector<std::string> user = {};   // who signed in at the console; nobody over NBD
    std::vector<IpNetwork> network = {};  // `cidr`: only together with one of the above, or to deny
    std::vector<std::string> disk = {};   // disk names; without `local:`
    Right right = Right::deny;

    // A server that relays to others without a word of whom: it reads only, and is called what it
    // is in logs. Needs dn, san or psk.
    bool trusted_relay = false;
    std::string origin = {};  // "signpost.toml:12", for logs

    bool operator==(const AccessRule&) const = default;
};

struct AccessRules {
    static constexpr std::size_t kMaxRules = 1000;
    static constexpr std::size_t kMaxPatterns = 100;  // in one condition
    static constexpr std::size_t kMaxPattern = 1024;  // bytes

    std::vector<AccessRule> rules;
    bool writable = false;  // else no right is more than read_only

    bool operator==(const AccessRules&) const = default;
};

struct Access {
    Right right = Right::deny;
    std::string_view rule;  // its origin, "no rule fits" or "no rules"; lives as long as the rules
    bool trusted_relay = false;
};

inline constexpr std::string_view kTrustedRelay = "trusted-relay";

// As the configuration has it, for logs.
std::string_view to_string(const Access& access);

// DISK: the disk's name without `local:`.
Access decide(const AccessRules& rules, const ClientIdentity& client, std::string_view disk);

// A rule that could not mean what it says (cidr alone, a san with another prefix, a uid that is no
// number, too much of anything): invalid, and what to write instead. Brings its patterns into the
// form that decide compares.
Result<AccessRule> checked_rule(AccessRule rule);

// What a client is told of a disk that it may not see, and of one that is not there.
inline constexpr std::string_view kNoSuchDisk =
    "no such disk for this client; to see which there are, list the exports";

// True when PATTERN matches all of TEXT. At most |PATTERN| * |TEXT| steps, no memory, no recursion.
bool glob_matches(std::string_view pattern, std::string_view text);

}  // namespace signpost
