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
enum class ImageFormat { raw, qcow2, vmdk, vhdx, vdi, vpc, virtnbdbackup };
// Target priority as DFS has it (MS-DFSC): global_high before the servers of all sites, global_low
// after them; the others count among servers at equal site cost.
enum class PriorityClass { global_high, site_high, site_normal, site_low, global_low };
// As an operator writes them.
inline constexpr std::string_view kPriorityClasses =
    "global-high, site-high, site-normal, site-low, global-low";
enum class JobKind { copy, move };  // move: a copy after which SOURCE gives its image up
enum class JobState { waiting, running, done, failed, cancelled };

std::string_view to_string(ServerKind kind);
std::string_view to_string(LocationState state);
std::string_view to_string(ImageFormat format);
std::string_view to_string(PriorityClass priority_class);
std::string_view to_string(JobKind kind);
std::string_view to_string(JobState state);
std::optional<ServerKind> parse_server_kind(std::string_view text);
std::optional<LocationState> parse_location_state(std::string_view text);
std::optional<ImageFormat> parse_image_format(std::string_view text);
std::optional<PriorityClass> parse_priority_class(std::string_view text);
std::optional<JobKind> parse_job_kind(std::string_view text);
std::optional<JobState> parse_job_state(std::string_view text);

// Lower is asked first.
inline constexpr int kDefaultPriority = 100;

struct Server {
    std::string name;
    std::vector<NbdUri> uris;  // in the order in which to try them; without an export name
    std::string site;          // empty: unknown
    ServerKind kind = ServerKind::signpost;
    int priority = kDefaultPriority;  // the rank within its class
    PriorityClass priority_class = PriorityClass::site_normal;
    bool draining = false;                 // no new clients
    std::int64_t last_heartbeat = 0;       // seconds since 1970 by the store's clock; 0: never
    std::uint64_t heartbeat_sequence = 0;  // grows with each heartbeat
    std::string instance;                  // random, one per running process; empty for foreign
    std::uint32_t sessions = 0;            // clients, as it said with its last heartbeat

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
    std::string digest;            // "sha256-32k:HEX"; empty: unknown
    LocationState state = LocationState::ready;
    int priority = kDefaultPriority;
    std::int64_t last_seen = 0;       // seconds since 1970; 0: never
    std::string fingerprint;          // of the image file, as its server saw it; empty for foreign
    std::uint32_t minimum_block = 1;  // for writes: power of two, at most 64 KiB
    std::int64_t verified = 0;        // when the digest was last found true; 0: never

    bool operator==(const Location&) const = default;
};

// True when a read may move from A to B in mid-session: same content, proven.
bool interchangeable(const Location& a, const Location& b);

struct DiskRecord {
    DiskName name;
    std::vector<Location> locations;  // ordered by server name; never empty

    // 0: the catalog says so. Else it did not answer, and this is what was known of it at this time
    // (seconds since 1970): good for reading, not for what must be true now.
    std::int64_t as_of = 0;

    bool operator==(const DiskRecord&) const = default;
};

// How large a disk is, as far as the catalog knows: as its newest ready copy, else as its newest.
std::uint64_t disk_size(const DiskRecord& disk);

// True when both copies have been verified, and are not the same: two contents of one name.
bool conflicting(const Location& a, const Location& b);

// Whether any two of its copies are so.
bool in_conflict(const DiskRecord& disk);

// The copy with the newest content that was verified, damaged or not; null: none was. Copies that
// are in conflict with it are older (or of the same generation, but fewer), and not served to
// anybody.
const Location* newest_verified(const DiskRecord& disk);

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
    LocationState state = LocationState::ready;  // or copying
};

// How far apart two sites are, in both directions.
struct SiteCost {
    std::string from;
    std::string to;
    int cost = 0;  // 0 to kMaxSiteCost

    bool operator==(const SiteCost&) const = default;
};

inline constexpr int kMaxSiteCost = 10'000;
inline constexpr int kDefaultSiteCost = 100;

// 0 within a site; kDefaultSiteCost when COSTS do not have the pair.
int site_cost(const std::vector<SiteCost>& costs, std::string_view from, std::string_view to);

// A wish that a server carries out by itself, and how far it has come.
struct Job {
    std::string id = {};  // 32 lower-case hexadecimal digits
    JobKind kind = JobKind::copy;
    DiskName disk;
    std::string target = {};
    std::string source = {};  // empty: any
    std::uint64_t rate = 0;   // bytes per second; 0: unlimited
    JobState state = JobState::waiting;
    std::uint64_t size = 0;  // bytes
    std::uint64_t done = 0;
    std::string message = {};  // at most kMaxJobMessage bytes of UTF-8; not made safe to show
    std::int64_t created = 0;
    std::int64_t updated = 0;

    bool operator==(const Job&) const = default;
};

inline constexpr std::size_t kMaxJobMessage = 500;

// Done, failed or cancelled: nothing changes it any more.
bool is_final(JobState state);

// Who may write a disk's image.
struct WriterLease {
    DiskName disk;
    std::string server;        // whose image is written
    std::string writer;        // who writes: at most 128 bytes of text
    std::uint64_t fence = 0;   // grows with each new holder
    std::int64_t expires = 0;  // by the store's clock

    bool operator==(const WriterLease&) const = default;
};

struct Route {
    Location location;
    Server server;
    unsigned rank = 0;   // of those with the same one none is better; filled by order_routes()
    bool spare = false;  // is being drained: for when no other answers
};

// The answer to "where is it?": routes in the order in which to try them, good for `lifetime_s`.
struct Referral {
    DiskName disk;
    std::vector<Route> routes;
    std::uint32_t lifetime_s = 300;
    std::int64_t as_of = 0;  // as DiskRecord's
};

}  // namespace signpost
