// SPDX-License-Identifier: BSD-3-Clause
//
// `files ls`, `files cat` and `files find`.

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>

#include "catalog/restore_point.h"
#include "cli/federation_view.h"
#include "cli/file_content.h"
#include "cli/file_listing.h"
#include "cli/guest_walk.h"
#include "cli/verbs.h"
#include "terminal/text.h"

namespace signpost {

namespace {

const std::vector<Column> kPartitionColumns = {{"part"}, {"filesystem"},  {"size", true}, {"label"},
                                               {"name"}, {"start", true}, {"uuid"}};
const std::vector<std::string> kUsualColumns = {"part", "filesystem", "size", "label", "name"};

Failure closed_output() {
    return {ExitCode::ok, ""};
}

VerbResult list_partitions(const Context& context, GuestDisk& disk) {
    if (const auto checked = check_columns(context.options.table.columns, kPartitionColumns);
        !checked) {
        return std::unexpected(checked.error());
    }
    const auto volumes = disk.all_volumes();
    if (!volumes) {
        return std::unexpected(volumes.error());
    }
    if (context.options.json == JsonMode::whole) {
        context.console.out(volumes_json(*volumes) + "\n");
        return ExitCode::ok;
    }
    TableStyle style = context.options.table;
    style.columns = style.columns.empty() ? kUsualColumns : style.columns;
    Table table(kPartitionColumns, style);
    for (const GuestVolume& volume : *volumes) {
        const files::Partition& each = volume.what;
        if (context.options.json == JsonMode::lines) {
            context.console.out(volume_json(volume) + "\n");
            continue;
        }
        const auto or_dash = [](const std::string& text) {
            return text.empty() ? std::string("-") : escaped(text);
        };
        const bool has_size = each.volume.length > 0;
        table.add({{or_dash(volume.name)},
                   {each.file_system.empty() ? "unknown" : escaped(each.file_system),
                    each.readable ? Tone::good : Tone::faint},
                   {has_size ? shown_size(context.options, each.volume.length) : "-"},
                   {or_dash(each.label)},
                   {or_dash(each.name)},
                   {has_size ? std::to_string(each.volume.start) : "-"},
                   {or_dash(each.uuid)}});
    }
    table.write(context.console);
    return ExitCode::ok;
}

// Beneath a directory, with paths from it on.
class Lister : public GuestVisitor {
   public:
    Lister(const Context& context, const GuestDisk& disk, FileListing& listing, std::string pattern)
        : context_(context), disk_(disk), listing_(listing), pattern_(std::move(pattern)) {}

    Outcome<void> file(const std::string& path, const files::Entry& entry) override {
        return is_wanted(entry) && !listing_.add({disk_.name(), path, entry})
                   ? std::unexpected(closed_output())
                   : Outcome<void>();
    }
    Outcome<bool> enter(const std::string& path, const files::Entry& entry) override {
        if (!entry.name.empty() && path != root_ && !root_.empty()) {
            if (auto listed = file(path, entry); !listed) {
                return std::unexpected(listed.error());
            }
        }
        root_ = root_.empty() ? path : root_;
        return true;
    }
    Outcome<void> leave(const std::string& /*path*/, const files::Entry& /*entry*/) override {
        return {};
    }
    void trouble(const std::string& path, const Error& error) override {
        ++troubles_;
        context_.console.note(fmt::format("signpost: {}", disk_.about(path, error).message));
    }

    std::size_t troubles() const { return troubles_; }

   private:
    bool is_wanted(const files::Entry& entry) const {
        return pattern_.empty() || ::fnmatch(pattern_.c_str(), entry.name.c_str(), 0) == 0;
    }

    const Context& context_;
    const GuestDisk& disk_;
    FileListing& listing_;
    std::string pattern_;
    std::string root_;
    std::size_t troubles_ = 0;
};

VerbResult ended_with(std::size_t troubles) {
    return troubles == 0 ? VerbResult(ExitCode::ok)
                         : failure(ExitCode::failed, fmt::format("{} could not be read",
                                                                 counted(troubles, "directory")));
}

// What a reader that went away stands for is no failure.
template <class T>
VerbResult unless_closed(const Outcome<T>& outcome) {
    return outcome || (outcome.error().code == ExitCode::ok && outcome.error().message.empty())
               ? VerbResult(ExitCode::ok)
               : std::unexpected(outcome.error());
}

VerbResult list_directory(const Context& context, GuestDisk& disk, const GuestFile& found,
                          const FilesListVerb& verb) {
    const bool details = verb.details || context.json();
    FileListing listing(
        context, verb.details ? FileListing::Form::details : FileListing::Form::names, false);
    std::vector<files::Entry> entries;
    const auto listed = list_sorted(
        *found.reader, {found.volume, found.entry.inode, details, verb.deleted}, entries);
    for (files::Entry& entry : entries) {
        std::string name = entry.name;
        if (!listing.add({disk.name(), std::move(name), std::move(entry)})) {
            return ExitCode::ok;
        }
    }
    listing.finish();
    return listed ? VerbResult(ExitCode::ok)
                  : std::unexpected(disk.about(found.path, listed.error()));
}

VerbResult list_tree(const Context& context, GuestDisk& disk, const GuestFile& found,
                     const FilesListVerb& verb) {
    const bool details = verb.details || context.json();
    FileListing listing(
        context, verb.details ? FileListing::Form::details : FileListing::Form::names, false);
    Lister lister(context, disk, listing, "");
    const auto walked = walk(found, found.path, {details, verb.deleted}, lister);
    listing.finish();
    return walked ? ended_with(lister.troubles()) : unless_closed(walked);
}

class ConsoleSink : public ContentSink {
   public:
    explicit ConsoleSink(Console& console) : console_(console) {}

