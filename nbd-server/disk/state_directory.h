// SPDX-License-Identifier: BSD-3-Clause
//
// A server's own state: what it keeps for itself, in a directory of its own, so that servers of one
// machine do not meet there: BASE/NAME, for its user only.
//
// Threads: any; no state.

#pragma once

#include <string>

#include "catalog/error.h"

namespace signpost {

// Makes what is missing of BASE/SERVER (a checked server name) and gives it. BASE empty: invalid,
// nothing is to be kept. denied, full, io: it cannot be made, or not be read. It may be that
// nothing can be written there.
Result<std::string> own_state_directory(const std::string& base, const std::string& server);

}  // namespace signpost
