// SPDX-License-Identifier: BSD-3-Clause
//
// `ls --points`: restore points, disk by disk, in the order of time.

#include <fmt/format.h>

#include <algorithm>

#include "catalog/point_search.h"
#include "cli/federation_view.h"
#include "cli/json_output.h"
#include "cli/verbs.h"
#include "terminal/text.h"

namespace signpost {

namespace {

const std::vector<Column> kColumns = {{"disk"},    {"time"}, {"size", true}, {"copies", true},
                                      {"content"}, {"age"},  {"where"},      {"name"}};
// The name is its disk and its time; scripts ask for it.
const std::vector<std::string> kUsual = {"disk",    "time", "size", "copies",
                                         "content", "age",  "where"};

struct Found {
    RestorePoint point;
    DiskRecord record;
};

TableStyle style_of(const Options& options) {
    TableStyle style = options.table;
    if (style.columns.empty()) {
        style.columns = kUsual;
    }
    return style;
}

// Points of one disk are listed next to each other, but perhaps not in the order of time.
class PointListing {
   public:
    PointListing(const Context& context, std::int64_t now)
        : context_(context),
          now_(now),
          table_(kColumns, style_of(context.options)),
          json_(context.options.json == JsonMode::lines) {}

    // False: nothing more is wanted.
    bool add(Found found) {
        if (!of_disk_.empty() && of_disk_.front().point.disk != found.point.disk) {
            end_disk();
        }
        of_disk_.push_back(std::move(found));
        return reader_ && points_ < limit();
    }

    std::uint64_t end() {
        end_disk();
        if (context_.json()) {
            context_.console.out(json_.end());
        } else {
            table_.write(context_.console);
        }
        return points_;
    }

   private:
    std::uint64_t limit() const { return context_.options.limit.value_or(UINT64_MAX); }

    void end_disk() {
        std::ranges::sort(of_disk_, [](const Found& a, const Found& b) {
            return std::tie(a.point, a.record.name) < std::tie(b.point, b.record.name);
        });
        for (const Found& found : of_disk_) {
            if (reader_ && points_ < limit()) {
                ++points_;
                print(found, &found == &of_disk_.back());
            }
        }
        of_disk_.clear();
        reader_ = reader_ && (context_.json() || table_.write(context_.console));
    }

    void print(const Found& found, bool newest) {
        const auto& [point, record] = found;
        if (context_.json()) {
            reader_ = context_.console.out(json_.item(point_json(record, point, newest)));
            return;
        }
        const auto verified = static_cast<std::size_t>(std::ranges::count_if(
            record.locations, [](const Location& location) { return !location.digest.empty(); }));
        std::string where;
        for (const Location& location : record.locations) {
            where += fmt::format("{}{}", where.empty() ? "" : " ", location.server);
        }
        table_.add({{shown_name(context_.console, point.disk)},
                    {rfc3339(point.seconds())},
                    {shown_size(context_.options, disk_size(record))},
                    {std::to_string(record.locations.size())},
                    content_cell(record, verified),
                    {age(point.seconds(), now_) + (newest ? ", newest" : "")},
                    {where},
                    {shown_name(context_.console, record.name.str())}});
    }

    static Cell content_cell(const DiskRecord& record, std::size_t verified) {
        if (in_conflict(record)) {
            return {"in conflict", Tone::bad};
        }
        if (verified == record.locations.size()) {
            return {"verified", Tone::good};
        }
        return {verified == 0 ? "not verified" : fmt::format("{} verified", verified), Tone::faint};
    }

    const Context& context_;
    const std::int64_t now_;
    Table table_;
    JsonList json_;
    std::vector<Found> of_disk_;
    std::uint64_t points_ = 0;
    bool reader_ = true;
};

// WANTED: a pattern, the beginning of names up to a `/`, or one disk.
bool is_wanted(const std::string& disk, const std::string& wanted) {
    if (wanted.empty() || is_pattern(wanted)) {
        return wanted.empty() || matches_pattern(wanted, disk);
    }
    return wanted.ends_with('/') ? disk.starts_with(wanted) : disk == wanted;
}

std::string prefix_of(const std::string& wanted) {
    if (is_pattern(wanted)) {
        return std::string(fixed_prefix(wanted));
    }
    return wanted.empty() || wanted.ends_with('/') ? wanted : wanted + '@';
}

}  // namespace

VerbResult list_points(const Context& context, const ListVerb& verb) {
    if (const auto checked = check_columns(context.options.table.columns, kColumns); !checked) {
        return std::unexpected(checked.error());
    }
    auto view = FederationView::open(context.options, CatalogUse::read);
    if (!view) {
        return std::unexpected(view.error());
    }
    const auto now = view->now();
    if (!now) {
        return std::unexpected(now.error());
    }
    PointListing listing(context, *now);
    const auto seen = view->each_disk(prefix_of(verb.pattern), [&](const DiskRecord& record) {
        auto point = RestorePoint::of(record.name);
        return !point || !is_wanted(point->disk, verb.pattern) ||
               listing.add({std::move(*point), record});
    });
    if (!seen) {
        return std::unexpected(seen.error());
    }
    const bool one_disk = !verb.pattern.empty() && prefix_of(verb.pattern).ends_with('@');
    if (listing.end() == 0 && one_disk) {
        return failure(ExitCode::no_such_disk,
                       fmt::format("disk {} has no restore points; `signpost ls --points` lists "
                                   "those of all disks",
                                   escaped(verb.pattern)));
    }
    return ExitCode::ok;
}

}  // namespace signpost
