// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/copy_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace signpost {

namespace {

std::unexpected<Error> refused(const DiskName& disk, const Location& copy, std::string_view why) {
    return fail(Errc::conflict,
                fmt::format("{}: its copy on {} has no digest, and {}; verify it "
                            "first: signpost verify {}",
                            disk_text(disk), copy.server, why, escaped(disk.str())));
}

bool same_content(const Location& copy, const Location& reference) {
    return copy.state == LocationState::ready && !copy.digest.empty() &&
           copy.digest == reference.digest && copy.size == reference.size;
}

// The upstreams that show the reference's content, it first.
std::vector<Upstream> of_content(std::vector<Upstream> upstreams, const DiskRecord& record,
                                 const Location& reference) {
    std::erase_if(upstreams, [&](const Upstream& upstream) {
        const Location* copy = copy_on(record, upstream.location.server);
        return copy == nullptr ||
               (copy->server != reference.server && !same_content(*copy, reference));
    });
    const auto first = std::ranges::find_if(upstreams, [&](const Upstream& upstream) {
        return upstream.location.server == reference.server;
    });
    if (first != upstreams.end()) {
        std::rotate(upstreams.begin(), first, first + 1);
    }
    return upstreams;
}

Result<DiskRecord> look_up(Catalog& catalog, const DiskName& disk) {
    auto record = record_now(catalog, disk);
    if (!record) {
        return std::unexpected(record.error());
    }
    if (!*record) {
        return fail(Errc::not_found, fmt::format("{} is not in the catalog", disk_text(disk)));
    }
    return std::move(**record);
}

// Whether the end of the copy will be able to prove it.
Result<ServerKind> provable(Catalog& catalog, const DiskName& disk, const Location& reference) {
    const auto server = catalog.find_server(reference.server);
    if (!server) {
        return std::unexpected(server.error());
    }
    const auto kind = *server ? (*server)->kind : ServerKind::foreign;
    if (!reference.digest.empty()) {
        return kind;
    }
    if (kind == ServerKind::foreign) {
        return refused(disk, reference, "a foreign server cannot show that it did not change");
    }
    if (!reference.read_only) {
        return refused(disk, reference, "may be written to while it is read");
    }
    return kind;
}

}  // namespace

Result<std::optional<DiskRecord>> record_now(Catalog& catalog, const DiskName& disk) {
    auto record = catalog.find(disk);
    if (!record) {
        return fail(Errc::unavailable, record.error().message);
    }
    if (*record && (*record)->as_of != 0) {
        return fail(Errc::unavailable, "the catalog does not answer");
    }
    return record;
}

std::string disk_text(const DiskName& disk) {
    return fmt::format("disk '{}'", escaped(disk.str()));
}

const Location* copy_on(const DiskRecord& disk, const std::string& server) {
    const auto found = std::ranges::find(disk.locations, server, &Location::server);
    return found == disk.locations.end() ? nullptr : &*found;
}

std::string CopySource::content() const {
    return reference.digest.empty()
               ? fmt::format("disk {}\nimage {} of {}", plan.disk.str(), reference.fingerprint,
                             reference.server)
               : fmt::format("disk {}\ndigest {}", plan.disk.str(), reference.digest);
}

Result<CopySource> choose_source(Catalog& catalog, const RelayPlanner& planner,
                                 const DiskName& disk, const std::string& preferred,
                                 unsigned attempt) {
    auto plan = planner.plan(disk, false);
    if (!plan) {
        return std::unexpected(plan.error());
    }
    const auto record = look_up(catalog, disk);
    if (!record) {
        return std::unexpected(record.error());
    }
    const std::string& first =
        preferred.empty() ? plan->upstreams.front().location.server : preferred;
    const Location* reference = copy_on(*record, first);
    if (reference == nullptr || reference->state != LocationState::ready) {
        return fail(Errc::not_found,
                    fmt::format("{}: server {} has no copy of it that can be read; see: signpost "
                                "where {}",
                                disk_text(disk), first, escaped(disk.str())));
    }
    const auto kind = provable(catalog, disk, *reference);
    if (!kind) {
        return std::unexpected(kind.error());
    }
    plan->upstreams = of_content(std::move(plan->upstreams), *record, *reference);
    if (plan->upstreams.empty()) {
        return fail(Errc::unavailable,
                    fmt::format("{}: no server that has it can be asked now", disk_text(disk)));
    }
    plan->ask_again = [&catalog, disk, ask = plan->ask_again,
                       reference = *reference]() -> Result<std::vector<Upstream>> {
        auto upstreams = ask();
        const auto now = look_up(catalog, disk);
        if (!upstreams || !now) {
            return std::unexpected(upstreams ? now.error() : upstreams.error());
        }
        return of_content(std::move(*upstreams), *now, reference);
    };
    const std::size_t sources = plan->upstreams.size();
    if (attempt > 0) {
        std::ranges::rotate(
            plan->upstreams,
            plan->upstreams.begin() + static_cast<std::ptrdiff_t>((attempt - 1) % sources));
        plan->upstreams.resize(1);
        plan->ask_again = {};
    }
    plan->traits.size = reference->size;
    return CopySource{
        .reference = *reference,
        .plan = std::move(*plan),
        .sources = sources,
        .trust_map = attempt == 0 && (*kind == ServerKind::signpost || !reference->digest.empty())};
}

}  // namespace signpost
