// SPDX-License-Identifier: BSD-3-Clause

#include "cli/drill_history.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>

#include "catalog/disk_name.h"
#include "nbd-server/disk/beneath.h"
#include "nbd-server/disk/disk_description.h"
#include "nbd-server/disk/unique_fd.h"

namespace signpost {

namespace {

using Json = nlohmann::json;

constexpr std::int64_t kLastSecond = 253'402'300'799;  // of the year 9999
constexpr auto kReplace = Json::error_handler_t::replace;

Json or_null(const std::string& text) {
    return text.empty() ? Json(nullptr) : Json(text);
}

std::string text_of(const Json& json, const char* key) {
    const auto found = json.find(key);
    return found != json.end() && found->is_string() ? found->get<std::string>() : "";
}

std::unexpected<Error> cannot(const std::string& file, int error) {
    return fail(error == EACCES ? Errc::denied : Errc::io,
                fmt::format("{}: {}", escaped(file), error_text(error)));
}

Result<std::string> read_all(int fd, const std::string& file) {
    std::string text(2 * kMostHistory, '\0');
    const ssize_t got = ::pread(fd, text.data(), text.size(), 0);
    if (got < 0) {
        return cannot(file, errno);
    }
    text.resize(static_cast<std::size_t>(got));
    return text;
}

}  // namespace

std::string drill_json(const DrillRecord& record) {
    const Json json{{"disk", record.disk},
                    {"point", record.point},
                    {"server", or_null(record.server)},
                    {"when", rfc3339(record.when)},
                    {"when_s", record.when},
                    {"seconds", record.seconds},
                    {"result", record.alive() ? "alive" : "dead"},
                    {"sign", or_null(record.sign)},
                    {"reason", or_null(record.reason)},
                    {"accel", record.accel},
                    {"screenshot", or_null(record.screenshot)}};
    return json.dump(-1, ' ', false, kReplace);
}

std::optional<DrillRecord> parse_drill(std::string_view line) {
    const Json json = Json::parse(line, nullptr, false);
    if (!json.is_object()) {
        return std::nullopt;
    }
    DrillRecord record{.disk = text_of(json, "disk"),
                       .point = text_of(json, "point"),
                       .server = text_of(json, "server"),
                       .when = 0,
                       .seconds = 0,
                       .sign = text_of(json, "sign"),
                       .reason = text_of(json, "reason"),
                       .accel = text_of(json, "accel"),
                       .screenshot = text_of(json, "screenshot")};
    const auto when = json.find("when_s");
    const auto seconds = json.find("seconds");
    if (record.disk.empty() || when == json.end() || !when->is_number_integer() ||
        seconds == json.end() || !seconds->is_number()) {
        return std::nullopt;
    }
    record.when = when->get<std::int64_t>();
    record.seconds = seconds->get<double>();
    return record.when < 0 || record.when > kLastSecond ? std::nullopt : std::optional(record);
}

Result<void> append_drill(const std::string& file, const DrillRecord& record) {
    const UniqueFd fd(::open(file.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0640));
    if (!fd || ::flock(fd.get(), LOCK_EX) != 0) {
        return cannot(file, errno);
    }
    struct stat status {};
    if (::fstat(fd.get(), &status) == 0 && status.st_size > static_cast<off_t>(kMostHistory)) {
        const auto text = read_all(fd.get(), file);
        const auto half = text ? text->find('\n', text->size() / 2) : std::string::npos;
        if (half == std::string::npos || ::ftruncate(fd.get(), 0) != 0) {
            return cannot(file, errno);
        }
        const std::string_view newer = std::string_view(*text).substr(half + 1);
        if (::write(fd.get(), newer.data(), newer.size()) != static_cast<ssize_t>(newer.size())) {
            return cannot(file, errno);
        }
    }
    const std::string line = drill_json(record) + "\n";
    if (::write(fd.get(), line.data(), line.size()) != static_cast<ssize_t>(line.size()) ||
        ::fdatasync(fd.get()) != 0) {
        return cannot(file, errno);
    }
    return {};
}

Result<std::vector<DrillRecord>> read_drills(const std::string& file) {
    std::vector<DrillRecord> records;
    const UniqueFd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) {
        return errno == ENOENT ? Result<std::vector<DrillRecord>>(records) : cannot(file, errno);
    }
    ::flock(fd.get(), LOCK_SH);
    const auto text = read_all(fd.get(), file);
    if (!text) {
        return std::unexpected(text.error());
    }
    for (std::string_view rest = *text; !rest.empty();) {
        const auto end = std::min(rest.find('\n'), rest.size());
        if (auto record = parse_drill(rest.substr(0, end))) {
            records.push_back(std::move(*record));
        }
        rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    return records;
}

}  // namespace signpost
