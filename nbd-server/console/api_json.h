// SPDX-License-Identifier: BSD-3-Clause
//
// The console's answers as JSON. Where the command prints the same with --json, the text of that is
// taken and members are added; signpostd(8), CONSOLE, is the list. All of it is ASCII: names of
// disks may have anything in them, and are written with escapes.
//
// Pure. Threads: any.

#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "catalog/records.h"
#include "cli/probe.h"

namespace signpost {

// What to paste for a disk, by what it is for.
using CopyLines = std::vector<std::pair<std::string, std::string>>;

struct OwnFacts {
    std::string server;
    std::string version;
    std::string user;  // who asks; empty: nobody has signed in
    bool sign_in = false;
    bool rules = false;
    std::size_t sessions = 0;
};

std::string error_answer(std::string_view message, int code);
// JSON as the command printed it, in ASCII.
std::string plain_answer(const std::string& json);
std::string disks_answer(const std::vector<std::string>& items,
                         const std::optional<std::string>& next);
// Whose answer INFO is: a name may have meant a restore point.
std::string disk_of_answer(const std::string& info);
std::string disk_answer(const std::string& info, const std::string& uri, const CopyLines& lines);
std::string servers_answer(const std::vector<std::string>& servers,
                           const std::map<std::string, ProbeResult>& probes);
// LINES: what `files ls --json=lines` printed, one object each. MORE: it had more to say.
std::string files_answer(const char* name, const std::vector<std::string>& lines, bool more);
// Of what it printed of one path; empty: that is no regular file, but a directory perhaps.
std::optional<std::uint64_t> size_of_file(const std::vector<std::string>& lines);
std::string status_answer(const std::string& status, const OwnFacts& facts);

}  // namespace signpost
