// SPDX-License-Identifier: BSD-3-Clause
//
// The claims of a ticket as JSON, and back. Reading trusts nothing: known keys, each once, of their
// type, within bounds; anything else refuses the whole. Private to the files of the ticket.
//
// Pure functions; threads: any.

#pragma once

#include <string>
#include <string_view>

#include "nbd-server/server/ticket.h"

namespace signpost {

std::string claims_json(const TicketClaims& claims);

// invalid. The life of the ticket is checked against kMaxTicketLife, not against any clock.
Result<TicketClaims> parse_claims(std::string_view json);

// The rules of ticket.h that need neither a clock nor a key.
Result<void> check_claims(const TicketClaims& claims);

}  // namespace signpost
