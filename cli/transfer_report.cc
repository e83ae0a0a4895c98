// SPDX-License-Identifier: BSD-3-Clause
#include "cli/transfer_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

namespace signpost {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kQuiet{2};
constexpr std::chrono::milliseconds kBetween{250};
constexpr std::size_t kShownDisputes = 20;

void note_disputes(const Context& context, const std::vector<std::string>& disputes) {
    const std::size_t shown = std::min(kShownDisputes, disputes.size());
    for (std::size_t i = 0; i < shown; ++i)
        context.console.note(disputes[i]);
    if (disputes.size() > shown)
        context.console.note(fmt::format("and {} more", disputes.size() - shown));
}

}  // namespace

TransferProgress transfer_progress(const Context& context, std::string what) {
    return [&console = context.console, what = std::move(what),
            next = Clock::now() + kQuiet](const TransferCounts& counts) mutable {
        if (Clock::now() < next)
            return;
        next = Clock::now() + kBetween;
        console.progress(fmt::format("{}: {} disks", what, counts.disks));
    };
}

void note_doubts(const Context& context, const TransferReport& report) {
    if (!report.of_one_moment)
        context.console.note(
            "the catalog changed while it was read, so this is not of one moment; do it again "
            "when servers are stopped");
    if (report.skipped_rows > 0)
        context.console.note(
            fmt::format("{} rows broke the rules and were left out; see: signpost doctor",
                        report.skipped_rows));
    note_disputes(context, report.disputes);
}

void print_transfer(const Context& context, const TransferReport& report, std::string_view what) {
    note_doubts(context, report);
    context.console.out(context.json() ? transfer_json(report) + "\n"
                                       : fmt::format("{}: {} servers, {} disks {}\n",
                                                     escaped(report.target, 400), report.servers,
                                                     report.disks, what));
}

Outcome<std::unique_ptr<Catalog>> open_to_fill(const std::string& url, OpenMode mode) {
    auto catalog = open_catalog(url, mode, CatalogUser::person);
    if (!catalog)
        return std::unexpected(catalog_failure(catalog.error()));
    return std::move(*catalog);
}

}  // namespace signpost
