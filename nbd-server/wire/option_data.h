// SPDX-License-Identifier: BSD-3-Clause
//
// The data of the options that have a structure, as a server reads it: INFO and GO, LIST and
// SET_META_CONTEXT. Each is read to its last byte; what overruns, is left over, or has a name that
// is no protocol string is refused, with a sentence for the client.
//
// The results refer to the data that was parsed. Pure functions; any thread.

#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nbd-server/wire/protocol.h"

namespace signpost::wire {

struct InfoRequest {
    std::string_view name;
    std::span<const std::byte> infos;  // 16 bits each

    bool wants(Info info) const;
};

struct MetaRequest {
    std::string_view name;
    std::uint32_t count;                 // of queries
    std::span<const std::byte> queries;  // that many strings, each behind its 32-bit length

    // Whether CONTEXT is asked for: by name, or, when it is not for selection, also by its
    // namespace ("base:") or by no query at all.
    bool names(std::string_view context, bool for_selection) const;

    // The queries that begin with PREFIX and go on, and are protocol strings; the first MOST.
    std::vector<std::string> with_prefix(std::string_view prefix, std::size_t most) const;
};

template <class Request>
using Parsed = std::expected<Request, std::string_view>;

Parsed<InfoRequest> parse_info_request(std::string_view data);
Parsed<MetaRequest> parse_meta_request(std::string_view data);

}  // namespace signpost::wire
