// SPDX-License-Identifier: BSD-3-Clause
//
// The command line of signpost-pool, parsed: an invocation to run, or a text to print (help,
// version), or a refusal with ExitCode::usage.
//
// Pure. Threads: any.

#pragma once

#include <string>
#include <variant>
#include <vector>

#include "libvirt-pool/pool_invocation.h"
#include "terminal/outcome.h"

namespace signpost {

// WORDS: the command line without the program's name.
Outcome<std::variant<PoolInvocation, std::string>> parse_pool_command_line(
    const std::vector<std::string>& words);

}  // namespace signpost
