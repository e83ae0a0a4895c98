// SPDX-License-Identifier: BSD-3-Clause
//
// A configuration file (TOML), read into settings and access rules. Nothing stops at the first
// mistake but what is no TOML at all: each is reported with its line and column.
//
// Functions; parse_configuration is pure. Threads: any.

#pragma once

#include <string>
#include <string_view>

#include "nbd-server/server/configuration_options.h"

namespace signpost {

inline constexpr std::size_t kMaxConfigurationFile = 1024 * 1024;

// TEXT as the content of FILE, an absolute path: relative paths in it begin at FILE's directory.
void parse_configuration(std::string_view text, const std::string& file, ConfigurationDraft& draft);

// PATH: a file, or a directory of which all *.toml are read in the order of their names.
void read_configuration(const std::string& path, ConfigurationDraft& draft);

}  // namespace signpost
