// SPDX-License-Identifier: BSD-3-Clause
//
// `catalog export`, `import` and `migrate`: a whole catalog as a file, from a file, or into another
// store.

#include <errno.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <memory>
#include <utility>

#include "cli/federation_view.h"
#include "cli/transfer_report.h"

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
        const int fd = ::open(made.draft_.c_str(),
                              O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
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

// NAME: of what is written.
Outcome<TransferReport> export_to(const Context& context, Catalog& catalog,
                                  CatalogFileWriter& writer, const std::string& name) {
    const auto reading = read_catalog(catalog, writer, transfer_progress(context, "exported"));
    if (!reading)
        return std::unexpected(catalog_failure(reading.error()));
    return TransferReport{.target = name,
                          .servers = reading->counts.servers,
                          .disks = reading->counts.disks,
                          .skipped_rows = catalog.skipped_rows(),
                          .of_one_moment = !reading->changed};
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

Outcome<TransferReport> import_from(const Context& context, FILE* file, const std::string& path,
                                    const CatalogImportVerb& verb) {
    // All of it before anything is changed.
    CheckingSink checking(transfer_progress(context, "checked"));
    if (auto checked = read_file(file, checking); !checked)
        return std::unexpected(import_failure(path, checked.error()));
    auto catalog =
        open_to_fill(context.options.catalog, verb.merge ? OpenMode::create : OpenMode::import);
    if (!catalog)
        return std::unexpected(catalog.error());
    CatalogImport import(**catalog, verb.merge, transfer_progress(context, "imported"));
    if (auto begun = import.begin(); !begun)
        return std::unexpected(catalog_failure(begun.error()));
    if (auto read = read_file(file, import); !read)
        return std::unexpected(import_failure(path, read.error()));
    return TransferReport{.target = (*catalog)->description(),
                          .servers = import.counts().servers,
                          .disks = import.counts().disks};
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
        const auto exported = export_to(context, view->catalog(), writer, "");
        if (!exported)
            return std::unexpected(exported.error());
        note_doubts(context, *exported);
        return ExitCode::ok;
    }
    auto file = ExportFile::create(verb.file);
    if (!file)
        return std::unexpected(file.error());
    CatalogFileWriter writer([&](std::string_view line) { return file->write(line); });
    const auto exported = export_to(context, view->catalog(), writer, verb.file);
    if (!exported)
        return std::unexpected(exported.error());
    if (auto finished = file->finish(); !finished)
        return std::unexpected(finished.error());
    print_transfer(context, *exported, "exported");
    return ExitCode::ok;
}

VerbResult run(const Context& context, const CatalogImportVerb& verb) {
    const auto file = open_import(verb.file);
    if (!file)
        return std::unexpected(file.error());
    const std::string path = verb.file == "-" ? "standard input" : verb.file;
    const auto imported = import_from(context, file->get(), path, verb);
    if (!imported)
        return std::unexpected(imported.error());
    print_transfer(context, *imported, "imported");
    return ExitCode::ok;
}

VerbResult run(const Context& context, const CatalogMigrateVerb& verb) {
    const auto view = FederationView::open(context.options, CatalogUse::read);
    if (!view)
        return std::unexpected(view.error());
    const auto target = open_to_fill(verb.to, OpenMode::import);
    if (!target)
        return std::unexpected(target.error());
    CatalogImport import(**target, false, [](const TransferCounts&) {});
    if (auto begun = import.begin(); !begun)
        return std::unexpected(catalog_failure(begun.error()));
    const auto reading =
        read_catalog(view->catalog(), import, transfer_progress(context, "migrated"));
    if (!reading)
        return std::unexpected(catalog_failure(reading.error()));
    print_transfer(context,
                   {.target = (*target)->description(),
                    .servers = import.counts().servers,
                    .disks = import.counts().disks,
                    .skipped_rows = view->catalog().skipped_rows(),
                    .of_one_moment = !reading->changed},
                   "migrated");
    return ExitCode::ok;
}

}  // namespace signpost
