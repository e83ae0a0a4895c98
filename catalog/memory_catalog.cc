// SPDX-License-Identifier: BSD-3-Clause
#include "catalog/memory_catalog.h"

#include <algorithm>
#include <set>
#include <tuple>

#include "catalog/row_check.h"
#include "catalog/small_tables.h"

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
        found.locations.back().last_seen =
            std::max({location.last_seen, holder.last_complete, holder.server.last_heartbeat});
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

Result<std::vector<DiskRecord>> MemoryCatalog::list(std::string_view prefix, std::string_view after,
                                                    std::size_t limit) {
    if (auto checked = check_limit(limit); !checked)
        return std::unexpected(std::move(checked.error()));
    const std::lock_guard lock(mutex_);
    return page(first_after(after), limit,
                [&](const std::string& name) { return name.starts_with(prefix); });
}

Result<std::vector<DiskRecord>> MemoryCatalog::search(std::string_view text, std::string_view after,
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
        publish_image(*image, server, generation_ + 1, summary);
    if (change.complete)
        holder->second.last_complete = clock_();
    if (summary != PublishSummary()) {
        ++sequence_;
        ++generation_;
    }
    return summary;
}

Result<void> MemoryCatalog::mark_changed(const DiskName& disk, std::string_view server) {
    const std::lock_guard lock(mutex_);
    Location* const location = held(disk, server);
    if (location == nullptr)
        return no_location(disk, server);
    ++sequence_;
    location->generation = ++generation_;
    location->digest.clear();
    location->verified = 0;
    return {};
}

