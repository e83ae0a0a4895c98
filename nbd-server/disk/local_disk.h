// SPDX-License-Identifier: BSD-3-Clause
//
// A local raw image as a Disk. Requests complete on the caller's thread.
//
// Read-only: every read is followed by a look at the file's size and times; a file that has changed
// since it was opened gives EIO for ever after, never other bytes, never zeros (F13 to F15 in
// PROTOCOL.md; content_guard.h says what counts). Writable: our own writes change the times, so
// only the size is held to, and writes never extend the file. A failed fsync is sticky: every later
// flush fails until the image is opened anew (F17).
//
// Lifetime and threads: as Disk.

#pragma once

#include <functional>
#include <memory>

#include "nbd-server/disk/disk.h"
#include "nbd-server/disk/log.h"
#include "nbd-server/disk/repository.h"

namespace signpost {

struct LocalDiskHooks {
    // Runs once, before the first write, trim or zeroing: the place to say that copies are equal no
    // more. A failure fails that request with EIO, and the next one tries again. Empty: nothing to
    // do.
    std::function<Result<void>()> before_first_write;
};

// IMAGE must be raw with a chain of one (else invalid), and not have changed since it was opened
// (else conflict). LOG outlives the disk.
Result<std::shared_ptr<Disk>> make_local_disk(OpenImage image, LocalDiskHooks hooks, Log& log);

}  // namespace signpost
