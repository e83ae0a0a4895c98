// SPDX-License-Identifier: BSD-3-Clause
#include "catalog/small_tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "catalog/row_check.h"

namespace signpost {

namespace {

constexpr std::size_t kJobIdDigits = 32;
// So that there are fences left after one that was restored.
constexpr std::uint64_t kMaxFence = std::uint64_t{1} << 61;

std::string text_of(const StoreRow& row, int column) {
    return std::string(row.text(column).value_or(""));
}

// -1, which every rule refuses, when there is no such number.
std::int64_t number_of(const StoreRow& row, int column) {
    return row.integer(column).value_or(-1);
}

template <class Enum>
std::optional<Enum> code_of(const StoreRow& row, int column, Enum last) {
    const std::int64_t code = number_of(row, column);
    if (code < 0 || code > static_cast<std::int64_t>(last))
        return std::nullopt;
    return static_cast<Enum>(code);
}

bool is_job_id(std::string_view id) {
    const auto fits = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
    return id.size() == kJobIdDigits && std::all_of(id.begin(), id.end(), fits);
}

bool is_message(std::string_view text) {
    return text.size() <= kMaxJobMessage && is_utf8(text) &&
           text.find('\0') == std::string_view::npos;
}

// At most kMaxJobMessage bytes, whole characters.
std::string message_of(std::string_view text) {
    std::string message(text);
    if (!is_utf8(text) || text.find('\0') != std::string_view::npos)
        message = escaped(text, kMaxJobMessage);
    std::size_t size = std::min(message.size(), kMaxJobMessage);
    const auto continues = [&](std::size_t at) {
        return (static_cast<unsigned char>(message[at]) & 0xC0) == 0x80;
    };
    while (size > 0 && size < message.size() && continues(size))
        --size;
    message.resize(size);
    return message;
}

std::string_view job_fault(const Job& job) {
    const auto too_large = [](std::uint64_t value) { return !std::in_range<std::int64_t>(value); };
    if (!is_job_id(job.id))
        return "id";
    if (!check_server_name(job.target))
        return "target";
    if (!job.source.empty() && !check_server_name(job.source))
        return "source";
    if (job.source == job.target)
        return "source, which is its target";
    if (too_large(job.rate) || too_large(job.size) || too_large(job.done))
        return "number of bytes";
    return job.created < 0 || job.updated < 0 ? "time" : "";
}

std::unexpected<Error> finished_job(const Job& job) {
    return fail(Errc::conflict, fmt::format("job {} for disk {} is {} already", escaped(job.id),
                                            escaped(job.disk.str()), to_string(job.state)));
}

bool same_progress(const Job& a, const Job& b) {
    return a.state == b.state && a.size == b.size && a.done == b.done && a.message == b.message;
}

bool same_wish(const Job& a, const Job& b) {
    return a.kind == b.kind && a.disk == b.disk && a.target == b.target && a.source == b.source &&
           a.rate == b.rate;
}

bool is_boot_profile(std::string_view text) {
    return !text.empty() && text.size() <= kMaxBootProfile &&
           std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

bool is_site(std::string_view text) {
    return !text.empty() && is_word(text);
}

}  // namespace

std::optional<Job> job_in(const StoreRow& row) {
    using Column = JobColumn;
    const auto kind = code_of(row, Column::kind, JobKind::move);
    const auto state = code_of(row, Column::state, JobState::cancelled);
    auto disk = DiskName::parse(row.text(Column::disk).value_or(""));
    if (!kind || !state || !disk || !row.text(Column::source) || !row.text(Column::message))
        return std::nullopt;
    Job job{.id = text_of(row, Column::id),
            .kind = *kind,
            .disk = std::move(*disk),
            .target = text_of(row, Column::target),
            .source = text_of(row, Column::source),
            .rate = static_cast<std::uint64_t>(number_of(row, Column::rate)),
            .state = *state,
            .size = static_cast<std::uint64_t>(number_of(row, Column::size)),
            .done = static_cast<std::uint64_t>(number_of(row, Column::done)),
            .message = text_of(row, Column::message),
            .created = number_of(row, Column::created),
            .updated = number_of(row, Column::updated)};
    if (!job_fault(job).empty() || !is_message(job.message))
        return std::nullopt;
    return job;
}

std::optional<WriterLease> writer_in(const StoreRow& row) {
    using Column = WriterColumn;
    auto disk = DiskName::parse(row.text(Column::disk).value_or(""));
    const std::int64_t fence = number_of(row, Column::fence);
    const std::int64_t expires = number_of(row, Column::expires);
    const auto server = row.text(Column::server);
    const auto writer = row.text(Column::writer);
    if (!disk || !server || !writer || fence < 1 || expires < 0)
        return std::nullopt;
    if (!server->empty() && !check_writer(*server, *writer))
        return std::nullopt;
    return WriterLease{.disk = std::move(*disk),
                       .server = std::string(*server),
                       .writer = server->empty() ? std::string() : std::string(*writer),
                       .fence = static_cast<std::uint64_t>(fence),
                       .expires = expires};
}

std::optional<SiteCost> site_cost_in(const StoreRow& row) {
    using Column = SiteCostColumn;
    SiteCost cost{text_of(row, Column::from), text_of(row, Column::to), 0};
    const std::int64_t value = number_of(row, Column::cost);
    if (value < 0 || value > kMaxSiteCost || !is_site(cost.from) || !is_site(cost.to) ||
        cost.from >= cost.to)
        return std::nullopt;
    cost.cost = static_cast<int>(value);
    return cost;
}

std::optional<std::string> boot_profile_in(const StoreRow& row) {
    std::string profile = text_of(row, BootProfileColumn::profile);
    return is_boot_profile(profile) ? std::optional(std::move(profile)) : std::nullopt;
}

Result<void> check_boot_profile(const DiskName& disk, std::string_view profile) {
    if (!is_boot_profile(profile))
        return fail(Errc::invalid, fmt::format("the boot profile of disk {} is too long, or no "
                                               "printable ASCII",
                                               escaped(disk.str())));
    return {};
}

Result<void> check_job(const Job& job) {
    if (const auto fault = job_fault(job); !fault.empty())
        return fail(Errc::invalid, fmt::format("job \"{}\" for disk {} has an unusable {}",
                                               escaped(job.id), escaped(job.disk.str()), fault));
    return {};
}

Result<void> check_writer(std::string_view server, std::string_view writer) {
    if (auto name = check_server_name(server); !name)
        return name;
    if (writer.empty() || !is_word(writer))
        return fail(Errc::invalid, fmt::format("\"{}\" does not name a writer: use 1 to 128 bytes "
                                               "of UTF-8 text without control characters",
                                               escaped(writer)));
    return {};
}

Result<void> check_lease(const WriterLease& lease) {
    if (lease.fence < 1 || lease.fence > kMaxFence || lease.expires < 0)
        return fail(Errc::invalid, fmt::format("the writer's lease of disk {} has an unusable "
                                               "fence or end",
                                               escaped(lease.disk.str())));
    return check_writer(lease.server, lease.writer);
}

Result<SiteCost> checked_site_cost(const SiteCost& cost) {
    for (const std::string& site : {cost.from, cost.to})
        if (!is_site(site))
            return fail(Errc::invalid, fmt::format("\"{}\" is not a site: use 1 to 128 bytes of "
                                                   "UTF-8 text without control characters",
                                                   escaped(site)));
    if (cost.from == cost.to)
        return fail(Errc::invalid,
                    fmt::format("site {} has cost 0 to itself, always", escaped(cost.from)));
    if (cost.cost > kMaxSiteCost)
        return fail(Errc::invalid,
                    fmt::format("a cost of {} was given; use 0 to {}", cost.cost, kMaxSiteCost));
    SiteCost ordered = cost;
    if (ordered.to < ordered.from)
        std::swap(ordered.from, ordered.to);
    return ordered;
}

std::int64_t forget_jobs_before(std::int64_t now) {
    return now - std::chrono::seconds(kJobMemory).count();
}

Result<std::optional<Job>> job_to_put(const Job& job, const std::optional<Job>& held, bool rival,
                                      std::int64_t now) {
    if (held) {
        // Put twice, because the answer to the first was lost.
        if (job.state == held->state && same_wish(job, *held))
            return std::nullopt;
        if (is_final(held->state))
            return finished_job(*held);
        if (job.state != JobState::cancelled)
            return fail(Errc::conflict, fmt::format("job {} is there already; all that can be "
                                                    "changed of it is that it is cancelled",
                                                    job.id));
        Job cancelled = *held;
        cancelled.state = JobState::cancelled;
        cancelled.updated = now;
        return cancelled;
    }
    if (job.state != JobState::waiting)
        return fail(Errc::not_found, fmt::format("there is no job {}; see: signpost jobs", job.id));
    if (rival)
        return fail(Errc::conflict,
                    fmt::format("a job for disk {} on {} is there already; wait for it or cancel "
                                "it; see: signpost jobs",
                                escaped(job.disk.str()), job.target));
    Job fresh = job;
    fresh.message = message_of(job.message);
    fresh.created = fresh.updated = now;
    return fresh;
}

Result<std::optional<Job>> job_to_report(const Job& job, const std::optional<Job>& held,
                                         std::int64_t now) {
    if (!held)
        return fail(Errc::not_found, fmt::format("there is no job {}; see: signpost jobs", job.id));
    Job reported = *held;
    reported.state = job.state;
    reported.size = job.size;
    reported.done = job.done;
    reported.message = message_of(job.message);
    reported.updated = now;
    if (!is_final(held->state))
        return reported;
    // Told twice, because the answer to the first was lost.
    if (same_progress(*held, reported))
        return std::nullopt;
    return finished_job(*held);
}

Result<void> room_for_job(std::uint64_t jobs) {
    if (jobs < kMaxJobs)
        return {};
    return fail(Errc::full, fmt::format("the catalog has {} jobs, which is the limit; cancel some "
                                        "or wait",
                                        jobs));
}

Result<void> room_for_site_cost(std::uint64_t costs) {
    if (costs < kMaxSiteCosts)
        return {};
    return fail(Errc::full, fmt::format("the catalog has {} site costs, which is the limit; leave "
                                        "out those of {}",
                                        costs, kDefaultSiteCost));
}

Result<WriterLease> lease_to_take(const DiskName& disk, std::string_view server,
                                  std::string_view writer, const std::optional<WriterLease>& held,
                                  std::int64_t now) {
    const bool own = held && held->server == server && held->writer == writer;
    if (held && !own && is_held(*held, now))
        return fail(Errc::conflict,
                    fmt::format("disk {} is written by {} on {}; stop that one first, or wait {} s "
                                "after it has ended",
                                escaped(disk.str()), escaped(held->writer), held->server,
                                kWriterLease.count()));
    return WriterLease{.disk = disk,
                       .server = std::string(server),
                       .writer = std::string(writer),
                       .fence = held ? held->fence + (own ? 0 : 1) : 1,
                       .expires = now + kWriterLease.count()};
}

WriterLease lease_of_nobody(const WriterLease& lease) {
    WriterLease given_back = lease;
    given_back.expires = 0;
    return given_back;
}

// A clock that was set back must not make a lease last.
bool is_held(const WriterLease& lease, std::int64_t now) {
    return !lease.server.empty() && lease.expires > now &&
           lease.expires - now <= kWriterLease.count();
}

}  // namespace signpost
