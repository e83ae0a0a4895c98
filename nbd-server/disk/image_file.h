// SPDX-License-Identifier: BSD-3-Clause
//
// One file of a repository, open and checked: what it is, how large, and whether somebody is
// writing to it. What RepositorySet and the backing chain are built on. Threads: any.

#pragma once

#include <cstdint>
#include <ctime>
#include <string>

#include "nbd-server/disk/image_header.h"
#include "nbd-server/disk/repository.h"

namespace signpost {

// How an image's top file is opened. Looking never opens for writing: closing such a descriptor
// looks like a change to whoever watches the directory, which may be ourselves.
enum class Access { look, serve };

struct CheckedFile {
    UniqueFd fd;
    std::uint64_t size = 0;      // of the file or device
    bool writable = false;       // the repository is, and the file lets us
    bool being_written = false;  // some other program has it open for writing
    std::uint64_t device = 0;
    std::uint64_t inode = 0;
    timespec changed{};  // ctime
};

// How messages name a repository's file: the directory and the path, safe for one line.
std::string display_path(const Repository& repository, const std::string& path);

// not_found, denied (outside the repository, or not a kind of file that is served), conflict, io.
// The message goes after the file's name.
Result<CheckedFile> open_image_file(const Repository& repository, const std::string& path,
                                    Access access);

// FD, of SIZE bytes, outlives it.
ImageBytes image_bytes(int fd, std::uint64_t size);

// A time stamp says nothing about changes that follow within the same tick of the kernel's clock.
// So this waits, some milliseconds at most, until the clock has left CHANGED behind: what is
// written later gets another stamp.
void wait_until_clock_passes(timespec changed);

}  // namespace signpost
