// SPDX-License-Identifier: BSD-3-Clause
//
// FormatHelpers serves images that are not raw: one qemu-nbd per open image, started on demand on a
// Unix socket that is bound before (LISTEN_FDS, so no race and no polling), shared by the image's
// sessions, kept warm for a while after the last, capped in number, and always ended with this
// process. The files of the chain are handed over as descriptors, formats and backing fixed on the
// command line, so nothing is probed and no header's file name is followed.
//
// Lifetime: outlives the disks that it makes; the destructor ends all helpers. Threads: any.

#pragma once

#include <chrono>
#include <functional>
#include <memory>

#include "nbd-server/disk/disk.h"
#include "nbd-server/disk/log.h"
#include "nbd-server/disk/relayed_disk.h"
#include "nbd-server/disk/repository.h"

namespace signpost {

struct FormatHelperSettings {
    std::string program = "qemu-nbd";
    std::chrono::seconds keep_warm{60};
    unsigned maximum = 64;  // helpers at once; idle ones make room, else Errc::unavailable
};

class FormatHelpers {
   public:
    FormatHelpers() = default;
    FormatHelpers(const FormatHelpers&) = delete;
    FormatHelpers& operator=(const FormatHelpers&) = delete;
    virtual ~FormatHelpers() = default;

    // The image behind a helper, as a Disk. not_found when qemu-nbd is not installed (the message
    // names the package), unavailable when the cap is reached or it did not start.
    virtual Result<std::shared_ptr<Disk>> open(
        OpenImage image, std::function<Result<void>()> before_first_write) = 0;

    // Images that have a helper now, in use or kept warm.
    virtual unsigned running() { return 0; }
};

std::unique_ptr<FormatHelpers> make_format_helpers(FormatHelperSettings settings,
                                                   RelayEngine& engine, Log& log);

}  // namespace signpost
