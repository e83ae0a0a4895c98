// SPDX-License-Identifier: BSD-3-Clause
#include "catalog/row_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <utility>

namespace signpost {

namespace {

constexpr std::size_t kMaxExportName = 4096;  // the protocol's limit on strings
constexpr std::size_t kMaxWord = 128;         // site, instance, fingerprint
constexpr std::string_view kDigestPrefix = "sha256-32k:";

// Format, state and kind are stored as numbers: the order of the enumerators is part of the schema.
static_assert(static_cast<int>(ImageFormat::raw) == 0 && static_cast<int>(ImageFormat::vpc) == 5 &&
              static_cast<int>(ImageFormat::virtnbdbackup) == 6);
static_assert(static_cast<int>(LocationState::ready) == 0 &&
              static_cast<int>(LocationState::damaged) == 3);
static_assert(static_cast<int>(ServerKind::signpost) == 0 &&
              static_cast<int>(ServerKind::foreign) == 1);
static_assert(static_cast<int>(PriorityClass::global_high) == 0 &&
              static_cast<int>(PriorityClass::global_low) == 4);

bool is_code(std::int64_t value, std::int64_t last) {
    return value >= 0 && value <= last;
}

bool is_priority(std::int64_t value) {
    return value >= std::numeric_limits<int>::min() && value <= std::numeric_limits<int>::max();
}

bool is_minimum_block(std::int64_t value) {
    return value >= 1 && value <= kMaxMinimumBlock &&
           std::has_single_bit(static_cast<std::uint64_t>(value));
}

bool is_export_name(std::string_view text) {
    return text.size() <= kMaxExportName && is_utf8(text) &&
           text.find('\0') == std::string_view::npos;
}

int hex_digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

std::string_view location_fault(const LocationRow& row) {
    if (!check_server_name(row.server))
        return "server";
    if (!is_export_name(row.export_name))
        return "export name";
    if (row.size < 0)
        return "size";
    if (!is_code(row.format, static_cast<std::int64_t>(ImageFormat::virtnbdbackup)))
        return "format";
    if (!is_code(row.read_only, 1))
        return "read-only flag";
    if (row.generation < 1)
        return "generation";
    if (!row.digest.empty() && row.digest.size() != kDigestBytes)
        return "digest";
    if (!is_code(row.state, static_cast<std::int64_t>(LocationState::damaged)))
        return "state";
    if (!is_priority(row.priority))
        return "priority";
    if (row.last_seen < 0)
        return "time";
    if (!is_word(row.fingerprint))
        return "fingerprint";
    if (!is_minimum_block(row.minimum_block))
        return "minimum block";
    return row.verified < 0 ? "time of verification" : "";
}

std::string_view server_fault(const ServerRow& row) {
    if (!is_word(row.site))
        return "site";
    if (!is_code(row.kind, static_cast<std::int64_t>(ServerKind::foreign)))
        return "kind";
    if (!is_priority(row.priority))
        return "priority";
    if (!is_code(row.priority_class, static_cast<std::int64_t>(PriorityClass::global_low)))
        return "class";
    if (!is_code(row.draining, 1))
        return "draining flag";
    if (row.last_heartbeat < 0 || row.heartbeat_sequence < 0)
        return "heartbeat";
    if (row.sessions < 0 || row.sessions > std::numeric_limits<std::int32_t>::max())
        return "number of sessions";
    return is_word(row.instance) ? "" : "instance";
}

std::unexpected<Error> bad_row(std::string_view what, std::string_view field) {
    return fail(Errc::invalid, fmt::format("a {} row breaks the rule for its {}", what, field));
}

std::string_view image_fault(const Image& image) {
    if (image.size > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
        return "a size of 2^63 bytes or more";
    if (!is_export_name(image.export_name))
        return "an export name that is too long or not UTF-8 text";
    if (!is_word(image.fingerprint))
        return "a fingerprint that is too long or not UTF-8 text";
    if (!is_minimum_block(image.minimum_block))
        return "a minimum block that is no power of two from 1 to 65536";
    return image.state == LocationState::ready || image.state == LocationState::copying
               ? ""
               : "a state other than ready or copying";
}

// A number of a record's as its row has it; -1, which every rule refuses, when it is too large.
std::int64_t row_number(std::uint64_t value) {
    return std::in_range<std::int64_t>(value) ? static_cast<std::int64_t>(value) : -1;
}

}  // namespace

bool is_word(std::string_view text) {
    const auto control = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; };
    return text.size() <= kMaxWord && is_utf8(text) &&
           std::none_of(text.begin(), text.end(), control);
}

Result<Location> check_location_row(LocationRow row) {
    if (const auto fault = location_fault(row); !fault.empty())
        return bad_row("location", fault);
    Location location;
    location.server = std::move(row.server);
    location.export_name = std::move(row.export_name);
    location.size = static_cast<std::uint64_t>(row.size);
    location.format = static_cast<ImageFormat>(row.format);
    location.read_only = row.read_only == 1;
    location.generation = static_cast<std::uint64_t>(row.generation);
    location.digest = digest_text(row.digest);
    location.state = static_cast<LocationState>(row.state);
    location.priority = static_cast<int>(row.priority);
    location.last_seen = row.last_seen;
    location.fingerprint = std::move(row.fingerprint);
    location.minimum_block = static_cast<std::uint32_t>(row.minimum_block);
    location.verified = row.verified;
    return location;
}

Result<Server> check_server_row(ServerRow row) {
    if (!check_server_name(row.name))
        return bad_row("server", "name");
    if (const auto fault = server_fault(row); !fault.empty())
        return bad_row("server", fault);
    Server server;
    server.name = std::move(row.name);
    server.site = std::move(row.site);
    server.kind = static_cast<ServerKind>(row.kind);
    server.priority = static_cast<int>(row.priority);
    server.last_heartbeat = row.last_heartbeat;
    server.heartbeat_sequence = static_cast<std::uint64_t>(row.heartbeat_sequence);
    server.instance = std::move(row.instance);
    server.priority_class = static_cast<PriorityClass>(row.priority_class);
    server.draining = row.draining == 1;
    server.sessions = static_cast<std::uint32_t>(row.sessions);
    return server;
}

Result<NbdUri> check_server_uri(std::string_view text) {
    auto uri = NbdUri::parse(text);
    if (uri && !uri->export_name.empty())
        return fail(Errc::invalid,
                    fmt::format("\"{}\" names an export, but a server's URI must not: write {}",
                                escaped(text), escaped(uri->with_export("").str())));
    return uri;
}

Result<void> check_image(const Image& image) {
    if (const auto fault = image_fault(image); !fault.empty())
        return fail(Errc::invalid, fmt::format("disk {} cannot be published: it has {}",
                                               escaped(image.name.str()), fault));
    return {};
}

Result<void> check_server(const Server& server) {
    if (auto name = check_server_name(server.name); !name)
        return name;
    const ServerRow row{.name = server.name,
                        .site = server.site,
                        .kind = static_cast<std::int64_t>(server.kind),
                        .priority = server.priority,
                        .last_heartbeat = server.last_heartbeat,
                        .heartbeat_sequence = row_number(server.heartbeat_sequence),
                        .instance = server.instance,
                        .priority_class = static_cast<std::int64_t>(server.priority_class)};
    if (const auto fault = server_fault(row); !fault.empty())
        return fail(Errc::invalid, fmt::format("server {} has an unusable {}: at most {} bytes of "
                                               "UTF-8 text without control characters",
                                               server.name, fault, kMaxWord));
    if (server.uris.size() > kMaxServerUris)
        return fail(Errc::invalid, fmt::format("server {} has {} URIs; at most {} are stored",
                                               server.name, server.uris.size(), kMaxServerUris));
    for (const NbdUri& uri : server.uris)
        if (auto checked = check_server_uri(uri.str()); !checked)
            return std::unexpected(std::move(checked.error()));
    return {};
}

Result<void> check_location(const Location& location, const DiskName& disk) {
    const auto digest = digest_bytes(location.digest);
    const LocationRow row{.server = location.server,
                          .export_name = location.export_name,
                          .size = row_number(location.size),
                          .format = static_cast<std::int64_t>(location.format),
                          .read_only = std::int64_t{location.read_only},
                          .generation = row_number(location.generation),
                          .digest = digest.value_or(location.digest),
                          .state = static_cast<std::int64_t>(location.state),
                          .priority = location.priority,
                          .last_seen = location.last_seen,
                          .fingerprint = location.fingerprint,
                          .minimum_block = location.minimum_block,
                          .verified = location.verified};
    const std::string_view fault =
        !digest && !location.digest.empty() ? "digest" : location_fault(row);
    if (!fault.empty())
        return fail(Errc::invalid,
                    fmt::format("disk {} on {} has an unusable {}", escaped(disk.str()),
                                escaped(location.server), fault));
    return {};
}

std::optional<std::string> digest_bytes(std::string_view text) {
    if (!text.starts_with(kDigestPrefix))
        return std::nullopt;
    text.remove_prefix(kDigestPrefix.size());
    if (text.size() != kDigestBytes * 2)
        return std::nullopt;
    std::string bytes;
    for (std::size_t i = 0; i < text.size(); i += 2) {
        const int high = hex_digit(text[i]);
        const int low = hex_digit(text[i + 1]);
        if (high < 0 || low < 0)
            return std::nullopt;
        bytes += static_cast<char>(high * 16 + low);
    }
    return bytes;
}

std::string digest_text(std::string_view bytes) {
    if (bytes.empty())
        return {};
    std::string text(kDigestPrefix);
    for (const char byte : bytes)
        text += fmt::format("{:02x}", static_cast<unsigned char>(byte));
    return text;
}

}  // namespace signpost
