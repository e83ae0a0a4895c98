// SPDX-License-Identifier: BSD-3-Clause
//
// What a person at a console pastes to use a disk that a server shows: commands for a shell, and
// libvirt's XML. Names of disks may have anything in them; each line is quoted for where it goes.
//
// Pure. Threads: any.

#pragma once

#include <optional>
#include <string>

#include "nbd-server/console/api_json.h"

namespace signpost {

struct DiskLines {
    std::string uri;
    CopyLines lines;  // by purpose
};

// SERVER: by which clients reach it. Empty: that is no URI.
std::optional<DiskLines> copy_lines(const std::string& server, const std::string& disk);

// TEXT as one word of a POSIX shell.
std::string shell_word(std::string_view text);

}  // namespace signpost