    Result<void> bytes(std::uint64_t /*offset*/, std::span<const std::byte> bytes) override {
        const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        open_ = open_ && console_.out(text);
        return open_ ? Result<void>() : fail(Errc::io, "");
    }
    Result<void> hole(std::uint64_t offset, std::uint64_t length) override {
        static constexpr std::byte kZeroes[64 * 1024]{};
        for (std::uint64_t done = 0; done < length; done += sizeof kZeroes) {
            const auto part = std::min<std::uint64_t>(length - done, sizeof kZeroes);
            if (auto given = bytes(offset, std::span(kZeroes).first(part)); !given) {
                return given;
            }
        }
        return {};
    }
    bool open() const { return open_; }

   private:
    Console& console_;
    bool open_ = true;
};

// ---- find

bool has_wildcard(std::string_view text) {
    return text.find_first_of("*?[") != text.npos;
}

// The directory above the first component that is a pattern, and the rest of PATH.
std::pair<std::string, std::string> split_pattern(const std::string& path) {
    const std::size_t wildcard = path.find_first_of("*?[");
    const std::size_t slash = path.rfind('/', wildcard);
    return {path.substr(0, slash == 0 ? 1 : slash), path};
}

// Entries whose whole path matches, component by component.
class PathFinder : public GuestVisitor {
   public:
    PathFinder(const GuestDisk& disk, FileListing& listing, std::string pattern)
        : disk_(disk), listing_(listing), pattern_(std::move(pattern)) {}

    Outcome<void> file(const std::string& path, const files::Entry& entry) override {
        const bool found = ::fnmatch(pattern_.c_str(), path.c_str(), FNM_PATHNAME) == 0;
        return found && !listing_.add({disk_.name(), path, entry})
                   ? std::unexpected(closed_output())
                   : Outcome<void>();
    }
    // No deeper than the pattern, and only where it may lead.
    Outcome<bool> enter(const std::string& path, const files::Entry& entry) override {
        if (auto listed = file(path, entry); !listed) {
            return std::unexpected(listed.error());
        }
        std::size_t end = 0;
        for (auto left = std::ranges::count(path, '/') + (path == "/" ? -1 : 0); left > 0; --left) {
            end = std::min(pattern_.find('/', end + 1), pattern_.size());
        }
        const std::string beginning = pattern_.substr(0, end);
        return end < pattern_.size() &&
               (path == "/" || ::fnmatch(beginning.c_str(), path.c_str(), FNM_PATHNAME) == 0);
    }
    Outcome<void> leave(const std::string& /*path*/, const files::Entry& /*entry*/) override {
        return {};
    }
    void trouble(const std::string& /*path*/, const Error& error) override { trouble_ = error; }

    const std::optional<Error>& last_trouble() const { return trouble_; }

