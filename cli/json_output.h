// SPDX-License-Identifier: BSD-3-Clause
//
// What --json prints. Keys are snake_case and only ever added; sizes are exact bytes; times are
// RFC 3339; what is not known is null. signpost(1), JSON, is the list.
//
// Each function gives one JSON value without an end of line: compact, or indented for one that
// stands alone. Pure. Threads: any.

#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "catalog/catalog.h"
#include "catalog/restore_point.h"
#include "cli/difference_reading.h"
#include "cli/first_configuration.h"
#include "cli/probe.h"

namespace signpost {

struct LocationReport {
    Location location;
    std::optional<NbdUri> uri;
    std::optional<ProbeResult> probe;  // when the server was asked
};

struct DiskReport {
    DiskName disk;
    std::uint64_t size;
    std::vector<LocationReport> locations;
    std::vector<std::vector<std::string>> same_content;  // groups of servers
    bool conflict = false;                             // copies were verified and are not the same
    std::optional<WriterLease> writer = std::nullopt;  // who writes now
    std::vector<NamedPoint> points = {};               // of info only; in the order of time
};

struct VerifiedLocation {
    enum class Result { verified, unreachable, failed, changed, damaged, skipped };

    std::string server;
    Result result = Result::skipped;
    std::uint64_t size = 0;
    std::string digest;   // empty: not known
    std::string message;  // empty when verified
    std::uint64_t bytes_read = 0;
};

struct VerifyReport {
    DiskName disk;
    std::vector<VerifiedLocation> locations;
    bool copies_agree = false;  // all that could be read
    bool writable = false;      // one of these can be written: relays do not count on its digest
};

struct DiffReport {
    std::string one;
    std::string other;
    std::uint64_t one_size = 0;
    std::uint64_t other_size = 0;
    ByteRanges ranges;
    std::uint64_t bytes_read = 0;  // of each
};

struct StatusReport {
    std::string catalog;
    int schema = 0;  // 0: not known
    std::uint64_t change_sequence = 0;
    Catalog::Totals totals;
    std::uint64_t single_copy_disks = 0;
    bool all_disks_seen = true;  // false: single_copy_disks is at least that
    std::uint64_t skipped_rows = 0;
    std::vector<Server> servers;
    std::int64_t now = 0;
    std::string trouble;  // the catalog does not answer, and this is what stubs say; empty: it does
    std::string knowledge;   // whose stubs, as of when
    std::int64_t as_of = 0;  // of the stubs; 0: not known, or the catalog answers
};

// A location on the way from a server to a disk.
struct ExplainStep {
    Location location;
    std::optional<Server> server = {};
    unsigned place = 0;            // from 1, in the order of asking; 0: passed over
    std::string passed_over = {};  // why
    bool same_site = false;
    int site_cost = 0;
    bool silent = false;              // no heartbeat for too long
    bool stands_in = false;           // for the first, in the middle of reading
    std::int64_t heartbeat_age = -1;  // seconds by the catalog's clock; below 0: none, or not asked
    std::optional<NbdUri> asked_for = {};
    std::optional<ProbeResult> probe = {};
};

struct ExplainReport {
    DiskName disk;
    std::string server = {};  // from whose view
    std::string site = {};
    std::string catalog = {};
    std::string trouble = {};       // why stubs answer in the catalog's place; empty: they do not
    std::string stubs_server = {};  // empty: no stubs here
    std::string stubs_text = {};
    std::int64_t stubs_as_of = 0;
    bool stubs_agree = false;
    std::optional<Location> own = {};
    std::vector<ExplainStep> steps = {};  // routes in their order, then those passed over
    unsigned routes = 0;
    std::string result = {};
    std::int64_t now = 0;
};

// A catalog or a file that was filled from another.
struct TransferReport {
    std::string target;
    std::uint64_t servers = 0;
    std::uint64_t disks = 0;
    std::uint64_t skipped_rows = 0;          // of where they came from
    bool of_one_moment = true;               // nothing changed there meanwhile
    std::vector<std::string> disputes = {};  // a line each
};

struct Finding {
    enum class Level { ok, warning, failure };

    Level level;
    std::string check;
    std::string message;
    std::string fix;  // empty when ok
};

struct PublishReport {
    std::string server;
    PublishSummary summary;
    std::vector<std::string> disks;     // published
    std::vector<std::string> refusals;  // a line each
    bool dry_run = false;
};

struct CachedDiskReport {
    std::string disk;
    std::string known_by;  // digest, copy or verified
    std::uint64_t size = 0;
    std::uint64_t cached = 0;
};

struct CacheReport {
    std::vector<CachedDiskReport> contents;
    std::uint64_t hit = 0;  // bytes for clients that were there
    std::uint64_t fetched = 0;
};

std::string_view to_string(VerifiedLocation::Result result);
std::string_view to_string(Finding::Level level);

std::string list_item_json(const DiskRecord& disk, std::uint64_t size);
// A line of `ls --points`; TIME as RFC 3339.
std::string point_json(const DiskRecord& disk, const RestorePoint& point, bool newest);

std::string where_json(const DiskReport& report);
std::string info_json(const DiskReport& report);
std::string uri_json(const DiskName& disk, const std::string& server, const NbdUri& uri);
std::string server_json(const Server& server, std::int64_t now);
std::string removal_json(const std::string& what, const std::vector<std::string>& locations,
                         bool dry_run);
std::string site_cost_json(const SiteCost& cost);
std::string drain_json(const std::string& server, bool draining,
                       const std::vector<std::string>& only_copies);
std::string publish_json(const PublishReport& report);
std::string verify_item_json(const VerifyReport& report);
std::string diff_json(const DiffReport& report);
std::string status_json(const StatusReport& report);
std::string cache_json(const CacheReport& report);
std::string explain_json(const ExplainReport& report);
std::string doctor_json(const std::vector<Finding>& findings);
std::string job_json(const Job& job, bool dry_run);
std::string transfer_json(const TransferReport& report);
std::string init_json(const std::string& file, const FirstConfiguration& configuration,
                      bool written);
std::string catalog_json(const std::string& description);

// A list, an item at a time: `[`, items, `]`, or one item a line.
class JsonList {
   public:
    explicit JsonList(bool lines) : lines_(lines) {}

    std::string item(const std::string& json);
    std::string end() const;

   private:
    bool lines_;
    bool first_ = true;
};

}  // namespace signpost
