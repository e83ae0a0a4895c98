// SPDX-License-Identifier: BSD-3-Clause
//
// `ls` and `find`: disks, a page at a time, so that a catalog of any size may be listed.

#include <fmt/format.h>

#include <algorithm>

#include "cli/federation_view.h"
#include "cli/json_output.h"
#include "cli/verbs.h"
#include "terminal/text.h"

namespace signpost {

namespace {

const std::vector<Column> kColumns = {
    {"disk"}, {"size", true}, {"copies", true}, {"newest"}, {"where"}};

// One page of disks after a name.
using NextPage = std::function<Result<std::vector<DiskRecord>>(const std::string& after)>;

class Listing {
   public:
    explicit Listing(const Context& context)
        : context_(context),
          table_(kColumns, context.options.table),
          json_(context.options.json == JsonMode::lines) {}

    // Prints what KEEP keeps; how many that were.
    Outcome<std::uint64_t> print(const NextPage& next,
                                 const std::function<bool(const DiskRecord&)>& keep);

   private:
    void add(const DiskRecord& disk);
    bool end_page() { return context_.json() || table_.write(context_.console); }
    void end();

    const Context& context_;
    Table table_;
    JsonList json_;
    std::uint64_t disks_ = 0;
    std::uint64_t copies_ = 0;
    bool reader_ = true;
};

std::string servers_of(const DiskRecord& disk, const std::string& own_server) {
    std::string text;
    for (const Location& location : disk.locations) {
        text += fmt::format("{}{}{}", text.empty() ? "" : " ", location.server,
                            location.server == own_server ? "*" : "");
    }
    return text;
}

Cell copies_of(const DiskRecord& disk) {
    const std::string count = std::to_string(disk.locations.size());
    if (in_conflict(disk)) {
        return {count + ", in conflict", Tone::bad};
    }
    return {count, disk.locations.size() > 1 ? Tone::plain : Tone::warning};
}

void Listing::add(const DiskRecord& disk) {
    ++disks_;
    copies_ += disk.locations.size();
    const std::uint64_t size = disk_size(disk);
    if (context_.json()) {
        reader_ = context_.console.out(json_.item(list_item_json(disk, size)));
        return;
    }
    std::int64_t newest = 0;
    for (const Location& location : disk.locations) {
        newest = std::max(newest, location.last_seen);
    }
    table_.add({{shown_name(context_.console, disk.name.str())},
                {shown_size(context_.options, size)},
                copies_of(disk),
                {newest == 0 ? "-" : rfc3339(newest)},
                {servers_of(disk, context_.options.own_server)}});
}

void Listing::end() {
    if (context_.json()) {
        context_.console.out(json_.end());
    } else if (context_.console.output_is_terminal() && context_.options.table.header) {
        context_.console.note(
            fmt::format("{}, {}.  * = this server", counted(disks_, "disk"),
                        copies_ == 1 ? "1 copy" : fmt::format("{} copies", copies_)));
    }
}

Outcome<std::uint64_t> Listing::print(const NextPage& next,
                                      const std::function<bool(const DiskRecord&)>& keep) {
    const std::uint64_t limit = context_.options.limit.value_or(UINT64_MAX);
    std::string after;
    for (bool more = true; more && reader_ && disks_ < limit;) {
        const auto page = next(after);
        if (!page) {
            return std::unexpected(catalog_failure(page.error()));
        }
        for (const DiskRecord& disk : *page) {
            if (disks_ < limit && reader_ && keep(disk)) {
                add(disk);
            }
        }
        reader_ = reader_ && end_page();
        more = page->size() == kPage;
        after = more ? page->back().name.str() : "";
    }
    end();
    return disks_;
}

}  // namespace

VerbResult run(const Context& context, const ListVerb& verb) {
    if (verb.points) {
        return list_points(context, verb);
    }
    if (const auto checked = check_columns(context.options.table.columns, kColumns); !checked) {
        return std::unexpected(checked.error());
    }
    auto view = FederationView::open(context.options, CatalogUse::read);
    if (!view) {
        return std::unexpected(view.error());
    }
    const bool pattern = is_pattern(verb.pattern);
    const std::string prefix(pattern ? fixed_prefix(verb.pattern) : verb.pattern);
    const auto printed = Listing(context).print(
        [&](const std::string& after) { return view->catalog().list(prefix, after, kPage); },
        [&](const DiskRecord& disk) {
            return !pattern || matches_pattern(verb.pattern, disk.name.str());
        });
    if (!printed) {
        return std::unexpected(printed.error());
    }
    return ExitCode::ok;
}

VerbResult run(const Context& context, const FindVerb& verb) {
    if (const auto checked = check_columns(context.options.table.columns, kColumns); !checked) {
        return std::unexpected(checked.error());
    }
    auto view = FederationView::open(context.options, CatalogUse::read);
    if (!view) {
        return std::unexpected(view.error());
    }
    const auto printed = Listing(context).print(
        [&](const std::string& after) { return view->catalog().search(verb.text, after, kPage); },
        [](const DiskRecord&) { return true; });
    if (!printed) {
        return std::unexpected(printed.error());
    }
    if (*printed == 0) {
        return failure(ExitCode::no_such_disk,
                       fmt::format("no disk's name contains {}; `signpost ls` lists them all",
                                   escaped(verb.text)));
    }
    return ExitCode::ok;
}

}  // namespace signpost
