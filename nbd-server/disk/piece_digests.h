// SPDX-License-Identifier: BSD-3-Clause
//
// SHA-256 of many pieces at once: a processor hashes several side by side in little more time than
// one. Intel's multi-buffer library does it where there is one; elsewhere GnuTLS does one after the
// other. Pure. Threads: any; each keeps what the library works with, some hundred KiB, for itself.

#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <vector>

#include "catalog/error.h"

namespace signpost {

using Sha256 = std::array<std::byte, 32>;

inline constexpr std::size_t kPieceBytes = 32 * 1024;

// Of each kPieceBytes of BYTES, in order, the last one perhaps shorter. io when GnuTLS refuses.
Result<std::vector<Sha256>> piece_digests(std::span<const std::byte> bytes);

// io when GnuTLS refuses to hash.
Result<Sha256> sha256(std::span<const std::byte> bytes);

}  // namespace signpost
