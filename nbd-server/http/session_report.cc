// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/http/session_report.h"

#include <nlohmann/json.hpp>

#include "nbd-server/disk/disk_description.h"

namespace signpost {

namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kMaxAnswer = 64 * 1024 * 1024;

Json session_json(const SessionReport& session) {
    return {{"id", session.id},
            {"disk", session.disk},
            {"export", session.export_name},
            {"client", session.client},
            {"tls", session.tls},
            {"route", session.route},
            {"peer", session.peer.empty() ? Json(nullptr) : Json(session.peer)},
            {"read_bytes", session.read},
            {"written_bytes", session.written},
            {"bytes_per_second", session.rate()},
            {"since", rfc3339(session.since)},
            {"since_s", session.since},
            {"samples", session.samples}};
}

SessionReport session_of(const Json& json) {
    SessionReport session;
    session.id = json.at("id").get<std::uint64_t>();
    session.disk = json.at("disk").get<std::string>();
    session.export_name = json.at("export").get<std::string>();
    session.client = json.at("client").get<std::string>();
    session.tls = json.at("tls").get<bool>();
    session.route = json.at("route").get<std::string>();
    session.peer = json.at("peer").is_null() ? "" : json.at("peer").get<std::string>();
    session.read = json.at("read_bytes").get<std::uint64_t>();
    session.written = json.at("written_bytes").get<std::uint64_t>();
    session.since = json.at("since_s").get<std::int64_t>();
    session.samples = json.at("samples").get<std::vector<std::uint64_t>>();
    return session;
}

}  // namespace

std::string sessions_json(std::string_view server, const std::vector<SessionReport>& sessions) {
    Json list = Json::array();
    for (const SessionReport& session : sessions) {
        list.push_back(session_json(session));
    }
    const Json json = {
        {"server", server}, {"sample_seconds", kSampleSeconds}, {"sessions", std::move(list)}};
    return json.dump(2, ' ', true, Json::error_handler_t::replace) + "\n";
}

std::string session_lines(const std::vector<SessionReport>& sessions) {
    std::string lines;
    for (const SessionReport& session : sessions) {
        lines += session_json(session).dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
    }
    return lines;
}

std::string error_of_answer(std::string_view text) {
    const Json json = Json::parse(text, nullptr, false);
    const auto found = json.is_object() ? json.find("error") : json.end();
    return json.is_object() && found != json.end() && found->is_string() ? found->get<std::string>()
                                                                         : "";
}

Result<SessionsAnswer> parse_sessions(std::string_view text) {
    if (text.size() > kMaxAnswer) {
        return fail(Errc::invalid, "the server's answer is too long");
    }
    try {
        const Json json = Json::parse(text);
        SessionsAnswer answer{.server = json.at("server").get<std::string>(), .sessions = {}};
        for (const Json& each : json.at("sessions")) {
            answer.sessions.push_back(session_of(each));
        }
        return answer;
    } catch (const Json::exception&) {
        return fail(Errc::invalid, "the server's answer is not a list of sessions");
    }
}

}  // namespace signpost
