// SPDX-License-Identifier: BSD-3-Clause
//
// signpostd's command line, taken apart: settings, and what is to be done with them. What is wrong
// with a value is not its business.
//
// Pure. Threads: any.

#pragma once

#include <string>
#include <variant>
#include <vector>

#include "nbd-server/server/configuration_options.h"

namespace signpost {

struct ServerCommandLine {
    std::vector<std::string> config;  // files or directories
    bool check_config = false;
    std::vector<Setting> settings;
};

std::variant<ServerCommandLine, ServerAnswer> parse_server_words(
    const std::vector<std::string>& words, const std::string& directory);

}  // namespace signpost
