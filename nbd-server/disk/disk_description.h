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

// "40 GiB raw on beta, relayed"; MORE: other servers that have it as well.
std::string describe_relayed_disk(std::uint64_t size, ImageFormat format, std::string_view server,
                                  std::size_t more);

// True when a server's description of an export says that it is itself a relay: a Signpost server
// that was registered as a foreign one. Relaying from it would be a relay of a relay.
bool describes_relay(std::string_view description);

}  // namespace signpost