   private:
    const GuestDisk& disk_;
    FileListing& listing_;
    std::string pattern_;
    std::optional<Error> trouble_;
};

Outcome<void> find_by_path(GuestDisk& disk, const FilesFindVerb& verb, FileListing& listing) {
    DiskPlace place = verb.place;
    const auto [directory, pattern] = split_pattern(place.path);
    place.path = has_wildcard(place.path) ? directory : place.path;
    const bool is_pattern = has_wildcard(verb.place.path);
    auto found = disk.find(place, is_pattern, verb.deleted);
    if (!found) {
        return std::unexpected(found.error());
    }
    if (!is_pattern || found->entry.type != files::FileType::directory) {
        listing.add({disk.name(), place.path, std::move(found->entry)});
        return {};
    }
    PathFinder finder(disk, listing, pattern);
    auto walked = walk(*found, place.path, {true, verb.deleted}, finder);
    return walked && finder.last_trouble()
               ? std::unexpected(disk.about(place.path, *finder.last_trouble()))
               : walked;
}

Outcome<void> find_by_name(const Context& context, GuestDisk& disk, const FilesFindVerb& verb,
                           FileListing& listing) {
    const auto found = disk.find(verb.place, true, verb.deleted);
    if (!found) {
        return std::unexpected(found.error());
    }
    Lister lister(context, disk, listing, verb.name);
    auto walked = walk(*found, found->path, {true, verb.deleted}, lister);
    if (!walked || lister.troubles() == 0) {
        return walked;
    }
    return failure(ExitCode::failed,
                   fmt::format("{} could not be read", counted(lister.troubles(), "directory")));
}

// The disk itself, if it is one, and its restore points, the newest first.
Outcome<std::vector<DiskName>> points_of(const Context& context, const DiskName& disk) {
    auto view = FederationView::open(context.options, CatalogUse::read);
    if (!view) {
        return std::unexpected(view.error());
    }
    const auto point = RestorePoint::of(disk);
    const std::string bare = point ? point->disk : disk.str();
    std::vector<std::pair<std::string, DiskName>> found;
    auto seen = view->each_disk(bare, [&](const DiskRecord& record) {
        const auto its = RestorePoint::of(record.name);
        if (record.name.str() == bare) {
            found.emplace_back("~", record.name);  // sorts behind every time
        } else if (its && its->disk == bare) {
            found.emplace_back(its->time, record.name);
        }
        return true;
    });
    if (!seen) {
        return std::unexpected(seen.error());
    }
    std::ranges::sort(found, std::greater<>());
    std::vector<DiskName> names;
    for (auto& [time, name] : found) {
        names.push_back(std::move(name));
    }
    return names.empty() ? failure(ExitCode::no_such_disk,
                                   fmt::format("no server has disk {} or a restore point of it",
                                               escaped(bare)))
                         : Outcome<std::vector<DiskName>>(std::move(names));
}

Outcome<void> find_on(const Context& context, const FilesFindVerb& verb, FileListing& listing) {
    auto disk = GuestDisk::open(context, verb.place, verb.sources);
    if (!disk) {
        return std::unexpected(disk.error());
    }
    return verb.name.empty() ? find_by_path(**disk, verb, listing)
                             : find_by_name(context, **disk, verb, listing);
}

VerbResult find_on_all_points(const Context& context, const FilesFindVerb& verb,
                              FileListing& listing) {
    const auto points = points_of(context, std::get<DiskName>(verb.place.disk));
    if (!points) {
        return std::unexpected(points.error());
    }
    std::size_t failed = 0;
    for (const DiskName& point : *points) {
        FilesFindVerb here = verb;
        here.place.disk = point;
        const auto found = find_on(context, here, listing);
        if (found || found.error().code == ExitCode::no_such_disk) {
            continue;
        }
        if (found.error().code == ExitCode::ok) {
            return ExitCode::ok;
        }
        ++failed;
        context.console.note(fmt::format("signpost: {}", found.error().message));
    }
    listing.finish();
    if (failed > 0) {
        return failure(ExitCode::problems_found,
                       fmt::format("{} of {} could not be searched", failed,
                                   counted(points->size(), "restore point")));
    }
    return listing.count() > 0 ? ExitCode::ok : ExitCode::no_such_disk;
}

}  // namespace

VerbResult run(const Context& context, const FilesListVerb& verb) {
    auto disk = GuestDisk::open(context, verb.place, verb.sources);
    if (!disk) {
        return std::unexpected(disk.error());
    }
    if (verb.place.path.empty()) {
        return list_partitions(context, **disk);
    }
    if (const auto checked = FileListing::check(context.options); !checked) {
        return std::unexpected(checked.error());
    }
    auto found = (*disk)->find(verb.place, true, verb.deleted);
    if (!found) {
        return std::unexpected(found.error());
    }
    if (found->entry.type == files::FileType::directory) {
        return verb.recursive ? list_tree(context, **disk, *found, verb)
                              : list_directory(context, **disk, *found, verb);
    }
    FileListing listing(
        context, verb.details ? FileListing::Form::details : FileListing::Form::names, false);
    listing.add({(*disk)->name(), verb.place.path, std::move(found->entry)});
    listing.finish();
    return ExitCode::ok;
}

VerbResult run(const Context& context, const FilesCatVerb& verb) {
    auto disk = GuestDisk::open(context, verb.place, verb.sources);
    if (!disk) {
        return std::unexpected(disk.error());
    }
    const auto found = (*disk)->find(verb.place, true, verb.deleted);
    if (!found) {
        return std::unexpected(found.error());
    }
    if (found->entry.type != files::FileType::regular) {
        return failure(ExitCode::usage,
                       fmt::format("{}:{} is a {}", escaped((*disk)->name()), escaped(found->path),
                                   to_string(found->entry.type)));
    }
    ConsoleSink sink(context.console);
    const auto read =
        read_content(*found->reader, {found->volume, found->entry.inode, found->entry.size}, sink);
    return read || !sink.open() ? VerbResult(ExitCode::ok)
                                : std::unexpected((*disk)->about(found->path, read.error()));
}

VerbResult run(const Context& context, const FilesFindVerb& verb) {
    if (const auto checked = FileListing::check(context.options); !checked) {
        return std::unexpected(checked.error());
    }
    FileListing listing(context, FileListing::Form::details, verb.all_points);
    if (verb.all_points) {
        return find_on_all_points(context, verb, listing);
    }
    const auto found = find_on(context, verb, listing);
    listing.finish();
    if (!found) {
        return unless_closed(found);
    }
    return listing.count() > 0 ? ExitCode::ok : ExitCode::no_such_disk;
}

}  // namespace signpost
