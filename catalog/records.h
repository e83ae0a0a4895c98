// SPDX-License-Identifier: BSD-3-Clause
//
// The catalog's values: servers, locations, disks, and the referral that the resolver makes of
// them. Fields follow FedFS file-set locations (RFC 5716 and 7532) where they have the same
// meaning.
//
// Values; copyable; no thread rule. What a store returns has been validated field by field, because
// a row is not trusted.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "catalog/disk_name.h"
#include "catalog/nbd_uri.h"

namespace signpost {

enum class ServerKind { signpost, foreign };
enum class LocationState { ready, copying, stale, damaged };
enum class ImageFormat { raw, qcow2, vmdk, vhdx, vdi, vpc };

std::string_view to_string(ServerKind kind);
std::string_view to_string(LocationState state);
std::string_view to_string(ImageFormat format);
std::optional<ServerKind> parse_server_kind(std::string_view text);
std::optional<LocationState> parse_location_state(std::string_view text);
std::optional<ImageFormat> parse_image_format(std::string_view text);

// Lower is asked first.
inline constexpr int kDefaultPriority = 100;

struct Server {
    std::string name;
    std::vector<NbdUri> uris;  // in the order in which to try them; without an export name
    std::string site;          // empty: unknown
    ServerKind kind = ServerKind::signpost;
    int priority = kDefaultPriority;
    std::int64_t last_heartbeat = 0;       // seconds since 1970 by the store's clock; 0: never
    std::uint64_t heartbeat_sequence = 0;  // grows with each heartbeat
    std::string instance;                  // random, one per running process; empty for foreign

    bool operator==(const Server&) const = default;
};

// Server names are 1 to 128 bytes of [A-Za-z0-9._-], not beginning with `.` or `-`.
Result<void> check_server_name(std::string_view name);

struct Location {
    std::string server;
    std::string export_name;  // at that server
    std::uint64_t size = 0;   // bytes that a guest sees; below 2^63
    ImageFormat format = ImageFormat::raw;
    bool read_only = true;
    std::uint64_t generation = 0;  // grows with each change of the content; never used twice
    std::string digest;            // "sha256-4m:HEX"; empty: unknown
    LocationState state = LocationState::ready;
    int priority = kDefaultPriority;
    std::int64_t last_seen = 0;       // seconds since 1970; 0: never
    std::string fingerprint;          // of the image file, as its server saw it; empty for foreign
    std::uint32_t minimum_block = 1;  // for writes: power of two, at most 64 KiB

    bool operator==(const Location&) const = default;
};

// True when a read may move from A to B in mid-session: same content, proven.
bool interchangeable(const Location& a, const Location& b);

struct DiskRecord {
    DiskName name;
    std::vector<Location> locations;  // ordered by server name; never empty

    bool operator==(const DiskRecord&) const = default;
};

// How large a disk is, as far as the catalog knows: as its newest ready copy, else as its newest.
std::uint64_t disk_size(const DiskRecord& disk);

// What a server says of one of its images when it publishes. The store turns it into a Location:
// the generation and digest of an unchanged fingerprint and size are kept, else a new generation
// begins.
struct Image {
    DiskName name;
    std::string export_name;
    std::uint64_t size = 0;
    ImageFormat format = ImageFormat::raw;
    bool read_only = true;
    std::string fingerprint;
    std::uint32_t minimum_block = 1;
};

struct Route {
    Location location;
    Server server;
};

// The answer to "where is it?": routes in the order in which to try them, good for `lifetime_s`.
struct Referral {
    DiskName disk;
    std::vector<Route> routes;
    std::uint32_t lifetime_s = 300;
};

}  // namespace signpost
