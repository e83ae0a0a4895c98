// SPDX-License-Identifier: BSD-3-Clause
//
// ReadPart says where some of the bytes of a read are: in memory, their own or lent, in a file, in
// a pipe, or nowhere because they are zeroes. Who serves a client moves them the cheapest way that
// the client's connection allows.
//
// A value that can only be moved. One thread at a time.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "nbd-server/disk/pipe_pool.h"

namespace signpost {

struct ReadPart {
    enum class Place : std::uint8_t {
        memory,  // `bytes`, all of them
        lent,    // `loan`, which a disk has for others, too: give it back soon
        file,    // `file`, from `at` on; check Disk::content_holds() after they have left, and
                 // keep `loan`, if there is one, until then
        pipe,    // the first `head` bytes are in `bytes`, the others in `pipe`
        hole,    // zeroes
    };

    Place place = Place::hole;
    std::uint64_t offset = 0;  // on the disk
    std::uint32_t length = 0;
    std::unique_ptr<std::byte[]> bytes;
    std::shared_ptr<const std::byte> loan;  // lent: the first byte
    std::uint32_t head = 0;
    int file = -1;  // the disk's
    std::uint64_t at = 0;
    Pipe pipe;
};

}  // namespace signpost
