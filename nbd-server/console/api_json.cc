// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/console/api_json.h"

#include <nlohmann/json.hpp>

namespace signpost {

namespace {

using Json = nlohmann::ordered_json;

std::string dumped(const Json& json) {
    return json.dump(2, ' ', true, Json::error_handler_t::replace) + "\n";
}

// Of our own making, so it is JSON.
Json parsed(const std::string& text) {
    return Json::parse(text, nullptr, false);
}

void add_probe(Json& server, const ProbeResult& probe) {
    server["reachable"] = probe.answered;
    server["latency_ms"] =
        probe.answered ? Json(static_cast<double>(probe.latency.count()) / 1000) : Json(nullptr);
    server["error"] = probe.error ? Json(probe.error->message) : Json(nullptr);
}

}  // namespace

std::string error_answer(std::string_view message, int code) {
    return dumped({{"error", message}, {"code", code}});
}

std::string plain_answer(const std::string& json) {
    return dumped(parsed(json));
}

std::string disks_answer(const std::vector<std::string>& items,
                         const std::optional<std::string>& next) {
    Json disks = Json::array();
    for (const std::string& item : items) {
        disks.push_back(parsed(item));
    }
    return dumped({{"disks", std::move(disks)}, {"next", next ? Json(*next) : Json(nullptr)}});
}

std::string disk_of_answer(const std::string& info) {
    return parsed(info).value("disk", std::string());
}

std::string disk_answer(const std::string& info, const std::string& uri, const CopyLines& lines) {
    Json json = parsed(info);
    json["uri"] = uri.empty() ? Json(nullptr) : Json(uri);
    json["lines"] = Json::object();
    for (const auto& [purpose, line] : lines) {
        json["lines"][purpose] = line;
    }
    return dumped(json);
}

std::string servers_answer(const std::vector<std::string>& servers,
                           const std::map<std::string, ProbeResult>& probes) {
    Json list = Json::array();
    for (const std::string& text : servers) {
        Json server = parsed(text);
        const auto probe = probes.find(server.value("name", std::string()));
        if (probe != probes.end()) {
            add_probe(server, probe->second);
        } else {
            server["reachable"] = server["latency_ms"] = server["error"] = nullptr;
        }
        list.push_back(std::move(server));
    }
    return dumped(list);
}

std::string files_answer(const char* name, const std::vector<std::string>& lines, bool more) {
    Json list = Json::array();
    for (const std::string& line : lines) {
        list.push_back(parsed(line));
    }
    return dumped({{name, std::move(list)}, {"more", more}});
}

// In a directory paths are names, without a slash.
std::optional<std::uint64_t> size_of_file(const std::vector<std::string>& lines) {
    const Json file = lines.size() == 1 ? parsed(lines.front()) : Json();
    const bool sound = file.is_object() && file.value("path", std::string()).starts_with('/') &&
                       file.value("type", std::string()) == "file" && file.contains("size") &&
                       file["size"].is_number_unsigned();
    return sound ? std::optional(file["size"].get<std::uint64_t>()) : std::nullopt;
}

std::string status_answer(const std::string& status, const OwnFacts& facts) {
    Json json = parsed(status);
    json["server"] = facts.server;
    json["version"] = facts.version;
    json["user"] = facts.user.empty() ? Json(nullptr) : Json(facts.user);
    json["sign_in"] = facts.sign_in;
    json["access_rules"] = facts.rules;
    json["live_sessions"] = facts.sessions;
    return dumped(json);
}

}  // namespace signpost
