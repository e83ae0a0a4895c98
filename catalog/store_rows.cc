// SPDX-License-Identifier: BSD-3-Clause
#include "catalog/store_rows.h"

#include <algorithm>

#include "catalog/row_check.h"

namespace signpost {

namespace {

// False when the column holds another type than the schema says.
bool take(const StoreRow& row, int column, std::int64_t& field) {
    const auto value = row.integer(column);
    field = value.value_or(0);
    return value.has_value();
}

bool take(const StoreRow& row, int column, std::string& field) {
    const auto value = row.text(column);
    field = value.value_or("");
    return value.has_value();
}

bool take_export_name(const StoreRow& row, std::string_view disk, std::string& field) {
    if (!row.is_null(LocationColumn::export_name))
        return take(row, LocationColumn::export_name, field);
    field = disk;
    return true;
}

bool take_digest(const StoreRow& row, std::string& field) {
    if (row.is_null(LocationColumn::digest))
        return true;
    const auto value = row.blob(LocationColumn::digest);
    field = value.value_or("");
    return !field.empty();
}

std::optional<Server> server_in(const StoreRow& row) {
    using Column = ServerColumn;
    ServerRow fields;
    const bool typed =
        take(row, Column::name, fields.name) && take(row, Column::site, fields.site) &&
        take(row, Column::kind, fields.kind) && take(row, Column::priority, fields.priority) &&
        take(row, Column::last_heartbeat, fields.last_heartbeat) &&
        take(row, Column::heartbeat_sequence, fields.heartbeat_sequence) &&
        take(row, Column::instance, fields.instance) &&
        take(row, Column::priority_class, fields.priority_class) &&
        take(row, Column::draining, fields.draining) &&
        take(row, Column::sessions, fields.sessions);
    if (!typed)
        return std::nullopt;
    auto server = check_server_row(std::move(fields));
    return server ? std::optional(std::move(*server)) : std::nullopt;
}

bool add_uri(const StoreRow& row, Server& server) {
    if (row.is_null(ServerColumn::uri))
        return true;
    const auto text = row.text(ServerColumn::uri);
    auto uri = check_server_uri(text.value_or(""));
    if (!text || !uri || server.uris.size() >= kMaxServerUris)
        return false;
    server.uris.push_back(std::move(*uri));
    return true;
}

std::vector<Location> ordered(std::vector<Location> locations) {
    std::sort(locations.begin(), locations.end(),
              [](const Location& a, const Location& b) { return a.server < b.server; });
    return locations;
}

}  // namespace

std::optional<Location> location_in(const StoreRow& row, std::string_view disk) {
    using Column = LocationColumn;
    LocationRow fields;
    const bool typed =
        take(row, Column::server, fields.server) &&
        take_export_name(row, disk, fields.export_name) && take(row, Column::size, fields.size) &&
        take(row, Column::format, fields.format) &&
        take(row, Column::read_only, fields.read_only) &&
        take(row, Column::generation, fields.generation) && take_digest(row, fields.digest) &&
        take(row, Column::state, fields.state) && take(row, Column::priority, fields.priority) &&
        take(row, Column::last_seen, fields.last_seen) &&
        take(row, Column::fingerprint, fields.fingerprint) &&
        take(row, Column::minimum_block, fields.minimum_block) &&
        take(row, Column::verified, fields.verified);
    if (!typed)
        return std::nullopt;
    auto location = check_location_row(std::move(fields));
    return location ? std::optional(std::move(*location)) : std::nullopt;
}

void DiskCollector::start(std::string_view name) {
    finish();
    name_ = name;
    started_ = true;
}

void DiskCollector::add(const StoreRow& row) {
    if (auto location = location_in(row, name_))
        locations_.push_back(std::move(*location));
    else
        ++skipped_;
}

void DiskCollector::finish() {
    if (!locations_.empty()) {
        if (auto name = DiskName::parse(name_))
            disks_.push_back({std::move(*name), ordered(std::move(locations_))});
        else
            skipped_ += locations_.size();
    }
    locations_.clear();
}

void ServerCollector::add(const StoreRow& row) {
    const auto id = row.integer(ServerColumn::id);
    if (!id_ || id != id_) {
        id_ = id;
        auto server = server_in(row);
        // Two of one name: somebody has taken the table's own rule away.
        usable_ = server && (servers_.empty() || servers_.back().name != server->name);
        if (usable_)
            servers_.push_back(std::move(*server));
        else
            ++skipped_;
    }
    if (usable_ && !add_uri(row, servers_.back()))
        ++skipped_;
}

}  // namespace signpost
