// SPDX-License-Identifier: BSD-3-Clause
//
// A volume's file, as a pool gets it: qcow2 version 3 with nothing in it but a header that names
// the local server's export as its backing file. Three pages are allocated, whatever the disk's
// size. What a guest writes goes into the file, and from then on it is a user's data, which nobody
// but the user may change.
//
// A file is *pristine* when it is, byte by byte, what write_volume() makes for its own size and
// backing file: so whatever anybody has done to it, however small, makes it another's.
//
// Formats: QEMU's docs/interop/qcow2.txt. Threads: any; two calls on one file are the caller's.

#pragma once

#include <cstdint>
#include <string>

#include "catalog/error.h"
#include "nbd-server/disk/unique_fd.h"

namespace signpost {

struct VolumeTerms {
    std::uint64_t size = 0;  // of the disk, in bytes
    std::string backing;     // "nbd+unix:///web01%2Fvda?socket=/run/signpost/nbd.sock"

    bool operator==(const VolumeTerms&) const = default;
};

inline constexpr std::size_t kMaxBacking = 1023;                         // bytes, QEMU's limit
inline constexpr std::uint64_t kMaxVolumeSize = std::uint64_t{1} << 50;  // what its tables span

enum class VolumeState {
    pristine,
    written,  // qcow2 of somebody's, with a backing file or without
    damaged,  // no qcow2 at all
};

struct VolumeFacts {
    VolumeState state = VolumeState::damaged;
    VolumeTerms terms;            // of the header; nothing of a damaged file
    std::uint64_t allocated = 0;  // bytes on disk
};

// invalid: terms beyond the limits above, or a size that is no multiple of 512. FILE is for the
// message.
Result<void> check_terms(const std::string& file, const VolumeTerms& terms);

// Makes FILE in DIRECTORY, all of it or nothing: a temporary file is renamed. conflict: the name is
// taken; invalid: as check_terms; full, denied, io.
Result<void> write_volume(int directory, const std::string& file, const VolumeTerms& terms);

// As write_volume, in the place of the file that has the name.
Result<void> replace_volume(int directory, const std::string& file, const VolumeTerms& terms);

// Reads no more than the headers. not_found, denied, io; invalid: not a regular file.
Result<VolumeFacts> inspect_volume(int directory, const std::string& file);

// Holds what QEMU holds while it writes: nobody else opens the image meanwhile. unavailable:
// somebody has it open. The lock ends with the descriptor.
Result<UniqueFd> lock_volume(int directory, const std::string& file);

}  // namespace signpost
