// SPDX-License-Identifier: BSD-3-Clause
//
// What `doctor` looks at on the machine that it runs on, whatever the catalog says: the server's
// configuration, its directories and certificates, the programs and limits that it needs.
//
// Threads: one.

#pragma once

#include <vector>

#include "cli/json_output.h"
#include "cli/server_file.h"
#include "cli/verbs.h"

namespace signpost {

using Findings = std::vector<Finding>;

// FILE: the configuration that the server of this machine is started with; need not be there.
void examine_configuration(const std::string& file, bool must_be_there, Findings& findings);

// What is configured; an empty ServerFile: nothing.
void examine_directories(const ServerFile& file, Findings& findings);
void examine_certificates(const Context& context, const ServerFile& file, Findings& findings);
void examine_images(const ServerFile& file, Findings& findings);
void examine_stubs(const Context& context, Findings& findings);

void examine_programs(Findings& findings);

// How to mend a catalog that cannot be opened.
std::string catalog_remedy(const Error& error);

}  // namespace signpost
