// SPDX-License-Identifier: BSD-3-Clause
//
// What `signpost files … --json` prints: as json_output.h says. A name that is not UTF-8 has its
// bytes in `path_hex`, too.
//
// Pure. Threads: any.

#pragma once

#include <string>
#include <vector>

#include "cli/guest_disk.h"
#include "files/messages.h"

namespace signpost {

struct FileLine {
    std::string disk;
    std::string path;
    files::Entry entry;
};

std::string file_json(const FileLine& line, bool indented);
std::string files_json(const std::vector<FileLine>& lines);
std::string volume_json(const GuestVolume& volume);
std::string volumes_json(const std::vector<GuestVolume>& volumes);

std::string_view to_string(files::FileType type);

}  // namespace signpost
