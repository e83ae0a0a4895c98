// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/server/ticket.h"

#include <dirent.h>
#include <fmt/core.h>
#include <gnutls/abstract.h>
#include <gnutls/crypto.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "catalog/records.h"
#include "nbd-server/disk/tls_files.h"
#include "nbd-server/server/ticket_json.h"

namespace signpost {
namespace {

constexpr std::string_view kVersion = "signpost1.";
constexpr std::size_t kSignature = 64;  // bytes of Ed25519
constexpr std::size_t kMaxPeers = 10'000;
constexpr std::string_view kAlphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

struct PrivateKeyFree {
    void operator()(gnutls_privkey_t key) const { gnutls_privkey_deinit(key); }
};
struct PublicKeyFree {
    void operator()(gnutls_pubkey_t key) const { gnutls_pubkey_deinit(key); }
};
using PrivateKey = GnutlsPtr<gnutls_privkey_t, PrivateKeyFree>;
using PublicKey = GnutlsPtr<gnutls_pubkey_t, PublicKeyFree>;

std::string base64url(std::string_view bytes) {
    std::string text;
    std::uint32_t held = 0;
    unsigned bits = 0;
    for (const char byte : bytes) {
        held = held << 8 | static_cast<unsigned char>(byte);
        for (bits += 8; bits >= 6; bits -= 6) {
            text += kAlphabet[held >> (bits - 6) & 63];
        }
    }
    if (bits > 0) {
        text += kAlphabet[held << (6 - bits) & 63];
    }
    return text;
}

// Empty when TEXT is not what base64url makes: one ticket has one spelling.
std::string from_base64url(std::string_view text) {
    std::string bytes;
    std::uint32_t held = 0;
    unsigned bits = 0;
    for (const char c : text) {
        const std::size_t value = kAlphabet.find(c);
        if (value == kAlphabet.npos) {
            return {};
        }
        held = held << 6 | static_cast<std::uint32_t>(value);
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            bytes += static_cast<char>(held >> bits & 0xff);
        }
    }
    return base64url(bytes) == text ? bytes : std::string();
}

gnutls_datum_t datum_of(std::string_view text) {
    return {reinterpret_cast<unsigned char*>(const_cast<char*>(text.data())),
            static_cast<unsigned>(text.size())};
}

std::unexpected<Error> refused(Errc code, std::string_view why) {
    return fail(code, fmt::format("ticket: {}", why));
}

constexpr const char* kWantedKey =
    "not an Ed25519 key; make one with certtool --generate-privkey --key-type ed25519";

Result<PrivateKey> read_private_key(const std::string& path) {
    auto file = read_optional_tls_file(path);
    if (!file) {
        return std::unexpected(std::move(file.error()));
    }
    if (!*file) {
        return PrivateKey();
    }
    gnutls_privkey_t raw = nullptr;
    gnutls_privkey_init(&raw);
    PrivateKey key(raw);
    const gnutls_datum_t pem = (*file)->datum();
    if (gnutls_privkey_import_x509_raw(raw, &pem, GNUTLS_X509_FMT_PEM, nullptr, 0) < 0 ||
        gnutls_privkey_get_pk_algorithm(raw, nullptr) != GNUTLS_PK_EDDSA_ED25519) {
        return fail_tls_file(path, kWantedKey);
    }
    return key;
}

Result<PublicKey> read_public_key(const std::string& path) {
    auto file = read_tls_file(path);
    if (!file) {
        return std::unexpected(std::move(file.error()));
    }
    gnutls_pubkey_t raw = nullptr;
    gnutls_pubkey_init(&raw);
    PublicKey key(raw);
    const gnutls_datum_t pem = file->datum();
    if (gnutls_pubkey_import(raw, &pem, GNUTLS_X509_FMT_PEM) < 0 ||
        gnutls_pubkey_get_pk_algorithm(raw, nullptr) != GNUTLS_PK_EDDSA_ED25519) {
        return fail_tls_file(path,
                             "not the public half of an Ed25519 key; make it with certtool "
                             "--load-privkey peer-key.pem --pubkey-info");
    }
    return key;
}

struct DirectoryClose {
    void operator()(DIR* directory) const { ::closedir(directory); }
};
using Directory = std::unique_ptr<DIR, DirectoryClose>;

std::unexpected<Error> fail_directory(const std::string& path, int error) {
    const Errc code = error == ENOENT   ? Errc::not_found
                      : error == EACCES ? Errc::denied
                                        : Errc::invalid;
    return fail_tls_file(path, std::strerror(error), code);
}

// The names of NAME.pem in DIRECTORY; empty when it does not exist.
Result<std::vector<std::string>> key_names(const std::string& directory) {
    std::vector<std::string> names;
    const Directory open(::opendir(directory.c_str()));
    if (!open) {
        return errno == ENOENT ? Result<std::vector<std::string>>(names)
                               : fail_directory(directory, errno);
    }
    while (const dirent* entry = ::readdir(open.get())) {
        std::string_view name = entry->d_name;
        if (name.starts_with('.') || !name.ends_with(".pem")) {
            continue;
        }
        name.remove_suffix(4);
        if (!check_server_name(name) || names.size() == kMaxPeers) {
            return fail_tls_file(directory + "/" + escaped(entry->d_name),
                                 "not named for a server: NAME.pem");
        }
        names.emplace_back(name);
    }
    std::ranges::sort(names);
    return names;
}

}  // namespace

