// SPDX-License-Identifier: BSD-3-Clause
//
// The command line, parsed: an Invocation to run, or a text to print (help, version), or a refusal
// with ExitCode::usage.
//
// Pure. Threads: any.

#pragma once

#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "cli/raw_arguments.h"

namespace signpost {

struct Answer {
    std::string text;
};

// WORDS: the command line without the program's name.
Outcome<std::variant<Invocation, Answer>> parse_command_line(const std::vector<std::string>& words,
                                                             const Defaults& defaults);

}  // namespace signpost
