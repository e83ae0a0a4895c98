// SPDX-License-Identifier: BSD-3-Clause
//
// A disk's bytes as text, for tests that wait for each request.

#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "nbd-server/disk/disk.h"

namespace signpost::test {

inline int run(Disk& disk, Request request) {
    return submit_and_wait(disk, request);
}

// What is read, or "error N".
inline std::string read(Disk& disk, std::uint64_t offset, std::size_t length) {
    std::string text(length, '?');
    const int error = run(disk, {.op = Op::read,
                                 .offset = offset,
                                 .length = length,
                                 .buffer = reinterpret_cast<std::byte*>(text.data())});
    return error == 0 ? text : "error " + std::to_string(error);
}

inline int write(Disk& disk, std::uint64_t offset, std::string text, std::uint8_t flags = 0) {
    return run(disk, {.op = Op::write,
                      .flags = flags,
                      .offset = offset,
                      .length = text.size(),
                      .buffer = reinterpret_cast<std::byte*>(text.data())});
}

}  // namespace signpost::test
