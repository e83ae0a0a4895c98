// SPDX-License-Identifier: BSD-3-Clause
//
// Asks a server of this machine by its control socket, in its state directory: what only who runs
// the server, or root, may ask.
//
// Threads: any; no state.

#pragma once

#include <string>

#include "cli/invocation.h"

namespace signpost {

enum class ControlCall { ask, change };

// The answer to PATH (of the console's API) by the server that OPTIONS name; without --server, by
// the only one that keeps a socket here. Errors name the next step.
Outcome<std::string> ask_control(const Options& options, const std::string& path,
                                 ControlCall call = ControlCall::ask);

}  // namespace signpost
