// SPDX-License-Identifier: BSD-3-Clause
//
// The frame of an operator's command: its console, its signals, and how it ends.
//
// Threads: main's.

#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "terminal/console.h"

namespace signpost {

// What a command does with its words, the program's name left out.
using CommandBody = std::function<Outcome<ExitCode>(Console&, const std::vector<std::string>&)>;

// Runs BODY as PROGRAM, and gives main's result. A failure becomes one line on standard error.
// SIGINT ends the program anywhere, so each change that BODY makes must be whole by itself.
int command_main(std::string_view program, int argc, char** argv, const CommandBody& body);

}  // namespace signpost
