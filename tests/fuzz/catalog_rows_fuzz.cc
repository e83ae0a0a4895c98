// SPDX-License-Identifier: BSD-3-Clause
//
// Rows of the catalog: bytes become the fields of a row, and what the check lets through keeps the
// rules that the rest of the program relies on.

#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "catalog/row_check.h"

namespace {

void require(bool holds) {
    if (!holds)
        abort();
}

// Takes fields off the front of the input; zeros and empty text when it has run out.
class Fields {
   public:
    Fields(const std::uint8_t* data, std::size_t size)
        : left_(reinterpret_cast<const char*>(data), size) {}

    // Small numbers mostly: they are where the rules are.
    std::int64_t number() {
        if (byte() % 4 != 0)
            return static_cast<signed char>(byte());
        std::int64_t value = 0;
        const std::size_t size = std::min(left_.size(), sizeof value);
        if (size > 0)
            memcpy(&value, left_.data(), size);
        left_.remove_prefix(size);
        return value;
    }

    std::string text() {
        const std::size_t wanted = byte() % 8 == 0 ? byte() * std::size_t{20} : byte() % 40;
        const auto taken = left_.substr(0, wanted);
        left_.remove_prefix(taken.size());
        return std::string(taken);
    }

   private:
    unsigned char byte() {
        if (left_.empty())
            return 0;
        const auto value = static_cast<unsigned char>(left_.front());
        left_.remove_prefix(1);
        return value;
    }

    std::string_view left_;
};

signpost::LocationRow location_row(Fields& fields) {
    signpost::LocationRow row;
    row.server = fields.text();
    row.export_name = fields.text();
    row.size = fields.number();
    row.format = fields.number();
    row.read_only = fields.number();
    row.generation = fields.number();
    row.digest = fields.text();
    row.state = fields.number();
    row.priority = fields.number();
    row.last_seen = fields.number();
    row.fingerprint = fields.text();
    row.minimum_block = fields.number();
    return row;
}

signpost::ServerRow server_row(Fields& fields) {
    signpost::ServerRow row;
    row.name = fields.text();
    row.site = fields.text();
    row.kind = fields.number();
    row.priority = fields.number();
    row.last_heartbeat = fields.number();
    row.heartbeat_sequence = fields.number();
    row.instance = fields.text();
    return row;
}

void check_location(const signpost::Location& location) {
    require(signpost::check_server_name(location.server).has_value());
    require(location.export_name.size() <= 4096 && signpost::is_utf8(location.export_name));
    require(location.size >> 63 == 0 && location.generation > 0 && location.last_seen >= 0);
    require(std::has_single_bit(location.minimum_block) && location.minimum_block <= 65536);
    require(location.digest.empty() || signpost::digest_bytes(location.digest).has_value());
    require(signpost::parse_image_format(to_string(location.format)) == location.format);
    require(signpost::parse_location_state(to_string(location.state)) == location.state);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Fields fields(data, size);
    if (const auto location = signpost::check_location_row(location_row(fields)))
        check_location(*location);
    if (const auto server = signpost::check_server_row(server_row(fields))) {
        require(server->uris.empty() && server->last_heartbeat >= 0);
        require(signpost::check_server(*server).has_value());
    }
    const std::string digest = fields.text();
    if (const auto bytes = signpost::digest_bytes(digest))
        require(signpost::digest_text(*bytes) == digest);
    return 0;
}
