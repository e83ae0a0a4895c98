// SPDX-License-Identifier: BSD-3-Clause
//
// An image with all the files that it is based on, open and checked. The names come from the
// images' headers, so they are taken for what they are, outside input: a plain path, relative to
// the image's directory or textually beneath a repository, opened beneath that repository's root;
// never a protocol, never `json:`. Only raw and qcow2 files, in no circle, kMaxChain at most.
//
// Threads: any.

#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <vector>

#include "nbd-server/disk/image_file.h"
#include "nbd-server/disk/repository.h"

namespace signpost {

inline constexpr std::size_t kMaxChain = 200;

struct OpenChain {
    std::vector<ImageFile> files;  // top first
    std::uint64_t size = 0;        // of the disk
    bool writable = false;         // the top
    bool unsettled = false;        // Access::look only: nothing else is filled then
    timespec changed{};            // the youngest ctime of all
};

// Whether FILE is still being written, or changed less than SETTLE ago. A time in the future (the
// clock was set back) says nothing about what happens now.
bool is_unsettled(const CheckedFile& file, std::chrono::milliseconds settle);

bool is_later(const timespec& a, const timespec& b);

// SETTLE counts for Access::look: a file that changed less than that ago is unsettled.
// Errors: as RepositorySet::open_image; the message begins with the image's path.
Result<OpenChain> open_chain(const std::vector<Repository>& repositories, const RepositoryPath& top,
                             ImageFormat format, Access access, std::chrono::milliseconds settle);

}  // namespace signpost
