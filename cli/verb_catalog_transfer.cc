// SPDX-License-Identifier: BSD-3-Clause
//
// `catalog export`, `import`, `migrate` and `rebuild`: a whole catalog as a file, from a file, into
// another store, or made anew from what the servers remember.

#include <errno.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>

#include "catalog/record_merge.h"
#include "cli/catalog_transfer.h"
#include "cli/federation_view.h"
#include "cli/verbs.h"

namespace signpost {

namespace {

struct CloseFile {
    void operator()(FILE* file) const { fclose(file); }
};
using File = std::unique_ptr<FILE, CloseFile>;

Failure file_failure(const std::string& path, int error) {
    const ExitCode code = error == EACCES || error == EPERM ? ExitCode::denied : ExitCode::failed;
    return {code, fmt::format("file {}: {}", escaped(path, 400), strerror(error))};
}

// What is wrong with a file is not the catalog's failure.
Failure import_failure(const std::string& path, const Error& error) {
    if (error.code == Errc::invalid)
        return {ExitCode::failed, fmt::format("{}: {}", escaped(path, 400), error.message)};
    return catalog_failure(error);
}

TransferProgress shown(const Context& context, std::string what) {
    return [&console = context.console, what = std::move(what)](const TransferCounts& counts) {
        console.progress(fmt::format("{}: {} disks", what, counts.disks));
    };
}

Outcome<std::unique_ptr<Catalog>> open_to(const std::string& url, OpenMode mode) {
    auto catalog = open_catalog(url, mode);
    if (!catalog)
        return std::unexpected(catalog_failure(catalog.error()));
    return std::move(*catalog);
}

void note_reading(const Context& context, const Catalog& catalog, bool changed) {
    if (changed)
        context.console.note(
            "the catalog changed while it was read, so this is not of one moment; do it again "
            "when servers are stopped");
    if (const auto skipped = catalog.skipped_rows(); skipped > 0)
        context.console.note(
            fmt::format("{} rows broke the rules and were left out; see: "
                        "signpost doctor",
                        skipped));
}

// ---- export

// Under another name until it is whole.
class ExportFile {
   public:
    static Outcome<ExportFile> create(const std::string& path) {
        ExportFile made(path);
        if (::access(path.c_str(), F_OK) == 0)
            return failure(
                ExitCode::conflict,
                fmt::format("file {} is there already; give another name", escaped(path, 400)));
        const int fd = ::open(made.draft_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        made.file_.reset(fd < 0 ? nullptr : fdopen(fd, "w"));
        if (!made.file_)
            return std::unexpected(file_failure(made.draft_, errno));
        return made;
    }
    ExportFile(ExportFile&&) = default;
    ~ExportFile() {
        if (file_)
            unlink(draft_.c_str());
    }

    Result<void> write(std::string_view line) {
        if (fwrite(line.data(), 1, line.size(), file_.get()) == line.size())
            return {};
        return fail(errno == ENOSPC ? Errc::full : Errc::io,
                    fmt::format("file {}: {}", escaped(draft_, 400), strerror(errno)));
    }

    Outcome<void> finish() {
        if (fflush(file_.get()) != 0 || fsync(fileno(file_.get())) != 0 ||
            renameat2(AT_FDCWD, draft_.c_str(), AT_FDCWD, path_.c_str(), RENAME_NOREPLACE) != 0)
            return std::unexpected(file_failure(path_, errno));
        file_.reset();
        return {};
    }

   private:
    explicit ExportFile(const std::string& path) : path_(path), draft_(path + ".part") {}

    std::string path_;
    std::string draft_;
    File file_;
};

Outcome<void> export_to(const Context& context, Catalog& catalog, CatalogFileWriter& writer) {
    const auto changed = read_catalog(catalog, writer, shown(context, "exported"));
    if (!changed)
        return std::unexpected(catalog_failure(changed.error()));
    note_reading(context, catalog, *changed);
    return {};
}

// ---- import

// Standard input can be read but once, so it is kept in a file without a name.
Outcome<File> open_import(const std::string& path) {
    if (path != "-") {
        File file(fopen(path.c_str(), "re"));
        if (!file)
            return std::unexpected(file_failure(path, errno));
        return file;
    }
    File copy(tmpfile());
    char buffer[65536];
    for (;;) {
        const ssize_t got = copy ? ::read(STDIN_FILENO, buffer, sizeof buffer) : -1;
        if (got < 0 && copy && errno == EINTR)
            continue;
        if (got == 0)
            return copy;
        if (got < 0 || fwrite(buffer, 1, static_cast<std::size_t>(got), copy.get()) !=
                           static_cast<std::size_t>(got))
            return std::unexpected(file_failure("standard input", errno));
    }
}

// Lines without their ends; one that is too long is given as far as it is too long.
Result<void> read_file(FILE* file, CatalogSink& sink) {
    rewind(file);
    CatalogFileReader reader(sink);
    std::string line;
    char buffer[65536];
    while (fgets(buffer, sizeof buffer, file) != nullptr) {
        const std::size_t got = strlen(buffer);
        line.append(buffer, got);
        const bool whole = got > 0 && line.back() == '\n';
        if (!whole && line.size() <= CatalogFileReader::kMaxLine && got > 0)
            continue;
        if (whole)
            line.pop_back();
        if (auto taken = reader.line(line); !taken)
            return taken;
        line.clear();
    }
    if (ferror(file) != 0)
        return fail(Errc::invalid, fmt::format("it cannot be read: {}", strerror(errno)));
    // A last line without an end has been cut.
    if (!line.empty())
        if (auto taken = reader.line(line); !taken)
            return taken;
    return reader.finish();
}

Outcome<void> import_from(const Context& context, FILE* file, const std::string& path,
                          const CatalogImportVerb& verb) {
    // All of it before anything is changed.
    CheckingSink checking;
    if (auto checked = read_file(file, checking); !checked)
        return std::unexpected(import_failure(path, checked.error()));
    auto catalog =
        open_to(context.options.catalog, verb.merge ? OpenMode::create : OpenMode::import);
    if (!catalog)
        return std::unexpected(catalog.error());
    CatalogImport import(**catalog, verb.merge, shown(context, "imported"));
    if (auto begun = import.begin(); !begun)
        return std::unexpected(catalog_failure(begun.error()));
    if (auto read = read_file(file, import); !read)
        return std::unexpected(import_failure(path, read.error()));
    context.console.note(fmt::format("{}: {} servers, {} disks imported",
                                     escaped((*catalog)->description(), 400),
                                     import.counts().servers, import.counts().disks));
    return {};
}

// ---- rebuild

struct Witness {
    std::string server;
    std::unique_ptr<Catalog> memory;
    std::vector<DiskRecord> page;
    std::size_t next = 0;
    bool last_page = false;
};

constexpr std::size_t kWitnessPage = 500;

// Where a server keeps what it knows of the catalog (see signpostd(8), FILES).
constexpr const char* kMemoryFile = "stubs.db";

Outcome<std::vector<Witness>> find_witnesses(const std::vector<std::string>& directories) {
    std::vector<Witness> witnesses;
    const auto add = [&](const std::filesystem::path& directory) -> Outcome<void> {
        std::error_code error;
        if (!std::filesystem::is_regular_file(directory / kMemoryFile, error))
            return {};
        const std::string name = directory.filename().string();
        if (!check_server_name(name))
            return {};
        auto memory = open_to("sqlite:" + (directory / kMemoryFile).string(), OpenMode::read_only);
        if (!memory)
            return std::unexpected(memory.error());
        witnesses.push_back({name, std::move(*memory), {}});
        return {};
    };
    for (const std::string& each : directories) {
        std::error_code error;
        const auto directory = std::filesystem::absolute(each, error).lexically_normal();
        if (auto added = add(directory); !added)
            return std::unexpected(added.error());
        for (std::filesystem::directory_iterator entry(directory, error), end; entry != end;
             entry.increment(error))
            if (auto added = add(entry->path()); !added)
                return std::unexpected(added.error());
        if (error)
            return failure(ExitCode::failed,
                           fmt::format("directory {}: {}", escaped(each, 400), error.message()));
    }
    std::ranges::sort(witnesses, {}, &Witness::server);
    const auto twice = std::ranges::adjacent_find(witnesses, {}, &Witness::server);
    if (twice != witnesses.end())
        return failure(ExitCode::usage, fmt::format("there are two memories of server {}; give "
                                                    "one",
                                                    twice->server));
    return witnesses;
}

Result<void> fill_page(Witness& witness) {
    if (witness.next < witness.page.size() || witness.last_page)
        return {};
    const std::string after = witness.page.empty() ? "" : witness.page.back().name.str();
    auto page = witness.memory->list("", after, kWitnessPage);
    if (!page)
        return std::unexpected(std::move(page.error()));
    witness.page = std::move(*page);
    witness.next = 0;
    witness.last_page = witness.page.size() < kWitnessPage;
    return {};
}

const DiskRecord* next_disk(const Witness& witness) {
    return witness.next < witness.page.size() ? &witness.page[witness.next] : nullptr;
}

// All witnesses' disks, name by name, made one catalog.
class Rebuild {
   public:
    Rebuild(std::vector<Witness>& witnesses, CatalogSink& sink)
        : witnesses_(witnesses), sink_(sink) {
        for (const Witness& witness : witnesses)
            names_.push_back(witness.server);
    }

