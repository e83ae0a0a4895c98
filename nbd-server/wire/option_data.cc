// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/wire/option_data.h"

#include <algorithm>

#include "nbd-server/wire/byte_reader.h"
#include "nbd-server/wire/text.h"

namespace signpost::wire {

namespace {

constexpr std::string_view kBadName = "the name is no text of at most 4096 bytes";
constexpr std::string_view kBadLength = "the lengths in the data of the option do not add up";

}  // namespace

bool InfoRequest::wants(Info info) const {
    ByteReader reader(infos);
    while (reader.ok() && reader.left() != 0) {
        if (static_cast<Info>(reader.take_u16()) == info) {
            return true;
        }
    }
    return false;
}

bool MetaRequest::names(std::string_view context, bool for_selection) const {
    if (count == 0) {
        return !for_selection;
    }
    const std::string_view space = context.substr(0, context.find(':') + 1);
    ByteReader reader(queries);
    while (reader.ok() && reader.left() != 0) {
        const std::string_view query = reader.take_text(reader.take_u32());
        if (query == context || (!for_selection && query == space && !space.empty())) {
            return true;
        }
    }
    return false;
}

std::vector<std::string> MetaRequest::with_prefix(std::string_view prefix,
                                                  std::size_t most) const {
    std::vector<std::string> found;
    ByteReader reader(queries);
    while (reader.ok() && reader.left() != 0 && found.size() < most) {
        const std::string_view query = reader.take_text(reader.take_u32());
        if (query.size() > prefix.size() && query.starts_with(prefix) &&
            is_protocol_string(query) && std::ranges::find(found, query) == found.end()) {
            found.emplace_back(query);
        }
    }
    return found;
}

Parsed<InfoRequest> parse_info_request(std::string_view data) {
    ByteReader reader(data);
    const std::string_view name = reader.take_text(reader.take_u32());
    const std::size_t infos = std::size_t{reader.take_u16()} * sizeof(Be16);
    if (!reader.ok() || reader.left() != infos) {
        return std::unexpected(kBadLength);
    }
    if (!is_protocol_string(name)) {
        return std::unexpected(kBadName);
    }
    return InfoRequest{name, reader.take_bytes(infos)};
}

Parsed<MetaRequest> parse_meta_request(std::string_view data) {
    ByteReader reader(data);
    const std::string_view name = reader.take_text(reader.take_u32());
    const std::uint32_t count = reader.take_u32();
    ByteReader rest = reader;
    for (std::uint32_t i = 0; i < count && reader.ok(); ++i) {
        reader.take_bytes(reader.take_u32());
    }
    if (!reader.ok() || reader.left() != 0) {
        return std::unexpected(kBadLength);
    }
    if (!is_protocol_string(name)) {
        return std::unexpected(kBadName);
    }
    return MetaRequest{name, count, rest.take_bytes(rest.left())};
}

}  // namespace signpost::wire
