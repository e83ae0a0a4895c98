// SPDX-License-Identifier: BSD-3-Clause
//
// A `postgresql://` URI taken apart: the hosts one by one, so that each can be dialled by itself,
// and what may be shown of it. Secrets never leave here except towards libpq.
//
// Values; copyable; no thread rule.

#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "catalog/error.h"

namespace signpost {

struct PostgresHost {
    std::vector<std::pair<std::string, std::string>> options;  // libpq's keywords and values
    std::string name;  // for messages: HOST:PORT, or what libpq takes by itself
};

struct PostgresTarget {
    std::vector<PostgresHost> hosts;   // never empty
    std::string description;           // the URI without secrets, safe for one line
    std::vector<std::string> secrets;  // what no message may hold

    // TEXT (libpq's, the server's) made safe for a message: one line, escaped, without secrets.
    std::string safe(std::string_view text) const;
};

inline constexpr std::size_t kMaxPostgresHosts = 16;

// True for what open_catalog gives to this store.
bool is_postgres_uri(std::string_view url);

// The files and directories that libpq may read for URI: those that it names, and the defaults.
std::vector<std::string> postgres_files(std::string_view uri);

// URI: as libpq takes it, several hosts included. Fails with invalid.
Result<PostgresTarget> parse_postgres_uri(std::string_view uri);

}  // namespace signpost