    Result<void> run() {
        if (auto servers = add_servers(); !servers)
            return servers;
        for (;;) {
            for (Witness& witness : witnesses_)
                if (auto filled = fill_page(witness); !filled)
                    return filled;
            const DiskRecord* first = first_disk();
            if (first == nullptr)
                break;
            if (auto added = add_disk(DiskName(first->name)); !added)
                return added;
        }
        std::uint64_t newest = 0;
        for (const Witness& witness : witnesses_) {
            const auto given = witness.memory->newest_generation();
            if (!given)
                return std::unexpected(given.error());
            newest = std::max(newest, *given);
        }
        return sink_.end(newest);
    }

    const std::vector<std::string>& disputes() const { return disputes_; }

   private:
    Result<void> add_servers() {
        std::map<std::string, std::vector<ServerTestimony>> said;
        for (const Witness& witness : witnesses_) {
            auto servers = witness.memory->servers();
            if (!servers)
                return std::unexpected(std::move(servers.error()));
            for (Server& server : *servers)
                said[server.name].push_back({witness.server, std::move(server)});
        }
        for (const auto& [name, all] : said)
            if (auto added = sink_.add(merge_servers(all)); !added)
                return added;
        return {};
    }

    const DiskRecord* first_disk() const {
        const DiskRecord* first = nullptr;
        for (const Witness& witness : witnesses_) {
            const DiskRecord* disk = next_disk(witness);
            if (disk != nullptr && (first == nullptr || disk->name < first->name))
                first = disk;
        }
        return first;
    }

