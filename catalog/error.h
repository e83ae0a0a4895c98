// SPDX-License-Identifier: BSD-3-Clause
//
// Error is a failure as the operator reads it: what failed, on which disk or server, and what to do
// about it. Errc says the same to code, which never looks at the text.
//
// Values; copyable; no thread rule.

#pragma once

#include <expected>
#include <string>
#include <utility>

namespace signpost {

enum class Errc {
    invalid,      // malformed name, URI, option, row or header
    not_found,    // no such disk, server or file
    conflict,     // already there, or in use by somebody else
    denied,       // not permitted: read-only, outside the repository, refused by a rule
    unavailable,  // the catalog or a peer does not answer; trying again may help
    corrupt,      // the catalog or an image is damaged
    too_new,      // made by a newer release
    io,           // the operating system reports an error on a file
    full,         // no space left
};

struct Error {
    Errc code;
    std::string message;
};

template <class T>
using Result = std::expected<T, Error>;

// The failing half of a Result: `return fail(Errc::invalid, "...")`.
inline std::unexpected<Error> fail(Errc code, std::string message) {
    return std::unexpected(Error{code, std::move(message)});
}

}  // namespace signpost
