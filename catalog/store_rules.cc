// SPDX-License-Identifier: BSD-3-Clause
#include "catalog/store_rules.h"

#include <fmt/format.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <set>
#include <utility>

#include "catalog/row_check.h"
#include "catalog/small_tables.h"

namespace signpost {

namespace {

bool by_name(const Image* a, const Image* b) {
    return a->name < b->name;
}

bool same_content(const Image& image, const Location& held) {
    if (image.size != held.size || image.format != held.format ||
        image.fingerprint != held.fingerprint)
        return false;
    // A foreign server shows no fingerprint: what it says is all there is to compare.
    return !image.fingerprint.empty() ||
           (image.read_only == held.read_only && image.export_name == held.export_name);
}

bool same_attributes(const Image& image, const Location& held) {
    return state_after(image, held.state) == held.state && image.read_only == held.read_only &&
           image.export_name == held.export_name && image.minimum_block == held.minimum_block;
}

// Of a row whose URIs break the rules nothing says that another server has the name.
bool is_elsewhere(const Server& held, const Server& server) {
    return !held.uris.empty() && (server.uris.empty() || held.uris.front() != server.uris.front());
}

bool is_running(const Server& server, std::int64_t now) {
    const std::int64_t lease = std::chrono::seconds(kServerLease).count();
    return !server.instance.empty() && now - server.last_heartbeat < lease &&
           server.last_heartbeat - now < lease;
}

std::string first_endpoint(const Server& server) {
    return server.uris.empty() ? "no URI" : escaped(server.uris.front().endpoint());
}

Result<void> check_locations(const DiskRecord& disk) {
    std::set<std::string_view> servers;
    for (const Location& location : disk.locations) {
        if (auto checked = check_location(location, disk.name); !checked)
            return checked;
        if (!servers.insert(location.server).second)
            return fail(Errc::invalid, fmt::format("disk {} is on {} twice",
                                                   escaped(disk.name.str()), location.server));
    }
    return {};
}

}  // namespace

// Asked of the kernel itself: all processes of a machine agree on it, even one that was given
// another time of day by a library.
StoreClock system_store_clock() {
    return [] {
        timespec now{};
        ::syscall(SYS_clock_gettime, CLOCK_REALTIME, &now);
        return static_cast<std::int64_t>(now.tv_sec);
    };
}

Result<void> check_limit(std::size_t limit) {
    if (limit < 1 || limit > kMaxPage)
        return fail(Errc::invalid,
                    fmt::format("a page of {} disks was asked for; use 1 to {}", limit, kMaxPage));
    return {};
}

bool may_occur_in_names(std::string_view text) {
    return text.size() <= DiskName::kMaxBytes && is_utf8(text) &&
           text.find('\0') == std::string_view::npos;
}

std::string like_literal(std::string_view text) {
    std::string pattern;
    for (const char c : text) {
        if (c == '%' || c == '_' || c == '\\')
            pattern += '\\';
        pattern += c;
    }
    return pattern;
}

Result<std::vector<const Image*>> ordered_images(const Publication& change) {
    std::vector<const Image*> ordered;
    ordered.reserve(change.images.size());
    for (const Image& image : change.images) {
        if (auto checked = check_image(image); !checked)
            return std::unexpected(std::move(checked.error()));
        ordered.push_back(&image);
    }
    std::sort(ordered.begin(), ordered.end(), by_name);
    const auto twice =
        std::adjacent_find(ordered.begin(), ordered.end(),
                           [](const Image* a, const Image* b) { return a->name == b->name; });
    if (twice != ordered.end())
        return fail(Errc::invalid, fmt::format("disk {} is twice in one publication",
                                               escaped((*twice)->name.str())));
    return ordered;
}

bool has_image(const std::vector<const Image*>& ordered, const DiskName& name) {
    const auto found = std::lower_bound(
        ordered.begin(), ordered.end(), name,
        [](const Image* image, const DiskName& wanted) { return image->name < wanted; });
    return found != ordered.end() && (*found)->name == name;
}

LocationState state_after(const Image& image, LocationState held) {
    if (image.state == LocationState::copying || held == LocationState::copying)
        return image.state;
    return held;
}

ImageChange compare(const Image& image, const Location& held) {
    if (!same_content(image, held))
        return ImageChange::content;
    return same_attributes(image, held) ? ImageChange::none : ImageChange::attributes;
}

Location new_location(const Image& image, std::string_view server, std::uint64_t generation,
                      std::int64_t now) {
    Location location;
    location.server = server;
    location.size = image.size;
    location.format = image.format;
    location.fingerprint = image.fingerprint;
    location.generation = generation;
    location.last_seen = now;
    location.state = image.state;
    take_attributes(location, image);
    return location;
}

void take_attributes(Location& held, const Image& image) {
    held.export_name = image.export_name;
    held.state = state_after(image, held.state);
    held.read_only = image.read_only;
    held.minimum_block = image.minimum_block;
}

Result<void> check_new_digest(const DigestRecord& record, const Location& held) {
    if (held.generation != record.generation)
        return changed_meanwhile(record.disk, record.server);
    if (held.state == LocationState::damaged && !held.digest.empty() &&
        held.digest != record.digest)
        return fail(Errc::conflict,
                    fmt::format("disk {} on {} is damaged: it has other bytes than those of its "
                                "digest in the catalog; repair it, or remove it there",
                                escaped(record.disk.str()), escaped(record.server)));
    return {};
}

Result<Server> registration(const Server& server, const std::optional<Server>& held,
                            std::int64_t now) {
    if (held && held->instance != server.instance && is_running(*held, now) &&
        is_elsewhere(*held, server))
        return fail(Errc::conflict,
                    fmt::format("server name {} is in use by a running server ({}); give this one "
                                "another name with server=NAME",
                                server.name, first_endpoint(*held)));
    Server stored = server;
    stored.last_heartbeat = held ? held->last_heartbeat : 0;
    stored.sessions = held ? held->sessions : 0;
    stored.heartbeat_sequence = held ? held->heartbeat_sequence : 0;
    stored.draining = held && held->draining;
    if (!server.instance.empty()) {
        stored.last_heartbeat = now;
        ++stored.heartbeat_sequence;
    } else if (held && server.kind == ServerKind::signpost) {
        stored.instance = held->instance;
    }
    return stored;
}

bool same_registration(const Server& a, const Server& b) {
    return a.name == b.name && a.uris == b.uris && a.site == b.site && a.kind == b.kind &&
           a.priority == b.priority && a.priority_class == b.priority_class &&
           a.draining == b.draining && a.instance == b.instance;
}

Result<std::vector<const DiskRecord*>> check_restoration(const Restoration& records) {
    std::set<std::string_view> servers;
    for (const Server& server : records.servers) {
        if (auto checked = check_server(server); !checked)
            return std::unexpected(std::move(checked.error()));
        if (!servers.insert(server.name).second)
            return fail(Errc::invalid, fmt::format("server {} is there twice", server.name));
    }
    std::vector<const DiskRecord*> ordered;
    ordered.reserve(records.disks.size());
    for (const DiskRecord& disk : records.disks) {
        if (auto checked = check_locations(disk); !checked)
            return std::unexpected(std::move(checked.error()));
        ordered.push_back(&disk);
    }
    std::ranges::sort(ordered, {}, &DiskRecord::name);
    const auto twice = std::ranges::adjacent_find(ordered, {}, &DiskRecord::name);
    if (twice != ordered.end())
        return fail(Errc::invalid,
                    fmt::format("disk {} is there twice", escaped((*twice)->name.str())));
    for (const WriterLease& lease : records.writers)
        if (auto checked = check_lease(lease); !checked)
            return std::unexpected(std::move(checked.error()));
    if (newest_in(records) > kMaxRestoredGeneration)
        return fail(Errc::invalid, "a generation is larger than any that was given out");
    return ordered;
}

std::uint64_t newest_in(const Restoration& records) {
    std::uint64_t newest = records.generation_floor;
    for (const DiskRecord& disk : records.disks)
        for (const Location& location : disk.locations)
            newest = std::max(newest, location.generation);
    return newest;
}

std::unexpected<Error> no_server(std::string_view name) {
    return fail(Errc::not_found,
                fmt::format("server {} is not registered; list them with: signpost servers",
                            escaped(name)));
}

std::unexpected<Error> no_location(const DiskName& disk, std::string_view server) {
    return fail(Errc::not_found, fmt::format("server {} has no disk {}; see: signpost where",
                                             escaped(server), escaped(disk.str())));
}

std::unexpected<Error> other_instance(std::string_view server) {
    return fail(Errc::conflict,
                fmt::format("another process has registered as server {}; stop one of them, or "
                            "give it another name with server=NAME",
                            escaped(server)));
}

std::unexpected<Error> bad_digest(const DigestRecord& record) {
    return fail(
        Errc::invalid,
        fmt::format("\"{}\" is not a digest for disk {} on {}: it is sha256-32k: and 64 "
                    "lower-case hexadecimal digits",
                    escaped(record.digest), escaped(record.disk.str()), escaped(record.server)));
}

std::unexpected<Error> changed_meanwhile(const DiskName& disk, std::string_view server) {
    return fail(Errc::conflict,
                fmt::format("disk {} on {} changed while it was read; verify it again",
                            escaped(disk.str()), escaped(server)));
}

std::unexpected<Error> not_empty(std::string_view catalog) {
    return fail(Errc::conflict,
                fmt::format("catalog {} is not empty; name an empty one, or add to it with: "
                            "signpost catalog import --merge FILE",
                            catalog));
}

std::unexpected<Error> half_imported(std::string_view catalog) {
    return fail(Errc::unavailable,
                fmt::format("catalog {} is half imported: wait until the import is done or, when "
                            "it was interrupted, repeat it (signpost catalog import FILE)",
                            catalog));
}

}  // namespace signpost
