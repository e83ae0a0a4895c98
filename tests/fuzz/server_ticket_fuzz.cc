// SPDX-License-Identifier: BSD-3-Clause
//
// The claims of a ticket, which are read before its signature has been checked: what is accepted
// keeps the rules, and is read back from its own text as the same.

#include <stdlib.h>

#include <cstddef>
#include <cstdint>

#include "catalog/disk_name.h"
#include "nbd-server/server/ticket_json.h"

namespace {

void require(bool holds) {
    if (!holds)
        abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const auto claims = signpost::parse_claims(text);
    if (!claims) {
        const std::string& why = claims.error().message;
        require(why.find('\n') == why.npos && signpost::is_utf8(why) && why.size() < 1024);
        return 0;
    }
    require(signpost::DiskName::parse(claims->disk).has_value());
    require(claims->expires > claims->not_before &&
            claims->expires - claims->not_before <= signpost::kMaxTicketLife);
    require(claims->client.sans.size() <= signpost::ClientIdentity::kMaxSans);
    require(claims->client.via.empty());
    const auto again = signpost::parse_claims(signpost::claims_json(*claims));
    require(again && *again == *claims);
    return 0;
}
