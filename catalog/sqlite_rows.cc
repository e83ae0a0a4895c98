// SPDX-License-Identifier: BSD-3-Clause
#include "catalog/sqlite_rows.h"

#include <algorithm>
#include <array>
#include <string>

#include "catalog/row_check.h"

namespace signpost {

namespace {

// The columns of a location statement.
enum : int {
    kServer,
    kExportName,
    kSize,
    kFormat,
    kReadOnly,
    kGeneration,
    kDigest,
    kState,
    kPriority,
    kLastSeen,
    kFingerprint,
    kMinimumBlock,
    kDisk,
};

// The columns of a server statement.
enum : int {
    kName,
    kSite,
    kKind,
    kServerPriority,
    kLastHeartbeat,
    kHeartbeatSequence,
    kInstance,
    kId,
    kUri,
};

// False when the column holds another type than the schema says.
bool take(const Statement& row, int column, std::int64_t& field) {
    const auto value = row.integer(column);
    field = value.value_or(0);
    return value.has_value();
}

bool take(const Statement& row, int column, std::string& field) {
    const auto value = row.text(column);
    field = value.value_or("");
    return value.has_value();
}

bool take_export_name(const Statement& row, std::string_view disk, std::string& field) {
    if (!row.is_null(kExportName))
        return take(row, kExportName, field);
    field = disk;
    return true;
}

bool take_digest(const Statement& row, std::string& field) {
    if (row.is_null(kDigest))
        return true;
    const auto value = row.blob(kDigest);
    field = value.value_or("");
    return !field.empty();
}

std::optional<Server> server_in(const Statement& row) {
    ServerRow fields;
    const bool typed = take(row, kName, fields.name) && take(row, kSite, fields.site) &&
                       take(row, kKind, fields.kind) &&
                       take(row, kServerPriority, fields.priority) &&
                       take(row, kLastHeartbeat, fields.last_heartbeat) &&
                       take(row, kHeartbeatSequence, fields.heartbeat_sequence) &&
                       take(row, kInstance, fields.instance);
    if (!typed)
        return std::nullopt;
    auto server = check_server_row(std::move(fields));
    return server ? std::optional(std::move(*server)) : std::nullopt;
}

bool add_uri(const Statement& row, Server& server) {
    if (row.is_null(kUri))
        return true;
    const auto text = row.text(kUri);
    auto uri = check_server_uri(text.value_or(""));
    if (!text || !uri || server.uris.size() >= kMaxServerUris)
        return false;
    server.uris.push_back(std::move(*uri));
    return true;
}

// Collects rows, which come in the order of their disks' names, into disks.
class DiskCollector {
   public:
    explicit DiskCollector(SkipCount& skipped) : skipped_(skipped) {}

    bool is_current(std::string_view name) const { return started_ && name == name_; }

    void start(std::string_view name) {
        finish();
        name_ = name;
        started_ = true;
    }

    void add(const Statement& row) {
        if (auto location = location_in(row, name_))
            locations_.push_back(std::move(*location));
        else
            ++skipped_;
    }

    // A disk whose name breaks the rules takes its locations with it.
    void finish() {
        if (!locations_.empty()) {
            if (auto name = DiskName::parse(name_))
                disks_.push_back({std::move(*name), ordered(std::move(locations_))});
            else
                skipped_ += locations_.size();
        }
        locations_.clear();
    }

    std::size_t size() const { return disks_.size(); }
    std::vector<DiskRecord> take_disks() { return std::move(disks_); }

   private:
    static std::vector<Location> ordered(std::vector<Location> locations) {
        std::sort(locations.begin(), locations.end(),
                  [](const Location& a, const Location& b) { return a.server < b.server; });
        return locations;
    }

    SkipCount& skipped_;
    bool started_ = false;
    std::string name_;
    std::vector<Location> locations_;
    std::vector<DiskRecord> disks_;
};

}  // namespace

std::optional<Location> location_in(const Statement& row, std::string_view disk) {
    LocationRow fields;
    const bool typed =
        take(row, kServer, fields.server) && take_export_name(row, disk, fields.export_name) &&
        take(row, kSize, fields.size) && take(row, kFormat, fields.format) &&
        take(row, kReadOnly, fields.read_only) && take(row, kGeneration, fields.generation) &&
        take_digest(row, fields.digest) && take(row, kState, fields.state) &&
        take(row, kPriority, fields.priority) && take(row, kLastSeen, fields.last_seen) &&
        take(row, kFingerprint, fields.fingerprint) &&
        take(row, kMinimumBlock, fields.minimum_block);
    if (!typed)
        return std::nullopt;
    auto location = check_location_row(std::move(fields));
    return location ? std::optional(std::move(*location)) : std::nullopt;
}

std::vector<DiskRecord> read_disks(Statement& rows, std::string_view prefix, std::size_t limit,
                                   SkipCount& skipped) {
    DiskCollector collector(skipped);
    while (rows.step()) {
        const auto name = rows.text(kDisk);
        if (!name) {
            ++skipped;
            continue;
        }
        if (!collector.is_current(*name)) {
            collector.finish();
            if (collector.size() == limit || !name->starts_with(prefix))
                break;
            collector.start(*name);
        }
        collector.add(rows);
    }
    collector.finish();
    return collector.take_disks();
}

std::vector<Server> read_servers(Statement& rows, SkipCount& skipped) {
    std::vector<Server> servers;
    std::optional<std::int64_t> id;
    bool usable = false;
    while (rows.step()) {
        if (!id || rows.integer(kId) != id) {
            id = rows.integer(kId);
            auto server = server_in(rows);
            usable = server.has_value();
            if (usable)
                servers.push_back(std::move(*server));
            else
                ++skipped;
        }
        if (usable && !add_uri(rows, servers.back()))
            ++skipped;
    }
    return servers;
}

}  // namespace signpost
