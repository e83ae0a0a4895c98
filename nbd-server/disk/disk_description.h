// SPDX-License-Identifier: BSD-3-Clause
//
// What an export list says of a disk, in one line for people: "40 GiB raw on beta and 1 more,
// relayed". It is made of what the catalog or the repository knows; no peer is asked.
//
// Pure. Threads: any.

#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "catalog/records.h"

namespace signpost {

// "512 bytes", "1.5 MiB", "40 GiB": at most one digit after the point, never rounded up.
std::string size_for_people(std::uint64_t bytes);

// "40 GiB raw, here"
std::string describe_own_disk(std::uint64_t size, ImageFormat format);

// "40 GiB raw on beta, relayed"; MORE: other servers that have it as well. AS_OF as DiskRecord's:
// "40 GiB raw on beta (as of 2026-11-23T12:00:00Z, catalog unreachable), relayed".
std::string describe_relayed_disk(std::uint64_t size, ImageFormat format, std::string_view server,
                                  std::size_t more, std::int64_t as_of = 0);

// Seconds since 1970 as RFC 3339 in UTC: "2026-10-12T02:00:00Z". Empty for 0, which means never,
// and for times that RFC 3339 cannot write.
std::string rfc3339(std::int64_t seconds);

// "as of 2026-11-23T12:00:00Z"; "as of an unknown time" for one that nobody can remember.
std::string as_of_for_people(std::int64_t as_of);

// "newest point web01/vda@2026-11-20; 40 GiB raw, here": of a disk that was asked for by a name
// that only means it.
std::string describe_point(std::string_view point, std::string_view description);
bool describes_point(std::string_view description);

// True when a server's description of an export says that it is itself a relay: a Signpost server
// that was registered as a foreign one. Relaying from it would be a relay of a relay.
bool describes_relay(std::string_view description);

}  // namespace signpost