struct TicketKeys::Loaded {
    PrivateKey own;
    std::map<std::string, PublicKey, std::less<>> peers;
};

TicketKeys::TicketKeys(std::unique_ptr<Loaded> loaded) : loaded_(std::move(loaded)) {}
TicketKeys::~TicketKeys() = default;

bool TicketKeys::can_sign() const {
    return loaded_->own != nullptr;
}

bool TicketKeys::knows(std::string_view issuer) const {
    return loaded_->peers.contains(issuer);
}

std::vector<std::string> TicketKeys::issuers() const {
    std::vector<std::string> names;
    for (const auto& [name, key] : loaded_->peers) {
        names.push_back(name);
    }
    return names;
}

Result<std::shared_ptr<const TicketKeys>> TicketKeys::load(const std::string& directory) {
    if (const Directory open(::opendir(directory.c_str())); !open) {
        return fail_directory(directory, errno);
    }
    auto loaded = std::make_unique<Loaded>();
    auto own = read_private_key(directory + "/peer-key.pem");
    if (!own) {
        return std::unexpected(std::move(own.error()));
    }
    loaded->own = std::move(*own);
    const auto names = key_names(directory + "/peers");
    if (!names) {
        return std::unexpected(names.error());
    }
    for (const std::string& name : *names) {
        auto key = read_public_key(fmt::format("{}/peers/{}.pem", directory, name));
        if (!key) {
            return std::unexpected(std::move(key.error()));
        }
        loaded->peers.emplace(name, std::move(*key));
    }
    return std::shared_ptr<const TicketKeys>(new TicketKeys(std::move(loaded)));
}

Result<TicketClaims> claims_from(std::int64_t now, std::chrono::seconds life) {
    std::array<unsigned char, 16> random;
    if (gnutls_rnd(GNUTLS_RND_NONCE, random.data(), random.size()) < 0) {
        return refused(Errc::unavailable, "the system gives no random numbers");
    }
    TicketClaims claims;
    claims.not_before = now;
    claims.expires = now + std::min<std::int64_t>(life.count(), kMaxTicketLife);
    for (const unsigned byte : random) {
        claims.nonce += fmt::format("{:02x}", byte);
    }
    return claims;
}

