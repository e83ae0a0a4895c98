// SPDX-License-Identifier: BSD-3-Clause

#include "cli/sector_cipher.h"

#include <fmt/format.h>
#include <gnutls/crypto.h>

#include <array>

#include "catalog/disk_name.h"
#include "files/messages.h"

namespace signpost {

namespace {

constexpr std::size_t kBlock = 16;  // of AES
constexpr std::uint64_t kCounted = 512;

using Number = std::array<unsigned char, kBlock>;

Number little_endian(std::uint64_t value) {
    Number number{};
    for (std::size_t i = 0; i < sizeof value; ++i) {
        number[i] = static_cast<unsigned char>(value >> (8 * i));
    }
    return number;
}

int xts_of(std::size_t key) {
    return key == 64   ? GNUTLS_CIPHER_AES_256_XTS
           : key == 32 ? GNUTLS_CIPHER_AES_128_XTS
                       : GNUTLS_CIPHER_UNKNOWN;
}

int cbc_of(std::size_t key) {
    return key == 32   ? GNUTLS_CIPHER_AES_256_CBC
           : key == 24 ? GNUTLS_CIPHER_AES_192_CBC
           : key == 16 ? GNUTLS_CIPHER_AES_128_CBC
                       : GNUTLS_CIPHER_UNKNOWN;
}

}  // namespace

void SectorCipher::Close::operator()(api_cipher_hd_st* cipher) const {
    ::gnutls_cipher_deinit(cipher);
}

SectorCipher::Handle SectorCipher::open(int algorithm, std::span<const std::byte> key) {
    Number nothing{};
    gnutls_datum_t words{reinterpret_cast<unsigned char*>(const_cast<std::byte*>(key.data())),
                         static_cast<unsigned>(key.size())};
    gnutls_datum_t begin{nothing.data(), static_cast<unsigned>(nothing.size())};
    gnutls_cipher_hd_t handle = nullptr;
    const int error = ::gnutls_cipher_init(
        &handle, static_cast<gnutls_cipher_algorithm_t>(algorithm), &words, &begin);
    return Handle(error == 0 ? handle : nullptr);
}

// Sector numbers, encrypted with a digest of the key.
bool SectorCipher::add_essiv(std::span<const std::byte> key) {
    std::array<std::byte, 32> digest{};
    if (::gnutls_hash_fast(GNUTLS_DIG_SHA256, key.data(), key.size(), digest.data()) != 0) {
        return false;
    }
    numbers_ = open(GNUTLS_CIPHER_AES_256_CBC, digest);
    return numbers_ != nullptr;
}

Result<SectorCipher> SectorCipher::make(const files::Unlocked& unlocked) {
    const std::string_view name = unlocked.cipher;
    const auto key = std::as_bytes(std::span(unlocked.key));
    SectorCipher cipher;
    cipher.sector_ = unlocked.sector;
    cipher.skipped_ = unlocked.skipped;
    if (name == "aes-xts-plain64" || name == "aes-xts-plain") {
        cipher.cipher_ = open(xts_of(key.size()), key);
    } else if (name == "aes-cbc-plain64" || name == "aes-cbc-plain" ||
               (name == "aes-cbc-essiv:sha256" && cipher.add_essiv(key))) {
        cipher.cipher_ = open(cbc_of(key.size()), key);
    }
    cipher.short_ = name.ends_with("-plain");
    if (!cipher.cipher_) {
        return fail(Errc::invalid, fmt::format("it is encrypted with {}, which is not known here",
                                               escaped(name, 60)));
    }
    return cipher;
}

bool SectorCipher::decrypt(std::uint64_t offset, std::span<std::byte> bytes) {
    if (offset % sector_ != 0 || bytes.size() % sector_ != 0) {
        return false;
    }
    for (std::size_t at = 0; at < bytes.size(); at += sector_) {
        const std::uint64_t counted = skipped_ + (offset + at) / kCounted;
        Number number = little_endian(short_ ? static_cast<std::uint32_t>(counted) : counted);
        if (numbers_) {
            Number nothing{};
            ::gnutls_cipher_set_iv(numbers_.get(), nothing.data(), nothing.size());
            if (::gnutls_cipher_encrypt(numbers_.get(), number.data(), number.size()) != 0) {
                return false;
            }
        }
        ::gnutls_cipher_set_iv(cipher_.get(), number.data(), number.size());
        if (::gnutls_cipher_decrypt(cipher_.get(), bytes.data() + at, sector_) != 0) {
            return false;
        }
    }
    return true;
}

}  // namespace signpost