Result<void> MemoryCatalog::record_digest(const DigestRecord& record) {
    if (!digest_bytes(record.digest))
        return bad_digest(record);
    const std::lock_guard lock(mutex_);
    Location* const location = held(record.disk, record.server);
    if (location == nullptr)
        return no_location(record.disk, record.server);
    if (auto checked = check_new_digest(record, *location); !checked)
        return checked;
    location->verified = clock_();
    if (location->digest == record.digest && location->state != LocationState::damaged)
        return {};
    location->digest = record.digest;
    if (location->state == LocationState::damaged)
        location->state = LocationState::ready;
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

Result<void> MemoryCatalog::set_location_state(const DiskName& disk, std::string_view server,
                                               std::uint64_t generation, LocationState state) {
    const std::lock_guard lock(mutex_);
    Location* const location = held(disk, server);
    if (location == nullptr)
        return no_location(disk, server);
    if (location->generation != generation)
        return changed_meanwhile(disk, server);
    sequence_ += location->state == state ? 0 : 1;
    location->state = state;
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

Result<void> MemoryCatalog::set_draining(std::string_view server, bool draining) {
    const std::lock_guard lock(mutex_);
    const auto found = servers_.find(server);
    if (found == servers_.end())
        return no_server(server);
    sequence_ += found->second.server.draining == draining ? 0 : 1;
    found->second.server.draining = draining;
    return {};
}

Result<void> MemoryCatalog::remove_server(std::string_view name) {
    const std::lock_guard lock(mutex_);
    const auto found = servers_.find(name);
    if (found == servers_.end())
        return no_server(name);
    for (const DiskName& disk : disks_of(name))
        withdraw(disk, name);
    std::erase_if(jobs_, [&](const auto& job) { return job.second.target == name; });
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

Result<std::int64_t> MemoryCatalog::now() {
    return clock_();
}

Result<void> MemoryCatalog::heartbeat(std::string_view name, std::string_view instance,
                              std::uint32_t sessions) {
    const std::lock_guard lock(mutex_);
    const auto found = servers_.find(name);
    if (found == servers_.end())
        return no_server(name);
    Server& server = found->second.server;
    if (server.instance != instance)
        return other_instance(name);
    server.last_heartbeat = clock_();
    server.sessions = sessions;
    ++server.heartbeat_sequence;
    return {};
}

Result<std::vector<SiteCost>> MemoryCatalog::site_costs() {
    const std::lock_guard lock(mutex_);
    std::vector<SiteCost> all;
    for (const auto& [sites, cost] : site_costs_)
        all.push_back({sites.first, sites.second, cost});
    return all;
}

Result<void> MemoryCatalog::put_site_cost(const SiteCost& cost) {
    const auto checked = checked_site_cost(cost);
    if (!checked)
        return std::unexpected(checked.error());
    const std::pair sites(checked->from, checked->to);
    const std::lock_guard lock(mutex_);
    if (checked->cost < 0) {
        sequence_ += site_costs_.erase(sites);
        return {};
    }
    if (site_costs_.count(sites) == 0)
        if (auto room = room_for_site_cost(site_costs_.size()); !room)
            return room;
    const auto [stored, is_new] = site_costs_.try_emplace(sites, checked->cost);
    sequence_ += is_new || stored->second != checked->cost ? 1 : 0;
    stored->second = checked->cost;
    return {};
}

void MemoryCatalog::forget_jobs() {
    std::erase_if(jobs_, [before = forget_jobs_before(clock_())](const auto& job) {
        return is_final(job.second.state) && job.second.updated < before;
    });
}

Result<void> MemoryCatalog::put_job(const Job& job) {
    if (auto checked = check_job(job); !checked)
        return checked;
    const std::lock_guard lock(mutex_);
    forget_jobs();
    const auto found = jobs_.find(job.id);
    const auto before = found == jobs_.end() ? std::nullopt : std::optional(found->second);
    const bool rival = std::any_of(jobs_.begin(), jobs_.end(), [&](const auto& each) {
        return each.second.disk == job.disk && each.second.target == job.target &&
               !is_final(each.second.state);
    });
    const auto stored = job_to_put(job, before, rival, clock_());
    if (!stored)
        return std::unexpected(stored.error());
    if (auto room = room_for_job(jobs_.size()); !before && !room)
        return room;
    if (*stored) {
        jobs_.insert_or_assign(job.id, **stored);
        ++sequence_;
    }
    return {};
}

Result<std::vector<Job>> MemoryCatalog::jobs(std::string_view target) {
    const std::lock_guard lock(mutex_);
    forget_jobs();
    std::vector<Job> wanted;
    for (const auto& [id, job] : jobs_)
        if (target.empty() || job.target == target)
            wanted.push_back(job);
    std::ranges::sort(wanted, {}, [](const Job& job) { return std::tie(job.created, job.id); });
    return wanted;
}

Result<void> MemoryCatalog::report_job(const Job& job) {
    if (auto checked = check_job(job); !checked)
        return checked;
    const std::lock_guard lock(mutex_);
    const auto found = jobs_.find(job.id);
    const auto before = found == jobs_.end() ? std::nullopt : std::optional(found->second);
    const auto stored = job_to_report(job, before, clock_());
    if (!stored)
        return std::unexpected(stored.error());
    if (*stored) {
        found->second = **stored;
        sequence_ += is_final(found->second.state) ? 1 : 0;
    }
    return {};
}

Result<WriterLease> MemoryCatalog::take_writer(const DiskName& disk, std::string_view server,
                                               std::string_view writer) {
    if (auto checked = check_writer(server, writer); !checked)
        return std::unexpected(checked.error());
    const std::lock_guard lock(mutex_);
    const auto found = writers_.find(disk);
    const auto before = found == writers_.end() ? std::nullopt : std::optional(found->second);
    auto lease = lease_to_take(disk, server, writer, before, clock_());
    if (lease)
        writers_.insert_or_assign(disk, *lease);
    return lease;
}

Result<void> MemoryCatalog::release_writer(const WriterLease& lease) {
    const std::lock_guard lock(mutex_);
    const auto found = writers_.find(lease.disk);
    if (found != writers_.end() && found->second.fence == lease.fence)
        found->second = lease_of_nobody(found->second);
    return {};
}

Result<std::optional<WriterLease>> MemoryCatalog::last_writer(const DiskName& disk) {
    const std::lock_guard lock(mutex_);
    const auto found = writers_.find(disk);
    return found == writers_.end() ? std::nullopt : std::optional(found->second);
}

Result<std::optional<WriterLease>> MemoryCatalog::writer(const DiskName& disk) {
    const std::lock_guard lock(mutex_);
    const auto found = writers_.find(disk);
    if (found == writers_.end() || !is_held(found->second, clock_()))
        return std::nullopt;
    return found->second;
}

Result<std::optional<std::string>> MemoryCatalog::boot_profile(const DiskName& disk) {
    const std::lock_guard lock(mutex_);
    const auto found = boot_profiles_.find(disk);
    return found == boot_profiles_.end() ? std::nullopt : std::optional(found->second.profile);
}

Result<void> MemoryCatalog::put_boot_profile(const DiskName& disk, std::string_view profile) {
    if (auto checked = check_boot_profile(disk, profile); !checked)
        return checked;
    const std::lock_guard lock(mutex_);
    boot_profiles_[disk] = {std::string(profile), clock_()};
    if (boot_profiles_.size() > kMaxBootProfiles)
        boot_profiles_.erase(std::ranges::min_element(
            boot_profiles_, {}, [](const auto& one) { return one.second.learned; }));
    return {};
}

void MemoryCatalog::withdraw_other(const Restoration& records,
                                   const std::vector<const DiskRecord*>& kept) {
    const auto is_kept = [&](const DiskName& name) {
        return std::ranges::binary_search(
            kept, name, {}, [](const DiskRecord* disk) -> const DiskName& { return disk->name; });
    };
    if (!records.only_of.empty()) {
        for (const DiskName& name : disks_of(records.only_of))
            if (!is_kept(name))
                withdraw(name, records.only_of);
        return;
    }
    std::erase_if(disks_, [&](const auto& disk) { return !is_kept(disk.first); });
    std::erase_if(servers_, [&](const auto& server) {
        return std::ranges::find(records.servers, server.first, &Server::name) ==
               records.servers.end();
    });
}

void MemoryCatalog::restore_disk(const DiskRecord& disk, std::string_view only_of) {
    Holdings& holdings = disks_[disk.name];
    if (only_of.empty())
        holdings.clear();
    else
        holdings.erase(std::string(only_of));
    for (const Location& location : disk.locations)
        if ((only_of.empty() || location.server == only_of) && servers_.count(location.server) > 0)
            holdings.insert_or_assign(location.server, location);
    if (holdings.empty())
        disks_.erase(disk.name);
}

Result<void> MemoryCatalog::restore(const Restoration& records) {
    const auto ordered = check_restoration(records);
    if (!ordered)
        return std::unexpected(ordered.error());
    const std::lock_guard lock(mutex_);
    if (!records.only_of.empty() && servers_.count(records.only_of) == 0)
        return no_server(records.only_of);
    for (const Server& server : records.servers)
        servers_[server.name] = {server, 0};
    if (records.complete)
        withdraw_other(records, *ordered);
    for (const DiskName& name : records.vanished) {
        if (records.only_of.empty())
            disks_.erase(name);
        else
            withdraw(name, records.only_of);
    }
    for (const DiskRecord* disk : *ordered)
        restore_disk(*disk, records.only_of);
    for (const WriterLease& lease : records.writers)
        writers_.insert_or_assign(lease.disk, lease);
    generation_ = std::max(generation_, newest_in(records));
    ++sequence_;
    return {};
}

Result<std::uint64_t> MemoryCatalog::newest_generation() {
    const std::lock_guard lock(mutex_);
    return generation_;
}

bool MemoryCatalog::is_empty() const {
    return servers_.empty() && disks_.empty() && site_costs_.empty() && jobs_.empty();
}

Result<void> MemoryCatalog::begin_import() {
    const std::lock_guard lock(mutex_);
    if (!importing_ && !is_empty())
        return not_empty(description());
    disks_.clear();
    servers_.clear();
    site_costs_.clear();
    jobs_.clear();
    writers_.clear();
    boot_profiles_.clear();
    importing_ = true;
    ++sequence_;
    return {};
}

Result<void> MemoryCatalog::end_import() {
    const std::lock_guard lock(mutex_);
    importing_ = false;
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
