// SPDX-License-Identifier: BSD-3-Clause
//
// How many copies of which disks there are to be, as a configuration file says it:
//
//     [[copies]]
//     disks = "db/*"
//     copies = 2
//
// The first entry whose pattern fits a disk's name counts. Other keys of the file are not looked
// at.
//
// Values. Threads: any.

#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "catalog/error.h"

namespace signpost {

inline constexpr unsigned kMostCopies = 16;

struct WishedCopies {
    std::string disks;  // a pattern: `*` any text, `?` one character
    unsigned copies = 1;

    bool operator==(const WishedCopies&) const = default;
};

// TEXT: the content of FILE. invalid: "FILE:LINE:COLUMN: what is wrong".
Result<std::vector<WishedCopies>> parse_wished_copies(std::string_view text,
                                                      const std::string& file);

}  // namespace signpost
