// SPDX-License-Identifier: BSD-3-Clause
#include "catalog/store_rules.h"

#include <fmt/format.h>

#include <algorithm>

#include "catalog/row_check.h"

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
    return image.read_only == held.read_only && image.export_name == held.export_name &&
           image.minimum_block == held.minimum_block;
}

bool same_first_uri(const Server& a, const Server& b) {
    if (a.uris.empty() || b.uris.empty())
        return a.uris.empty() && b.uris.empty();
    return a.uris.front() == b.uris.front();
}

bool is_running(const Server& server, std::int64_t now) {
    const std::int64_t lease = std::chrono::seconds(kServerLease).count();
    return !server.instance.empty() && now - server.last_heartbeat < lease &&
           server.last_heartbeat - now < lease;
}

std::string first_endpoint(const Server& server) {
    return server.uris.empty() ? "no URI" : escaped(server.uris.front().endpoint());
}

}  // namespace

StoreClock system_store_clock() {
    return [] {
        const auto now = std::chrono::system_clock::now().time_since_epoch();
        return static_cast<std::int64_t>(
            std::chrono::duration_cast<std::chrono::seconds>(now).count());
    };
}

Result<void> check_limit(std::size_t limit) {
    if (limit < 1 || limit > kMaxPage)
        return fail(Errc::invalid, fmt::format("a page of {} disks was asked for; use 1 to {}",
                                               limit, kMaxPage));
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
    take_attributes(location, image);
    return location;
}

void take_attributes(Location& held, const Image& image) {
    held.export_name = image.export_name;
    held.read_only = image.read_only;
    held.minimum_block = image.minimum_block;
}

Result<Server> registration(const Server& server, const std::optional<Server>& held,
                            std::int64_t now) {
    if (held && held->instance != server.instance && is_running(*held, now) &&
        !same_first_uri(*held, server))
        return fail(Errc::conflict,
                    fmt::format("server name {} is in use by a running server ({}); give this one "
                                "another name with server=NAME",
                                server.name, first_endpoint(*held)));
    Server stored = server;
    stored.last_heartbeat = held ? held->last_heartbeat : 0;
    stored.heartbeat_sequence = held ? held->heartbeat_sequence : 0;
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
           a.priority == b.priority && a.instance == b.instance;
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
    return fail(Errc::invalid,
                fmt::format("\"{}\" is not a digest for disk {} on {}: it is sha256-4m: and 64 "
                            "lower-case hexadecimal digits",
                            escaped(record.digest), escaped(record.disk.str()),
                            escaped(record.server)));
}

std::unexpected<Error> changed_meanwhile(const DigestRecord& record) {
    return fail(Errc::conflict,
                fmt::format("disk {} on {} changed while it was read; verify it again",
                            escaped(record.disk.str()), escaped(record.server)));
}

}  // namespace signpost
