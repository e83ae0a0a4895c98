// SPDX-License-Identifier: BSD-3-Clause
#include "cli/host_stubs.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <utility>
#include <vector>

#include "terminal/text.h"

namespace signpost {

namespace {

namespace fs = std::filesystem;

bool has_stubs(const fs::path& directory) {
    std::error_code ignored;
    return fs::exists(directory / "stubs.db", ignored);
}

std::vector<std::string> servers_with_stubs(const fs::path& base) {
    std::vector<std::string> servers;
    std::error_code error;
    for (fs::directory_iterator entry(base, error), end; !error && entry != end;
         entry.increment(error)) {
        const std::string name = entry->path().filename().string();
        if (check_server_name(name) && has_stubs(entry->path())) {
            servers.push_back(name);
        }
    }
    return servers;
}

}  // namespace

std::int64_t HostStubs::as_of(std::int64_t now) const {
    return std::min(kept.note.as_of, now);
}

Result<HostStubs> open_host_stubs(const Options& options) {
    const fs::path base = default_state_directory();
    HostStubs stubs{.server = options.own_server, .path = {}, .kept = {}};
    if (!has_stubs(base / stubs.server)) {
        const auto servers = servers_with_stubs(base);
        if (options.server_given || servers.size() != 1) {
            return fail(Errc::not_found,
                        servers.size() > 1 && !options.server_given
                            ? fmt::format("several servers keep their state in {}: say which "
                                          "with --server",
                                          escaped(base.string()))
                            : fmt::format("server {} keeps no stubs in {}", stubs.server,
                                          escaped(base.string())));
        }
        stubs.server = servers.front();
    }
    const fs::path directory = base / stubs.server;
    auto kept = read_stubs(directory.string());
    if (!kept) {
        return std::unexpected(std::move(kept.error()));
    }
    stubs.path = (directory / "stubs.db").string();
    stubs.kept = std::move(*kept);
    return stubs;
}

std::string stubs_text(const HostStubs& stubs, std::int64_t now) {
    const auto as_of = stubs.as_of(now);
    return fmt::format("stubs of server {}, {}{}", stubs.server, as_of_for_people(as_of),
                       as_of == 0 ? "" : fmt::format(" ({} ago)", age(as_of, now)));
}

}  // namespace signpost
