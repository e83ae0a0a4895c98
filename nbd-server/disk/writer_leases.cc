// SPDX-License-Identifier: BSD-3-Clause
//
// What Writers asks the catalog, each call bounded by the catalog's own limits and made without the
// lock.

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include "nbd-server/disk/writers.h"

namespace signpost {

namespace {

constexpr std::size_t kMaxWriter = 128;  // bytes, as the catalog takes it

const Location* location_at(const DiskRecord& record, std::string_view server) {
    const auto found = std::ranges::find(record.locations, server, &Location::server);
    return found == record.locations.end() ? nullptr : &*found;
}

bool may_be_written_elsewhere(const DiskRecord& record, std::string_view server) {
    return std::ranges::any_of(record.locations, [&](const Location& location) {
        return location.server != server && !location.read_only &&
               location.state != LocationState::stale && location.state != LocationState::damaged;
    });
}

}  // namespace

// Of an image that is not in the catalog nobody else knows.
Writers::Answer Writers::ask_catalog(const Question& question) {
    const Target& target = question.target;
    if (target.server.empty()) {
        return {};
    }
    const auto record = parts_.catalog.find(target.disk);
    if (!record || (*record && (*record)->as_of != 0)) {
        return {.error = EIO,
                .reason = fmt::format("the catalog cannot say whether another writes to it: {}",
                                      record ? "it does not answer" : record.error().message)};
    }
    if (!*record) {
        return {};
    }
    const Location* const own = location_at(**record, target.server);
    if (own != nullptr && own->state == LocationState::stale) {
        return {.error = ESTALE,
                .reason = fmt::format("the copy of server {} is stale, because another copy was "
                                      "written since: see signpost where",
                                      target.server)};
    }
    return ask_for_lease(question, **record);
}

Writers::Answer Writers::ask_for_lease(const Question& question, const DiskRecord& record) {
    const Target& target = question.target;
    Answer answer;
    answer.contested = may_be_written_elsewhere(record, target.server);
    auto before = parts_.catalog.last_writer(target.disk);
    if (before) {
        answer.before = std::move(*before);
    }
    auto lease = before ? parts_.catalog.take_writer(target.disk, target.server,
                                                     writer_text(target, question.who))
                        : Result<WriterLease>(std::unexpected(before.error()));
    if (!lease) {
        const bool other = lease.error().code == Errc::conflict;
        answer.error = other ? EBUSY : answer.contested ? EIO : 0;
        answer.reason = lease.error().message;
        return answer;
    }
    answer.lease = std::move(*lease);
    answer.reason = "another had the lease meanwhile";
    const bool from_another = answer.before && answer.before->server != target.server;
    const auto& replaced = from_another ? answer.before : question.replaced;
    if (replaced) {
        if (auto done = supersede(target, record, *replaced); !done) {
            answer.error = EIO;
            answer.reason = fmt::format("the copy of server {} could not be marked as stale: {}",
                                        replaced->server, done.error().message);
        }
    }
    return answer;
}

// From now on the content is here; what was written at the other server last is in its copy only.
Result<void> Writers::supersede(const Target& target, const DiskRecord& record,
                                const WriterLease& before) {
    const Location* const here = location_at(record, target.server);
    const Location* const there = location_at(record, before.server);
    if (there == nullptr || there->state == LocationState::stale ||
        (here != nullptr && interchangeable(*here, *there))) {
        return {};
    }
    auto marked = parts_.catalog.set_location_state(target.disk, before.server, there->generation,
                                                    LocationState::stale);
    if (!marked && marked.error().code == Errc::not_found) {
        return {};
    }
    if (marked) {
        parts_.log.info(
            fmt::format("disk '{}' is written on server {} now; the copy of server {}, "
                        "written until then, is stale",
                        escaped(target.disk.str()), target.server, before.server));
    }
    return marked;
}

// Two servers that relay to a foreign one are two writers, whoever asks them.
std::string Writers::writer_text(const Target& target, const std::string& who) const {
    std::string text =
        target.server == parts_.own_server ? who : fmt::format("{} at {}", who, parts_.own_server);
    if (text.size() > kMaxWriter) {
        const auto hash = fmt::format(" #{:016x}", std::hash<std::string>{}(text));
        text.resize(kMaxWriter - hash.size());
        while (!text.empty() && !is_utf8(text)) {
            text.pop_back();
        }
        text += hash;
    }
    return text;
}

}  // namespace signpost
