// SPDX-License-Identifier: BSD-3-Clause

#include "libvirt-pool/pool_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace signpost {

namespace {

using nlohmann::json;

constexpr std::size_t kMaxDisks = 256;

std::string text_of(const json& value) {
    return value.dump(4, ' ', false, json::error_handler_t::replace) + "\n";
}

// Null when there is no such text.
const std::string* text_in(const json& object, const char* key) {
    return object.is_object() && object.contains(key) ? object.at(key).get_ptr<const std::string*>()
                                                      : nullptr;
}

std::unexpected<Error> not_ours() {
    return fail(Errc::invalid, "it is not what signpost-pool has written; who changed it?");
}

Result<RecoveredDisk> parse_recovered(const json& item) {
    const std::string* disk = text_in(item, "disk");
    const std::string* target = text_in(item, "target");
    const std::string* backing = text_in(item, "backing");
    if (disk == nullptr || target == nullptr || backing == nullptr || !item.contains("size") ||
        !item.at("size").is_number_unsigned() || !check_target(*target)) {
        return not_ours();
    }
    auto name = DiskName::parse(*disk);
    if (!name) {
        return not_ours();
    }
    return RecoveredDisk{std::move(*name), *target, {item.at("size"), *backing}};
}

}  // namespace

std::string settings_json(const PoolSettings& settings) {
    return text_of({{"via", settings.via.str()},
                    {"catalog", settings.catalog},
                    {"server", settings.selection.server},
                    {"match", settings.selection.patterns},
                    {"newest", settings.selection.newest}});
}

Result<PoolSettings> parse_settings(std::string_view text) {
    const json object = json::parse(text, nullptr, false);
    const std::string* via = text_in(object, "via");
    const std::string* catalog = text_in(object, "catalog");
    const std::string* server = text_in(object, "server");
    // Earlier versions have written none.
    const json newest = object.is_object() ? object.value("newest", json(0U)) : json();
    if (via == nullptr || catalog == nullptr || server == nullptr || !object.contains("match") ||
        !object.at("match").is_array() ||
        !std::ranges::all_of(object.at("match"),
                             [](const json& item) { return item.is_string(); }) ||
        !newest.is_number_unsigned()) {
        return not_ours();
    }
    auto uri = NbdUri::parse(*via);
    if (!uri) {
        return std::unexpected(uri.error());
    }
    return PoolSettings{
        std::move(*uri), *catalog,
        Selection{object.at("match").get<std::vector<std::string>>(), *server, newest}};
}

std::string recovery_json(const Recovery& recovery) {
    json disks = json::array();
    for (const RecoveredDisk& disk : recovery.disks) {
        disks.push_back({{"disk", disk.disk.str()},
                         {"target", disk.target},
                         {"size", disk.terms.size},
                         {"backing", disk.terms.backing}});
    }
    return text_of({{"machine", recovery.machine}, {"live", recovery.live}, {"disks", disks}});
}

Result<Recovery> parse_recovery(std::string_view text) {
    const json object = json::parse(text, nullptr, false);
    const std::string* machine = text_in(object, "machine");
    if (machine == nullptr || !object.contains("live") || !object.at("live").is_boolean() ||
        !object.contains("disks") || !object.at("disks").is_array() ||
        object.at("disks").size() > kMaxDisks || !check_machine_name(*machine)) {
        return not_ours();
    }
    Recovery recovery{*machine, object.at("live").get<bool>(), {}};
    for (const json& item : object.at("disks")) {
        auto disk = parse_recovered(item);
        if (!disk) {
            return std::unexpected(disk.error());
        }
        recovery.disks.push_back(std::move(*disk));
    }
    return recovery;
}

std::string_view to_string(PoolPlan::Step step) {
    return step == PoolPlan::Step::create    ? "create"
           : step == PoolPlan::Step::replace ? "replace"
                                             : "remove";
}

std::string_view to_string(PoolPlan::Matter matter) {
    switch (matter) {
        case PoolPlan::Matter::overlay:
            return "overlay";
        case PoolPlan::Matter::orphan:
            return "orphan";
        case PoolPlan::Matter::held_back:
            return "held_back";
        case PoolPlan::Matter::damaged:
            return "damaged";
        case PoolPlan::Matter::not_ours:
            return "not_ours";
        default:
            return "unnameable";
    }
}

std::string sync_json(const SyncReport& report, bool dry_run) {
    json actions = json::array();
    for (const PoolPlan::Action& action : report.plan.actions) {
        actions.push_back({{"action", to_string(action.step)}, {"volume", action.file}});
    }
    json remarks = json::array();
    for (const PoolPlan::Remark& remark : report.plan.remarks) {
        remarks.push_back({{"remark", to_string(remark.matter)}, {"volume", remark.file}});
    }
    json failed = json::array();
    for (const SyncReport::Failed& action : report.failed) {
        failed.push_back({{"volume", action.file}, {"message", action.message}});
    }
    return text_of({{"dry_run", dry_run},
                    {"unchanged", report.plan.unchanged},
                    {"actions", actions},
                    {"remarks", remarks},
                    {"failed", failed},
                    {"refreshed", report.refreshed},
                    {"offline", report.offline}});
}

std::string status_json(const std::string& pool, const std::string& path, const NbdUri& via,
                        const std::vector<VolumeRow>& rows) {
    json volumes = json::array();
    for (const VolumeRow& row : rows) {
        volumes.push_back({{"volume", row.volume},
                           {"disk", row.disk.empty() ? json() : json(row.disk)},
                           {"state", row.state},
                           {"size", row.facts.terms.size},
                           {"allocated", row.facts.allocated},
                           {"referenced", row.referenced}});
    }
    return text_of({{"pool", pool}, {"path", path}, {"via", via.str()}, {"volumes", volumes}});
}

}  // namespace signpost
