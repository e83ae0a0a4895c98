// SPDX-License-Identifier: BSD-3-Clause
//
// The file of a database that a server keeps for itself: made for its user only, and removed with
// what SQLite has put beside it.
//
// Threads: any; no state.

#pragma once

#include <string>

#include "catalog/error.h"

namespace signpost {

// Nothing happens when it is there. full, denied, io.
Result<void> make_database_file(const std::string& path);

// While nobody has it open.
void remove_database_file(const std::string& path);

}  // namespace signpost
