// SPDX-License-Identifier: BSD-3-Clause
#include "catalog/memory_catalog.h"

#include <algorithm>
#include <set>

#include "catalog/row_check.h"

namespace signpost {

namespace {

char lower(char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool contains(std::string_view name, std::string_view text) {
    const auto same = [](char a, char b) { return lower(a) == lower(b); };
    return std::search(name.begin(), name.end(), text.begin(), text.end(), same) != name.end() ||
           text.empty();
}

}  // namespace

DiskRecord MemoryCatalog::record(const DiskName& name, const Holdings& holdings) const {
    DiskRecord found{name, {}};
    for (const auto& [server, location] : holdings) {
        const StoredServer& holder = servers_.find(server)->second;
        found.locations.push_back(location);
        found.locations.back().last_seen = std::max(
            {location.last_seen, holder.last_complete, holder.server.last_heartbeat});
    }
    return found;
}

Location* MemoryCatalog::held(const DiskName& disk, std::string_view server) {
    const auto found = disks_.find(disk);
    if (found == disks_.end())
        return nullptr;
    const auto location = found->second.find(server);
    return location == found->second.end() ? nullptr : &location->second;
}

Result<std::optional<DiskRecord>> MemoryCatalog::find(const DiskName& name) {
    const std::lock_guard lock(mutex_);
    const auto found = disks_.find(name);
    if (found == disks_.end())
        return std::nullopt;
    return record(name, found->second);
}

MemoryCatalog::Disks::const_iterator MemoryCatalog::first_after(std::string_view after) const {
    return std::find_if(disks_.begin(), disks_.end(), [&](const auto& disk) {
        return std::string_view(disk.first.str()) > after;
    });
}

template <class Wanted>
std::vector<DiskRecord> MemoryCatalog::page(Disks::const_iterator from, std::size_t limit,
                                            Wanted wanted) const {
    std::vector<DiskRecord> found;
    for (; from != disks_.end() && found.size() < limit; ++from)
        if (wanted(from->first.str()))
            found.push_back(record(from->first, from->second));
    return found;
}

Result<std::vector<DiskRecord>> MemoryCatalog::list(std::string_view prefix,
                                                    std::string_view after, std::size_t limit) {
    if (auto checked = check_limit(limit); !checked)
        return std::unexpected(std::move(checked.error()));
    const std::lock_guard lock(mutex_);
    return page(first_after(after), limit,
                [&](const std::string& name) { return name.starts_with(prefix); });
}

Result<std::vector<DiskRecord>> MemoryCatalog::search(std::string_view text,
                                                      std::string_view after,
                                                      std::size_t limit) {
    if (auto checked = check_limit(limit); !checked)
        return std::unexpected(std::move(checked.error()));
    if (!may_occur_in_names(text))
        return std::vector<DiskRecord>();
    const std::lock_guard lock(mutex_);
    return page(first_after(after), limit,
                [&](const std::string& name) { return contains(name, text); });
}

void MemoryCatalog::publish_image(const Image& image, std::string_view server,
                                  std::uint64_t generation, PublishSummary& summary) {
    Location* const location = held(image.name, server);
    const Location fresh = new_location(image, server, generation, clock_());
    if (location == nullptr) {
        disks_[image.name].emplace(server, fresh);
        ++summary.added;
        return;
    }
    const ImageChange change = compare(image, *location);
    summary.changed += change == ImageChange::none ? 0 : 1;
    if (change == ImageChange::content) {
        const int priority = location->priority;
        *location = fresh;
        location->priority = priority;
    }
    take_attributes(*location, image);
    location->last_seen = fresh.last_seen;
}

bool MemoryCatalog::withdraw(const DiskName& disk, std::string_view server) {
    if (held(disk, server) == nullptr)
        return false;
    Holdings& holdings = disks_[disk];
    holdings.erase(holdings.find(server));
    if (holdings.empty())
        disks_.erase(disk);
    return true;
}

std::vector<DiskName> MemoryCatalog::disks_of(std::string_view server) const {
    std::vector<DiskName> names;
    for (const auto& [name, holdings] : disks_)
        if (holdings.find(server) != holdings.end())
            names.push_back(name);
    return names;
}

Result<PublishSummary> MemoryCatalog::publish(std::string_view server, const Publication& change) {
    const auto ordered = ordered_images(change);
    if (!ordered)
        return std::unexpected(ordered.error());
    const std::lock_guard lock(mutex_);
    const auto holder = servers_.find(server);
    if (holder == servers_.end())
        return no_server(server);
    PublishSummary summary;
    const std::set<DiskName> unsettled(change.unsettled.begin(), change.unsettled.end());
    for (const DiskName& name : change.complete ? disks_of(server) : change.vanished)
        if (!has_image(*ordered, name) && !(change.complete && unsettled.contains(name)) &&
            withdraw(name, server))
            ++summary.removed;
    for (const Image* image : *ordered)
        publish_image(*image, server, sequence_ + 1, summary);
    if (change.complete)
        holder->second.last_complete = clock_();
    if (summary != PublishSummary())
        ++sequence_;
    return summary;
}

Result<void> MemoryCatalog::mark_changed(const DiskName& disk, std::string_view server) {
    const std::lock_guard lock(mutex_);
    Location* const location = held(disk, server);
    if (location == nullptr)
        return no_location(disk, server);
    location->generation = ++sequence_;
    location->digest.clear();
    return {};
}

Result<void> MemoryCatalog::record_digest(const DigestRecord& record) {
    if (!digest_bytes(record.digest))
        return bad_digest(record);
    const std::lock_guard lock(mutex_);
    Location* const location = held(record.disk, record.server);
    if (location == nullptr)
        return no_location(record.disk, record.server);
    if (location->generation != record.generation)
        return changed_meanwhile(record);
    if (location->digest == record.digest)
        return {};
    location->digest = record.digest;
    const auto equal = [&](const Location& other) {
        return other.digest == location->digest && other.size == location->size;
    };
    std::uint64_t newest = 0;
    Holdings& holdings = disks_[record.disk];
    for (const auto& [server, other] : holdings)
        newest = equal(other) ? std::max(newest, other.generation) : newest;
    for (auto& [server, other] : holdings)
        other.generation = equal(other) ? newest : other.generation;
    ++sequence_;
    return {};
}

Result<void> MemoryCatalog::put_server(const Server& server) {
    if (auto checked = check_server(server); !checked)
        return checked;
    const std::lock_guard lock(mutex_);
    const auto found = servers_.find(server.name);
    const auto before =
        found == servers_.end() ? std::nullopt : std::optional(found->second.server);
    const auto stored = registration(server, before, clock_());
    if (!stored)
        return std::unexpected(stored.error());
    servers_[server.name].server = *stored;
    if (!before || !same_registration(*before, *stored))
        ++sequence_;
    return {};
}

Result<void> MemoryCatalog::remove_server(std::string_view name) {
    const std::lock_guard lock(mutex_);
    const auto found = servers_.find(name);
    if (found == servers_.end())
        return no_server(name);
    for (const DiskName& disk : disks_of(name))
        withdraw(disk, name);
    servers_.erase(found);
    ++sequence_;
    return {};
}

Result<std::vector<Server>> MemoryCatalog::servers() {
    const std::lock_guard lock(mutex_);
    std::vector<Server> all;
    for (const auto& [name, stored] : servers_)
        all.push_back(stored.server);
    return all;
}

Result<std::optional<Server>> MemoryCatalog::find_server(std::string_view name) {
    const std::lock_guard lock(mutex_);
    const auto found = servers_.find(name);
    if (found == servers_.end())
        return std::nullopt;
    return found->second.server;
}

Result<void> MemoryCatalog::heartbeat(std::string_view name, std::string_view instance) {
    const std::lock_guard lock(mutex_);
    const auto found = servers_.find(name);
    if (found == servers_.end())
        return no_server(name);
    Server& server = found->second.server;
    if (server.instance != instance)
        return other_instance(name);
    server.last_heartbeat = clock_();
    ++server.heartbeat_sequence;
    return {};
}

Result<std::uint64_t> MemoryCatalog::change_sequence() {
    const std::lock_guard lock(mutex_);
    return sequence_;
}

Result<Catalog::Totals> MemoryCatalog::totals() {
    const std::lock_guard lock(mutex_);
    Totals totals{.disks = disks_.size()};
    for (const auto& [name, holdings] : disks_)
        totals.locations += holdings.size();
    return totals;
}

}  // namespace signpost
