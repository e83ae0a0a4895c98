// SPDX-License-Identifier: BSD-3-Clause
//
// SectorCipher decrypts the sectors of an encrypted disk as dm-crypt does: each for itself, with
// its number as what the cipher begins with.
//
// Values, not copyable. Threads: one at a time.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "catalog/error.h"

struct api_cipher_hd_st;  // GnuTLS's

namespace signpost {

namespace files {
struct Unlocked;
}

class SectorCipher {
   public:
    // AES with XTS or CBC. Fails with invalid when it is something else.
    static Result<SectorCipher> make(const files::Unlocked& unlocked);

    // BYTES are whole sectors, OFFSET bytes behind the first. False: they are not, or it cannot be.
    bool decrypt(std::uint64_t offset, std::span<std::byte> bytes);

   private:
    struct Close {
        void operator()(api_cipher_hd_st* cipher) const;
    };
    using Handle = std::unique_ptr<api_cipher_hd_st, Close>;

    SectorCipher() = default;
    static Handle open(int algorithm, std::span<const std::byte> key);
    bool add_essiv(std::span<const std::byte> key);

    Handle cipher_;
    Handle numbers_;      // of essiv
    bool short_ = false;  // numbers have 32 bits
    std::uint64_t sector_ = 0;
    std::uint64_t skipped_ = 0;
};

}  // namespace signpost