    Result<void> add_disk(const DiskName& name) {
        std::vector<Testimony> said;
        for (Witness& witness : witnesses_) {
            const DiskRecord* disk = next_disk(witness);
            if (disk != nullptr && disk->name == name) {
                said.push_back({witness.server, disk});
                ++witness.next;
            }
        }
        MergedDisk merged = merge_testimonies(said, names_);
        for (const std::string& server : merged.disputed)
            disputes_.push_back(
                fmt::format("disk {} on {}: its witnesses disagree; the newest "
                            "generation was taken",
                            escaped(name.str()), server));
        if (merged.locations.empty())
            return {};
        return sink_.add(DiskRecord{name, std::move(merged.locations)});
    }

    std::vector<Witness>& witnesses_;
    CatalogSink& sink_;
    std::vector<std::string> names_;
    std::vector<std::string> disputes_;
};

void note_disputes(const Context& context, const std::vector<std::string>& disputes) {
    constexpr std::size_t kShown = 20;
    for (std::size_t i = 0; i < std::min(kShown, disputes.size()); ++i)
        context.console.note(disputes[i]);
    if (disputes.size() > kShown)
        context.console.note(fmt::format("and {} more", disputes.size() - kShown));
}

}  // namespace

VerbResult run(const Context& context, const CatalogExportVerb& verb) {
    const auto view = FederationView::open(context.options, CatalogUse::read);
    if (!view)
        return std::unexpected(view.error());
    if (verb.file.empty() || verb.file == "-") {
        CatalogFileWriter writer([&](std::string_view line) {
            context.console.out(line);
            return Result<void>();
        });
        const auto exported = export_to(context, view->catalog(), writer);
        return exported ? VerbResult(ExitCode::ok) : std::unexpected(exported.error());
    }
    auto file = ExportFile::create(verb.file);
    if (!file)
        return std::unexpected(file.error());
    CatalogFileWriter writer([&](std::string_view line) { return file->write(line); });
    auto exported = export_to(context, view->catalog(), writer);
    if (exported)
        exported = file->finish();
    return exported ? VerbResult(ExitCode::ok) : std::unexpected(exported.error());
}

VerbResult run(const Context& context, const CatalogImportVerb& verb) {
    const auto file = open_import(verb.file);
    if (!file)
        return std::unexpected(file.error());
    const std::string path = verb.file == "-" ? "standard input" : verb.file;
    const auto imported = import_from(context, file->get(), path, verb);
    return imported ? VerbResult(ExitCode::ok) : std::unexpected(imported.error());
}

VerbResult run(const Context& context, const CatalogMigrateVerb& verb) {
    const auto view = FederationView::open(context.options, CatalogUse::read);
    if (!view)
        return std::unexpected(view.error());
    const auto target = open_to(verb.to, OpenMode::import);
    if (!target)
        return std::unexpected(target.error());
    CatalogImport import(**target, false, [](const TransferCounts&) {});
    if (auto begun = import.begin(); !begun)
        return std::unexpected(catalog_failure(begun.error()));
    const auto changed = read_catalog(view->catalog(), import, shown(context, "migrated"));
    if (!changed)
        return std::unexpected(catalog_failure(changed.error()));
    note_reading(context, view->catalog(), *changed);
    context.console.note(fmt::format("{}: {} servers, {} disks migrated",
                                     escaped((*target)->description(), 400),
                                     import.counts().servers, import.counts().disks));
    return ExitCode::ok;
}

VerbResult run(const Context& context, const CatalogRebuildVerb& verb) {
    auto witnesses = find_witnesses(verb.from);
    if (!witnesses)
        return std::unexpected(witnesses.error());
    if (witnesses->empty())
        return failure(ExitCode::failed,
                       fmt::format("there is no NAME/{} in {}; name the servers' state "
                                   "directories (copies of them will do) with --from DIR",
                                   kMemoryFile, escaped(verb.from.front(), 400)));
    const auto catalog =
        open_to(context.options.catalog, verb.merge ? OpenMode::create : OpenMode::import);
    if (!catalog)
        return std::unexpected(catalog.error());
    CatalogImport import(**catalog, verb.merge, shown(context, "rebuilt"));
    if (auto begun = import.begin(); !begun)
        return std::unexpected(catalog_failure(begun.error()));
    Rebuild rebuild(*witnesses, import);
    if (auto done = rebuild.run(); !done)
        return std::unexpected(catalog_failure(done.error()));
    note_disputes(context, rebuild.disputes());
    context.console.note(fmt::format("{}: {} servers, {} disks, from what {} servers remember",
                                     escaped((*catalog)->description(), 400),
                                     import.counts().servers, import.counts().disks,
                                     witnesses->size()));
    return ExitCode::ok;
}

}  // namespace signpost
