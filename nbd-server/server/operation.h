// SPDX-License-Identifier: BSD-3-Clause
//
// Operation is one request of a client that is under way: at a disk, or on a thread that may block.
// The session owns it from its start until it has ended, whether the client is still there or not.
//
// Threads: the session's loop, but for what the disk fills while the request is its own.

#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "nbd-server/disk/disk.h"
#include "nbd-server/server/memory_budget.h"
#include "nbd-server/wire/request_reader.h"

namespace signpost {

class Session;

struct Operation {
    Session* session = nullptr;
    wire::Request asked;
    Request request;  // to the disk

    // A read's bytes, behind room for the head of the reply; or the payload of a write.
    std::unique_ptr<std::byte[]> memory;
    MemoryBudget::Share share;

    std::uint32_t filled = 0;  // of a write's payload
    std::uint64_t chosen = 0;  // contexts of a BLOCK_STATUS, a bit each
    int error = 0;             // once ended
    std::chrono::steady_clock::time_point began{};
    std::vector<Extent> extents;                             // of a BLOCK_STATUS
    std::map<std::string, std::vector<Extent>> differences;  // of it, by kDiffPrefix context
    std::vector<ReadPart> parts;  // of a read that has to be sent in one chunk
};

}  // namespace signpost
