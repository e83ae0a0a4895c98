// SPDX-License-Identifier: BSD-3-Clause
//
// What --help says of each verb, and which of the shared options mean something to it.
//
// Constant data. Threads: any.

#pragma once

#include <span>
#include <string_view>

namespace signpost {

struct VerbInfo {
    std::string_view name;       // canonical; two words for a verb of a verb
    std::string_view alias;      // empty: none
    std::string_view arguments;  // as the usage line shows them
    std::string_view summary;    // one line
    std::string_view options;    // shared options beyond kEverywhere, long names, space-separated
    std::string_view examples;   // lines of a shell, each with its end of line
};

// Options that every verb takes.
inline constexpr std::string_view kEverywhere = "catalog json server color bytes help version";

std::span<const VerbInfo> all_verbs();

// Null when there is none of that canonical name.
const VerbInfo* find_verb(std::string_view name);

// True when the shared option (long name without dashes) means something to the verb.
bool takes_option(const VerbInfo& verb, std::string_view option);

}  // namespace signpost
