// SPDX-License-Identifier: BSD-3-Clause
//
// RawView serves a FUSE mount in which parts of disks are files, named 0, 1, 2, …; for programs
// that read files and know no NBD. The kernel's side of the mount is somebody else's; this has its
// descriptor.
//
// Nothing here waits: turn() takes what the kernel asks, and answers what has come.
//
// Lifetime: the disks outlive it. Threads: one.

#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "cli/disk_blocks.h"
#include "nbd-server/disk/unique_fd.h"

struct fuse_req;
struct fuse_session;

namespace signpost {

struct RawVolume {
    DiskBlocks* disk;
    std::uint64_t start;
    std::uint64_t length;
};

class RawView {
   public:
    static Result<std::unique_ptr<RawView>> serve(UniqueFd fuse, std::vector<RawVolume> volumes);

    RawView(const RawView&) = delete;
    RawView& operator=(const RawView&) = delete;
    ~RawView();

    int fd() const;

    // READABLE: poll said so.
    void turn(bool readable);

   private:
    friend struct RawViewCalls;

    struct Read {
        fuse_req* request;
        const RawVolume* volume;
        std::uint64_t offset;
        std::uint64_t length;
    };

    explicit RawView(std::vector<RawVolume> volumes) : volumes_(std::move(volumes)) {}

    const RawVolume* volume_of(std::uint64_t inode) const;
    bool answer(const Read& read);

    std::vector<RawVolume> volumes_;
    std::deque<Read> reads_;
    fuse_session* session_ = nullptr;
    bool over_ = false;
};

}  // namespace signpost
