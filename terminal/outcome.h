// SPDX-License-Identifier: BSD-3-Clause
//
// How a verb ends: an exit code that scripts may rely on, and, when it failed, one line for the
// operator that also names the next command. signpost(1), EXIT STATUS, is the same table for
// people.
//
// Values; no thread rule.

#pragma once

#include <expected>
#include <string>
#include <utility>

#include "catalog/error.h"

namespace signpost {

enum class ExitCode : int {
    ok = 0,
    failed = 1,
    usage = 2,
    no_such_disk = 3,
    peer_unreachable = 4,
    catalog_unreachable = 5,
    problems_found = 6,
    denied = 7,
    conflict = 8,
    interrupted = 130,
};

struct Failure {
    ExitCode code;
    std::string message;  // empty: whoever failed has said it already
};

template <class T>
using Outcome = std::expected<T, Failure>;

inline std::unexpected<Failure> failure(ExitCode code, std::string message) {
    return std::unexpected(Failure{code, std::move(message)});
}

// What the catalog's or a server's error means to the operator. An error's text is kept.
Failure catalog_failure(const Error& error);
Failure peer_failure(const Error& error);

}  // namespace signpost
