// SPDX-License-Identifier: BSD-3-Clause
//
// TskImage shows a part of the disk to The Sleuth Kit as an image of its own, so that whatever a
// file system refers to lies within its partition.
//
// Lifetime: the link outlives it. Not movable: the library keeps its address. Threads: one.

#pragma once

#include <tsk/libtsk.h>

#include "files/disk_link.h"

namespace signpost::files {

class TskImage {
   public:
    TskImage(DiskLink& link, Volume volume);
    TskImage(const TskImage&) = delete;
    TskImage& operator=(const TskImage&) = delete;
    ~TskImage();

    TSK_IMG_INFO* info() { return &seen_.info; }
    const Volume& volume() const { return volume_; }

    // Since the last call: whether the disk could not be read somewhere.
    bool take_read_error();

   private:
    struct Seen {
        TSK_IMG_INFO info;  // first: the library gives us a pointer to it
        TskImage* image;
    };

    static ssize_t read(TSK_IMG_INFO* info, TSK_OFF_T offset, char* to, std::size_t length);

    DiskLink& link_;
    Volume volume_;
    Seen seen_{};
    bool read_error_ = false;
};

// What the library's last call failed with, in its words.
std::string tsk_trouble();

}  // namespace signpost::files
