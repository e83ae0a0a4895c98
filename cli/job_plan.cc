// SPDX-License-Identifier: BSD-3-Clause

#include "cli/job_plan.h"

#include <fmt/format.h>
#include <sys/random.h>

#include <algorithm>
#include <array>

namespace signpost {

namespace {

const Server* find(const std::vector<Server>& servers, const std::string& name) {
    const auto found = std::ranges::find(servers, name, &Server::name);
    return found == servers.end() ? nullptr : &*found;
}

const Location* find(const DiskRecord& disk, const std::string& server) {
    const auto found = std::ranges::find(disk.locations, server, &Location::server);
    return found == disk.locations.end() ? nullptr : &*found;
}

Outcome<void> check_server(const std::vector<Server>& servers, const std::string& name,
                           std::string_view what) {
    const Server* server = find(servers, name);
    if (server == nullptr) {
        return failure(ExitCode::failed,
                       fmt::format("there is no server {}; see: signpost servers", escaped(name)));
    }
    if (server->kind == ServerKind::foreign) {
        return failure(ExitCode::failed,
                       fmt::format("{} is a foreign server, which {}", name, what));
    }
    return {};
}

Outcome<void> check_target(const DiskRecord& disk, const std::string& target) {
    const Location* there = find(disk, target);
    if (there == nullptr || there->state == LocationState::damaged) {
        return {};
    }
    const std::string name = escaped(disk.name.str());
    return failure(
        ExitCode::conflict,
        fmt::format("{} has a copy of {} already; see: signpost where {}", target, name, name));
}

// The server that a move takes the disk from, when none was named.
Outcome<std::string> only_holder(const DiskRecord& disk, const std::string& target) {
    std::vector<std::string> holders;
    for (const Location& location : disk.locations) {
        if (location.server != target) {
            holders.push_back(location.server);
        }
    }
    if (holders.size() == 1) {
        return holders.front();
    }
    return failure(ExitCode::usage,
                   fmt::format("{} servers have {}; say which one gives it up: --from SERVER",
                               holders.size(), escaped(disk.name.str())));
}

Outcome<void> check_source(const DiskRecord& disk, const std::vector<Server>& servers,
                           const std::string& target, const std::string& source) {
    const std::string name = escaped(disk.name.str());
    if (!source.empty()) {
        const Location* location = find(disk, source);
        if (location == nullptr || location->state != LocationState::ready) {
            return failure(ExitCode::no_such_disk,
                           fmt::format("{} has no good copy of {}; see: signpost where {}", source,
                                       name, name));
        }
    }
    const bool any = std::ranges::any_of(disk.locations, [&](const Location& location) {
        return location.server != target && (source.empty() || location.server == source) &&
               can_be_source(location, find(servers, location.server));
    });
    return any ? Outcome<void>()
               : failure(ExitCode::conflict,
                         fmt::format("no copy of {} can be proven: one of a foreign server, or "
                                     "that is served writable, needs a digest; first: signpost "
                                     "verify {}",
                                     name, name));
}

}  // namespace

bool can_be_source(const Location& location, const Server* server) {
    return location.state == LocationState::ready && server != nullptr &&
           (!location.digest.empty() ||
            (server->kind == ServerKind::signpost && location.read_only));
}

Outcome<std::string> new_job_id() {
    std::array<unsigned char, 16> bytes{};
    if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
        return failure(ExitCode::failed, "the kernel gives no random bytes");
    }
    std::string id;
    for (const unsigned char byte : bytes) {
        id += fmt::format("{:02x}", byte);
    }
    return id;
}

Outcome<Job> plan_job(const DiskRecord& disk, const std::vector<Server>& servers,
                      const JobWish& wish) {
    std::string source = wish.source;
    if (auto target = check_server(servers, wish.target, "takes no copies"); !target) {
        return std::unexpected(target.error());
    }
    if (auto free = check_target(disk, wish.target); !free) {
        return std::unexpected(free.error());
    }
    if (wish.kind == JobKind::move) {
        if (source.empty()) {
            auto holder = only_holder(disk, wish.target);
            if (!holder) {
                return std::unexpected(holder.error());
            }
            source = std::move(*holder);
        }
        if (auto ours = check_server(servers, source, "gives no disk up; copy it"); !ours) {
            return std::unexpected(ours.error());
        }
        const Location* location = find(disk, source);
        if (location != nullptr && !location->read_only) {
            return failure(ExitCode::denied,
                           fmt::format("{} serves {} writable, and would not give it up; serve it "
                                       "read-only, or copy it",
                                       source, escaped(disk.name.str())));
        }
    }
    if (auto good = check_source(disk, servers, wish.target, source); !good) {
        return std::unexpected(good.error());
    }
    auto id = new_job_id();
    if (!id) {
        return std::unexpected(id.error());
    }
    return Job{.id = std::move(*id),
               .kind = wish.kind,
               .disk = disk.name,
               .target = wish.target,
               .source = std::move(source),
               .rate = wish.rate,
               .state = JobState::waiting,
               .size = disk_size(disk),
               .done = 0,
               .message = {},
               .created = 0,
               .updated = 0};
}

}  // namespace signpost
