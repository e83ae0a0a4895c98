// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/piece_digests.h"

#include <fmt/format.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>

#include <algorithm>
#include <memory>

#if __has_include(<intel-ipsec-mb.h>)
#include <intel-ipsec-mb.h>
#define SIGNPOST_HAS_LANES 1
#endif

namespace signpost {

namespace {

std::span<const std::byte> piece_of(std::span<const std::byte> bytes, std::size_t piece) {
    const std::size_t begin = piece * kPieceBytes;
    return bytes.subspan(begin, std::min(kPieceBytes, bytes.size() - begin));
}

#ifdef SIGNPOST_HAS_LANES

struct FreeLanes {
    void operator()(IMB_MGR* lanes) const { ::free_mb_mgr(lanes); }
};
using Lanes = std::unique_ptr<IMB_MGR, FreeLanes>;

// Null where the processor has nothing of what the library needs.
Lanes make_lanes() {
    Lanes lanes(::alloc_mb_mgr(0));
    if (lanes) {
        ::init_mb_mgr_auto(lanes.get(), nullptr);
        if (::imb_get_errno(lanes.get()) != 0) {
            lanes.reset();
        }
    }
    return lanes;
}

// Takes back all that is done, from JOB on; how many that were.
std::size_t take_back(IMB_MGR* lanes, const IMB_JOB* job) {
    std::size_t done = 0;
    for (; job != nullptr; job = IMB_GET_COMPLETED_JOB(lanes)) {
        done += job->status == IMB_STATUS_COMPLETED ? 1 : 0;
    }
    return done;
}

// False: DIGESTS are not to be used.
bool hash_side_by_side(std::span<const std::byte> bytes, std::span<Sha256> digests) {
    thread_local const Lanes lanes = make_lanes();
    if (!lanes) {
        return false;
    }
    std::size_t done = 0;
    for (std::size_t i = 0; i < digests.size(); ++i) {
        const auto piece = piece_of(bytes, i);
        IMB_JOB* job = IMB_GET_NEXT_JOB(lanes.get());
        *job = {};
        job->cipher_mode = IMB_CIPHER_NULL;
        job->cipher_direction = IMB_DIR_ENCRYPT;
        job->chain_order = IMB_ORDER_HASH_CIPHER;
        job->hash_alg = IMB_AUTH_SHA_256;
        job->src = reinterpret_cast<const std::uint8_t*>(piece.data());
        job->msg_len_to_hash_in_bytes = piece.size();
        job->auth_tag_output = reinterpret_cast<std::uint8_t*>(digests[i].data());
        job->auth_tag_output_len_in_bytes = digests[i].size();
        done += take_back(lanes.get(), IMB_SUBMIT_JOB(lanes.get()));
    }
    while (const IMB_JOB* job = IMB_FLUSH_JOB(lanes.get())) {
        done += take_back(lanes.get(), job);
    }
    return done == digests.size();
}

#else

bool hash_side_by_side(std::span<const std::byte> /*bytes*/, std::span<Sha256> /*digests*/) {
    return false;
}

#endif

}  // namespace

Result<Sha256> sha256(std::span<const std::byte> bytes) {
    Sha256 digest{};
    const int code =
        ::gnutls_hash_fast(GNUTLS_DIG_SHA256, bytes.data(), bytes.size(), digest.data());
    if (code < 0) {
        return fail(Errc::io, fmt::format("SHA-256 does not work here: {}; check the GnuTLS setup",
                                          ::gnutls_strerror(code)));
    }
    return digest;
}

Result<std::vector<Sha256>> piece_digests(std::span<const std::byte> bytes) {
    std::vector<Sha256> digests((bytes.size() + kPieceBytes - 1) / kPieceBytes);
    if (hash_side_by_side(bytes, digests)) {
        return digests;
    }
    for (std::size_t i = 0; i < digests.size(); ++i) {
        const auto digest = sha256(piece_of(bytes, i));
        if (!digest) {
            return std::unexpected(digest.error());
        }
        digests[i] = *digest;
    }
    return digests;
}

}  // namespace signpost
