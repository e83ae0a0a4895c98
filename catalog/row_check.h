// SPDX-License-Identifier: BSD-3-Clause
//
// What a store's rows hold before anybody has looked at them, and the one place where they become
// records: every field is checked here, because a row may have been written by hand, by another
// program or by somebody who is up to no good. What goes into a store passes the same rules.
//
// Pure functions. Threads: any.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "catalog/records.h"

namespace signpost {

// One location as a row says it. Codes of format and state: the order of their enumerators.
struct LocationRow {
    std::string server;
    std::string export_name;
    std::int64_t size = 0;
    std::int64_t format = 0;
    std::int64_t read_only = 1;
    std::int64_t generation = 0;
    std::string digest;  // kDigestBytes bytes, or none
    std::int64_t state = 0;
    std::int64_t priority = kDefaultPriority;
    std::int64_t last_seen = 0;
    std::string fingerprint;
    std::int64_t minimum_block = 1;
    std::int64_t verified = 0;
};

struct ServerRow {
    std::string name = {};
    std::string site = {};
    std::int64_t kind = 0;
    std::int64_t priority = kDefaultPriority;
    std::int64_t last_heartbeat = 0;
    std::int64_t heartbeat_sequence = 0;
    std::string instance = {};
    std::int64_t priority_class = static_cast<std::int64_t>(PriorityClass::site_normal);
    std::int64_t draining = 0;
    std::int64_t sessions = 0;
};

inline constexpr std::size_t kDigestBytes = 32;
inline constexpr std::size_t kMaxServerUris = 16;
inline constexpr std::uint32_t kMaxMinimumBlock = 65536;

Result<Location> check_location_row(LocationRow row);
Result<Server> check_server_row(ServerRow row);  // without URIs

// A server's URI: as NbdUri::parse, and without an export name.
Result<NbdUri> check_server_uri(std::string_view text);

// What a caller wants to store.
Result<void> check_image(const Image& image);
Result<void> check_server(const Server& server);
Result<void> check_location(const Location& location, const DiskName& disk);

// A site, a fingerprint, a writer: at most 128 bytes of UTF-8 without control characters.
bool is_word(std::string_view text);

// "sha256-32k:HEX" as its 32 bytes, and back; nothing when TEXT is no such digest.
std::optional<std::string> digest_bytes(std::string_view text);
std::string digest_text(std::string_view bytes);

}  // namespace signpost
