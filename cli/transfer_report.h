// SPDX-License-Identifier: BSD-3-Clause
//
// What the verbs that fill a catalog or a file tell about it: while they do, and at the end.
//
// Pure functions on a console. Threads: one.

#pragma once

#include <string>

#include "cli/catalog_transfer.h"
#include "cli/json_output.h"
#include "cli/verbs.h"

namespace signpost {

// "imported: 12000 disks", on a terminal, from the third second on. CONTEXT outlives it.
TransferProgress transfer_progress(const Context& context, std::string what);

// What is not as it should be.
void note_doubts(const Context& context, const TransferReport& report);

// That, and the sum: "sqlite:/x: 2 servers, 5 disks imported".
void print_transfer(const Context& context, const TransferReport& report, std::string_view what);

// The catalog that is to be filled.
Outcome<std::unique_ptr<Catalog>> open_to_fill(const std::string& url, OpenMode mode);

}  // namespace signpost
