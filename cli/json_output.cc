// SPDX-License-Identifier: BSD-3-Clause
//
// With catalog_file.cc the only file that knows nlohmann-json.

#include "cli/json_output.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "catalog/resolver.h"
#include "terminal/text.h"

namespace signpost {

namespace {

using Json = nlohmann::ordered_json;

constexpr int kIndent = 2;

// Text from outside may be no UTF-8: what is wrong in it is replaced.
std::string dumped(const Json& json, int indent) {
    return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

Json or_null(const std::string& text) {
    return text.empty() ? Json(nullptr) : Json(text);
}

Json time_or_null(std::int64_t seconds) {
    return or_null(rfc3339(seconds));
}

Json facts_json(const ExportFacts& facts) {
    return {{"size", facts.size},
            {"read_only", facts.read_only},
            {"flush", facts.flush},
            {"fua", facts.fua},
            {"trim", facts.trim},
            {"zero", facts.zero},
            {"multi_conn", facts.multi_conn},
            {"structured_replies", facts.structured_replies},
            {"tls", facts.tls},
            {"minimum_block", facts.minimum_block},
            {"maximum_payload",
             facts.maximum_payload == 0 ? Json(nullptr) : Json(facts.maximum_payload)},
            {"description", facts.description}};
}

void add_probe(Json& json, const ProbeResult& probe) {
    json["reachable"] = !probe.error.has_value();
    json["answered"] = probe.answered;
    json["latency_ms"] =
        probe.answered ? Json(static_cast<double>(probe.latency.count()) / 1000) : Json(nullptr);
    json["error"] = probe.error ? Json(probe.error->message) : Json(nullptr);
}

Json location_json(const LocationReport& report) {
    const Location& location = report.location;
    Json json = {{"server", location.server},
                 {"export", location.export_name},
                 {"uri", report.uri ? Json(report.uri->str()) : Json(nullptr)},
                 {"format", to_string(location.format)},
                 {"state", to_string(location.state)},
                 {"generation", location.generation},
                 {"digest", or_null(location.digest)},
                 {"read_only", location.read_only},
                 {"size", location.size},
                 {"priority", location.priority},
                 {"minimum_block", location.minimum_block},
                 {"last_seen", time_or_null(location.last_seen)}};
    if (report.probe) {
        add_probe(json, *report.probe);
    }
    return json;
}

Json disk_json(const DiskReport& report) {
    Json locations = Json::array();
    for (const LocationReport& location : report.locations) {
        locations.push_back(location_json(location));
    }
    Json json = {{"disk", report.disk.str()},
                 {"size", report.size},
                 {"conflict", report.conflict},
                 {"locations", locations}};
    json["writer"] = nullptr;
    if (report.writer) {
        json["writer"] = {{"server", report.writer->server},
                          {"client", report.writer->writer},
                          {"fence", report.writer->fence}};
    }
    return json;
}

}  // namespace

std::string_view to_string(VerifiedLocation::Result result) {
    switch (result) {
        case VerifiedLocation::Result::verified:
            return "verified";
        case VerifiedLocation::Result::unreachable:
            return "unreachable";
        case VerifiedLocation::Result::failed:
            return "failed";
        case VerifiedLocation::Result::changed:
            return "changed";
        case VerifiedLocation::Result::damaged:
            return "damaged";
        case VerifiedLocation::Result::skipped:
            break;
    }
    return "skipped";
}

std::string_view to_string(Finding::Level level) {
    switch (level) {
        case Finding::Level::ok:
            return "ok";
        case Finding::Level::warning:
            return "warn";
        case Finding::Level::failure:
            break;
    }
    return "FAIL";
}

std::string list_item_json(const DiskRecord& disk, std::uint64_t size) {
    Json servers = Json::array();
    std::size_t ready = 0;
    for (const Location& location : disk.locations) {
        servers.push_back(location.server);
        ready += location.state == LocationState::ready ? 1 : 0;
    }
    return dumped({{"name", disk.name.str()},
                   {"size", size},
                   {"locations", disk.locations.size()},
                   {"conflict", in_conflict(disk)},
                   {"ready_locations", ready},
                   {"servers", servers}},
                  -1);
}

std::string point_json(const DiskRecord& disk, const RestorePoint& point, bool newest) {
    Json servers = Json::array();
    bool verified = !disk.locations.empty();
    for (const Location& location : disk.locations) {
        servers.push_back(location.server);
        verified = verified && !location.digest.empty();
    }
    return dumped({{"name", disk.name.str()},
                   {"disk", point.disk},
                   {"time", rfc3339(point.seconds())},
                   {"size", disk_size(disk)},
                   {"servers", servers},
                   {"verified", verified},
                   {"conflict", in_conflict(disk)},
                   {"newest", newest}},
                  -1);
}

std::string where_json(const DiskReport& report) {
    return dumped(disk_json(report), kIndent);
}

std::string info_json(const DiskReport& report) {
    Json json = disk_json(report);
    for (std::size_t i = 0; i < report.locations.size(); ++i) {
        const auto& probe = report.locations[i].probe;
        json["locations"][i]["live"] =
            probe && probe->facts ? facts_json(*probe->facts) : Json(nullptr);
    }
    json["same_content"] = report.same_content;
    json["points"] = Json::array();
    for (const NamedPoint& point : report.points) {
        json["points"].push_back(point.name.str());
    }
    json["newest_point"] =
        report.points.empty() ? Json(nullptr) : Json(report.points.back().name.str());
    return dumped(json, kIndent);
}

std::string uri_json(const DiskName& disk, const std::string& server, const NbdUri& uri) {
    return dumped({{"disk", disk.str()}, {"server", server}, {"uri", uri.str()}}, kIndent);
}

std::string server_json(const Server& server, std::int64_t now) {
    Json uris = Json::array();
    for (const NbdUri& uri : server.uris) {
        uris.push_back(uri.str());
    }
    const bool beats = server.last_heartbeat != 0;
    const std::int64_t age = beats ? std::max<std::int64_t>(now - server.last_heartbeat, 0) : 0;
    return dumped({{"name", server.name},
                   {"kind", to_string(server.kind)},
                   {"site", or_null(server.site)},
                   {"class", to_string(server.priority_class)},
                   {"priority", server.priority},
                   {"draining", server.draining},
                   {"sessions", beats ? Json(server.sessions) : Json(nullptr)},
                   {"uris", uris},
                   {"last_heartbeat", time_or_null(server.last_heartbeat)},
                   {"heartbeat_age_s", beats ? Json(age) : Json(nullptr)}},
                  -1);
}

std::string job_json(const Job& job, bool dry_run) {
    return dumped({{"id", job.id},
                   {"kind", to_string(job.kind)},
                   {"disk", job.disk.str()},
                   {"target", job.target},
                   {"source", or_null(job.source)},
                   {"rate", job.rate == 0 ? Json(nullptr) : Json(job.rate)},
                   {"state", to_string(job.state)},
                   {"size", job.size},
                   {"done", job.done},
                   {"message", or_null(job.message)},
                   {"created", time_or_null(job.created)},
                   {"updated", time_or_null(job.updated)},
                   {"dry_run", dry_run}},
                  -1);
}

std::string removal_json(const std::string& what, const std::vector<std::string>& locations,
                         bool dry_run) {
    return dumped({{"removed", what}, {"locations", locations}, {"dry_run", dry_run}}, kIndent);
}

std::string site_cost_json(const SiteCost& cost) {
    return dumped({{"from", cost.from}, {"to", cost.to}, {"cost", cost.cost}}, -1);
}

std::string cache_json(const CacheReport& report) {
    Json contents = Json::array();
    for (const CachedDiskReport& disk : report.contents) {
        contents.push_back({{"disk", disk.disk},
                            {"known_by", disk.known_by},
                            {"size", disk.size},
                            {"cached_bytes", disk.cached}});
    }
    return dumped(
        {{"hit_bytes", report.hit}, {"fetched_bytes", report.fetched}, {"contents", contents}},
        kIndent);
}

std::string drain_json(const std::string& server, bool draining,
                       const std::vector<std::string>& only_copies) {
    return dumped({{"server", server}, {"draining", draining}, {"only_copies", only_copies}},
                  kIndent);
}

std::string publish_json(const PublishReport& report) {
    return dumped({{"server", report.server},
                   {"added", report.summary.added},
                   {"changed", report.summary.changed},
                   {"removed", report.summary.removed},
                   {"disks", report.disks},
                   {"refused", report.refusals},
                   {"dry_run", report.dry_run}},
                  kIndent);
}

std::string verify_item_json(const VerifyReport& report) {
    Json locations = Json::array();
    for (const VerifiedLocation& location : report.locations) {
        locations.push_back({{"server", location.server},
                             {"result", to_string(location.result)},
                             {"size", location.size},
                             {"digest", or_null(location.digest)},
                             {"message", or_null(location.message)},
                             {"bytes_read", location.bytes_read}});
    }
    return dumped({{"disk", report.disk.str()},
                   {"copies_agree", report.copies_agree},
                   {"locations", locations}},
                  -1);
}

std::string diff_json(const DiffReport& report) {
    Json ranges = Json::array();
    for (const ByteRange& range : report.ranges) {
        ranges.push_back({{"offset", range.offset}, {"length", range.length}});
    }
    return dumped({{"disk", report.one},
                   {"other", report.other},
                   {"size", report.one_size},
                   {"other_size", report.other_size},
                   {"bytes_changed", bytes_in(report.ranges)},
                   {"bytes_read", report.bytes_read},
                   {"ranges", ranges}},
                  kIndent);
}

std::string status_json(const StatusReport& report) {
    Json servers = Json::array();
    for (const Server& server : report.servers) {
        servers.push_back(Json::parse(server_json(server, report.now)));
    }
    return dumped({{"catalog", report.catalog},
                   {"schema", report.schema == 0 ? Json(nullptr) : Json(report.schema)},
                   {"change_sequence", report.change_sequence},
                   {"disks", report.totals.disks},
                   {"locations", report.totals.locations},
                   {"single_copy_disks", report.single_copy_disks},
                   {"all_disks_seen", report.all_disks_seen},
                   {"skipped_rows", report.skipped_rows},
                   {"catalog_error", or_null(report.trouble)},
                   {"knowledge", report.trouble.empty() ? "catalog" : "stubs"},
                   {"as_of", time_or_null(report.as_of)},
                   {"servers", servers}},
                  kIndent);
}

namespace {

Json step_json(const ExplainStep& step) {
    const Location& location = step.location;
    Json json = {
        {"place", step.place == 0 ? Json(nullptr) : Json(step.place)},
        {"server", location.server},
        {"passed_over", or_null(step.passed_over)},
        {"state", to_string(location.state)},
        {"generation", location.generation},
        {"digest", or_null(location.digest)},
        {"size", location.size},
        {"read_only", location.read_only},
        {"site", step.server ? or_null(step.server->site) : Json(nullptr)},
        {"same_site", step.same_site},
        {"site_cost", step.site_cost},
        {"priority", location.priority},
        {"server_priority", step.server ? Json(step.server->priority) : Json(nullptr)},
        {"heartbeat_age_s", step.heartbeat_age < 0 ? Json(nullptr) : Json(step.heartbeat_age)},
        {"silent", step.silent},
        {"stands_in", step.stands_in},
        {"asked_for", step.asked_for ? Json(step.asked_for->str()) : Json(nullptr)}};
    if (step.probe) {
        add_probe(json, *step.probe);
    }
    return json;
}

}  // namespace

std::string explain_json(const ExplainReport& report) {
    Json steps = Json::array();
    for (const ExplainStep& step : report.steps) {
        steps.push_back(step_json(step));
    }
    Json stubs = nullptr;
    if (!report.stubs_server.empty()) {
        stubs = {{"server", report.stubs_server},
                 {"as_of", time_or_null(report.stubs_as_of)},
                 {"agree", report.trouble.empty() ? Json(report.stubs_agree) : Json(nullptr)}};
    }
    return dumped({{"disk", report.disk.str()},
                   {"server", report.server},
                   {"site", or_null(report.site)},
                   {"catalog", report.catalog},
                   {"catalog_error", or_null(report.trouble)},
                   {"knowledge", report.trouble.empty() ? "catalog" : "stubs"},
                   {"stubs", stubs},
                   {"own_image", report.own ? Json(to_string(report.own->state)) : Json(nullptr)},
                   {"order", kOrderText},
                   {"steps", steps},
                   {"result", report.result}},
                  kIndent);
}

std::string doctor_json(const std::vector<Finding>& findings) {
    Json list = Json::array();
    std::uint64_t failures = 0;
    std::uint64_t warnings = 0;
    for (const Finding& finding : findings) {
        failures += finding.level == Finding::Level::failure ? 1 : 0;
        warnings += finding.level == Finding::Level::warning ? 1 : 0;
        const bool failed = finding.level == Finding::Level::failure;
        list.push_back({{"level", failed ? "fail" : to_string(finding.level)},
                        {"check", finding.check},
                        {"message", finding.message},
                        {"fix", or_null(finding.fix)}});
    }
    return dumped({{"failures", failures}, {"warnings", warnings}, {"findings", list}}, kIndent);
}

std::string transfer_json(const TransferReport& report) {
    return dumped({{"target", report.target},
                   {"servers", report.servers},
                   {"disks", report.disks},
                   {"skipped_rows", report.skipped_rows},
                   {"of_one_moment", report.of_one_moment},
                   {"disputes", report.disputes}},
                  kIndent);
}

std::string init_json(const std::string& file, const FirstConfiguration& configuration,
                      bool written) {
    return dumped({{"file", file},
                   {"written", written},
                   {"repositories", configuration.repositories},
                   {"catalog", describe_catalog_url(configuration.catalog)},
                   {"server", configuration.server},
                   {"uri", configuration.uri.str()},
                   {"listen", configuration.listen},
                   {"http", or_null(configuration.http)},
                   {"tls_certificates", or_null(configuration.certificates)}},
                  kIndent);
}

std::string catalog_json(const std::string& description) {
    return dumped({{"catalog", description}}, kIndent);
}

std::string JsonList::item(const std::string& json) {
    if (lines_) {
        return json + "\n";
    }
    const bool first = std::exchange(first_, false);
    return (first ? "[\n  " : ",\n  ") + json;
}

std::string JsonList::end() const {
    if (lines_) {
        return "";
    }
    return first_ ? "[]\n" : "\n]\n";
}

}  // namespace signpost
