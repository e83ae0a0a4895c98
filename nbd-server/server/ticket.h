// SPDX-License-Identifier: BSD-3-Clause
//
// A ticket is what a relay shows to the server that holds the disk: a short-lived, signed statement
// of which client asks, so that the holder applies its own rules to the client and not to the
// relay. Text, at most kMaxTicket bytes:
//
//     signpost1.BASE64URL(JSON).BASE64URL(SIGNATURE)
//
// The signature is Ed25519 over everything before the second dot. The issuer's public key is chosen
// by the name in the JSON, and nothing else in it is believed before the signature is good.
//
// Keys are PEM files in one directory: peer-key.pem, this server's own private key (certtool
// --generate-privkey --key-type ed25519), and peers/NAME.pem, the public key of each server that
// may vouch for clients (certtool --load-privkey peer-key.pem --pubkey-info).
//
// Lifetime: keys are shared and immutable; a reload loads new ones. Threads: any, but NonceWindow
// one at a time. A signature takes some 50 us, a check 150 us; loading reads files.

#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "catalog/error.h"
#include "nbd-server/server/client_identity.h"

namespace signpost {

inline constexpr std::size_t kMaxTicket = 4096;
inline constexpr std::int64_t kMaxTicketLife = 60;  // seconds

struct TicketClaims {
    std::string disk;       // a disk name, without `local:`
    bool write = false;     // ops: read, or read and write
    ClientIdentity client;  // who asks
    std::string issuer;     // server names
    std::string audience;
    std::int64_t not_before = 0;  // seconds since 1970
    std::int64_t expires = 0;     // at most kMaxTicketLife later
    std::string nonce;            // 32 hexadecimal digits

    bool operator==(const TicketClaims&) const = default;
};

class TicketKeys {
   public:
    // DIRECTORY as above. The own key may be absent (this server then vouches for nobody), and so
    // may `peers` (nobody vouches to it). Fails with not_found (no directory), denied or invalid;
    // the message names the file.
    static Result<std::shared_ptr<const TicketKeys>> load(const std::string& directory);

    TicketKeys(const TicketKeys&) = delete;
    TicketKeys& operator=(const TicketKeys&) = delete;
    ~TicketKeys();

    bool can_sign() const;
    bool knows(std::string_view issuer) const;
    std::vector<std::string> issuers() const;  // in byte order; for the log

    struct Loaded;  // GnuTLS's side
    const Loaded& loaded() const { return *loaded_; }

   private:
    explicit TicketKeys(std::unique_ptr<Loaded> loaded);

    std::unique_ptr<Loaded> loaded_;
};

// Claims with times from NOW on, at most kMaxTicketLife, and a new nonce; the rest is the caller's.
Result<TicketClaims> claims_from(std::int64_t now, std::chrono::seconds life);

// Fails with invalid: no own key, claims that break the rules above, or too long a text.
Result<std::string> make_ticket(const TicketKeys& keys, const TicketClaims& claims);

struct TicketCheck {
    std::string audience;            // this server's name
    std::int64_t now = 0;            // seconds since 1970
    std::int64_t tolerance_s = 120;  // how far the servers' clocks may be apart
};

// The claims, with client.via set to the issuer. Fails with invalid (malformed), or denied (unknown
// issuer, bad signature, another audience, not yet or no longer valid).
Result<TicketClaims> check_ticket(std::string_view text, const TicketKeys& keys,
                                  const TicketCheck& check);

// Remembers which tickets were used, for as long as they are valid, so that each is good once.
class NonceWindow {
   public:
    explicit NonceWindow(std::size_t limit = 65536) : limit_(limit) {}

    // denied: used before; unavailable: more valid tickets than can be remembered.
    Result<void> admit(const TicketClaims& claims, const TicketCheck& check);

    std::size_t size() const { return seen_.size(); }

   private:
    void forget_until(std::int64_t now);

    std::size_t limit_;
    std::unordered_set<std::string> seen_;  // issuer and nonce
    std::multimap<std::int64_t, std::string> by_end_;
};

}  // namespace signpost