Result<std::string> make_ticket(const TicketKeys& keys, const TicketClaims& claims) {
    if (!keys.can_sign()) {
        return refused(Errc::invalid, "there is no peer-key.pem to sign it with");
    }
    if (const auto sound = check_claims(claims); !sound) {
        return std::unexpected(sound.error());
    }
    std::string text(kVersion);
    text += base64url(claims_json(claims));
    const gnutls_datum_t data = datum_of(text);
    gnutls_datum_t signature{};
    const int error = gnutls_privkey_sign_data2(keys.loaded().own.get(), GNUTLS_SIGN_EDDSA_ED25519,
                                                0, &data, &signature);
    if (error < 0) {
        return refused(Errc::invalid, fmt::format("cannot sign: {}", gnutls_strerror(error)));
    }
    text += '.';
    text += base64url({reinterpret_cast<const char*>(signature.data), signature.size});
    gnutls_free(signature.data);
    if (text.size() > kMaxTicket) {
        return refused(Errc::invalid, fmt::format("{} bytes for one client; at most {} fit. Its "
                                                  "certificate has long or many names",
                                                  text.size(), kMaxTicket));
    }
    return text;
}

namespace {

Result<void> check_signature(std::string_view signed_text, std::string_view signature,
                             gnutls_pubkey_t key) {
    const std::string bytes = from_base64url(signature);
    const gnutls_datum_t data = datum_of(signed_text);
    const gnutls_datum_t raw = datum_of(bytes);
    if (bytes.size() != kSignature ||
        gnutls_pubkey_verify_data2(key, GNUTLS_SIGN_EDDSA_ED25519, 0, &data, &raw) < 0) {
        return refused(Errc::denied, "its signature is not its issuer's");
    }
    return {};
}

Result<void> check_time(const TicketClaims& claims, const TicketCheck& check) {
    if (check.now < claims.not_before && claims.not_before - check.now > check.tolerance_s) {
        return refused(Errc::denied,
                       fmt::format("it is not good before {} s from now; do the clocks of the "
                                   "servers agree?",
                                   claims.not_before - check.now));
    }
    if (check.now >= claims.expires && check.now - claims.expires >= check.tolerance_s) {
        return refused(Errc::denied, fmt::format("it ended {} s ago; do the clocks of the servers "
                                                 "agree?",
                                                 check.now - claims.expires));
    }
    return {};
}

}  // namespace

Result<TicketClaims> check_ticket(std::string_view text, const TicketKeys& keys,
                                  const TicketCheck& check) {
    if (text.size() > kMaxTicket || !text.starts_with(kVersion)) {
        return refused(Errc::invalid, "not a ticket, or one of another version");
    }
    const std::size_t dot = text.find('.', kVersion.size());
    if (dot == text.npos) {
        return refused(Errc::invalid, "it has no signature");
    }
    const std::string json = from_base64url(text.substr(kVersion.size(), dot - kVersion.size()));
    auto claims = parse_claims(json);
    if (!claims) {
        return claims;
    }
    const auto key = keys.loaded().peers.find(claims->issuer);
    if (key == keys.loaded().peers.end()) {
        return refused(Errc::denied, fmt::format("nobody here knows the server {}; put its public "
                                                 "key into peers/{}.pem",
                                                 escaped(claims->issuer), escaped(claims->issuer)));
    }
    auto sound = check_signature(text.substr(0, dot), text.substr(dot + 1), key->second.get());
    if (sound && claims->audience != check.audience) {
        sound = refused(Errc::denied,
                        fmt::format("it is for the server {}", escaped(claims->audience)));
    }
    if (sound) {
        sound = check_time(*claims, check);
    }
    if (!sound) {
        return std::unexpected(std::move(sound.error()));
    }
    claims->client.via = claims->issuer;
    return claims;
}

void NonceWindow::forget_until(std::int64_t now) {
    while (!by_end_.empty() && by_end_.begin()->first <= now) {
        seen_.erase(by_end_.begin()->second);
        by_end_.erase(by_end_.begin());
    }
}

Result<void> NonceWindow::admit(const TicketClaims& claims, const TicketCheck& check) {
    forget_until(check.now);
    if (seen_.size() >= limit_) {
        return refused(Errc::unavailable, "too many at once; ask again in a minute");
    }
    std::string key = claims.issuer + " " + claims.nonce;
    if (!seen_.insert(key).second) {
        return refused(Errc::denied, "it was used before");
    }
    by_end_.emplace(claims.expires + check.tolerance_s, std::move(key));
    return {};
}

}  // namespace signpost
