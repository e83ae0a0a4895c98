// SPDX-License-Identifier: BSD-3-Clause
//
// Text that came over the wire, before anybody shows it. The wire code stands alone, so it does not
// borrow the catalog's functions for names. Pure functions; any thread.

#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace signpost::wire {

// A string as the protocol means it: at most 4,096 bytes of UTF-8 (RFC 3629) without NUL.
bool is_protocol_string(std::string_view text);

// TEXT for one line of a log: everything but printable ASCII becomes \xNN, and what is longer than
// LIMIT bytes of TEXT is cut with "...".
std::string quoted(std::string_view text, std::size_t limit = 200);

// TEXT for a human at the other end: valid UTF-8 stays, while control characters, what would turn
// the direction of writing, and bytes that are no UTF-8 become \xNN. What does not fit into TO is
// cut with "...". Returns how many bytes of TO were written.
std::size_t write_displayable(std::span<char> to, std::string_view text);

// The same, as a protocol string.
std::string displayable(std::string_view text);

}  // namespace signpost::wire
