// SPDX-License-Identifier: BSD-3-Clause
//
// `files get`: a file, a directory with all beneath it, or a tar archive of either.

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <optional>

#include "cli/destination.h"
#include "cli/federation_view.h"
#include "cli/files_json.h"
#include "cli/guest_walk.h"
#include "cli/tar_stream.h"
#include "nbd-server/disk/beneath.h"
#include "terminal/progress.h"
#include "terminal/text.h"

namespace signpost {

namespace {

using files::FileType;

// Shows how far the content has come on its way to another sink.
class CountedSink : public ContentSink {
   public:
    CountedSink(ContentSink& to, Progress& progress) : to_(to), progress_(progress) {}

    Result<void> bytes(std::uint64_t offset, std::span<const std::byte> bytes) override {
        progress_.reached(offset + bytes.size());
        return to_.bytes(offset, bytes);
    }
    Result<void> hole(std::uint64_t offset, std::uint64_t length) override {
        progress_.reached(offset + length);
        return to_.hole(offset, length);
    }

   private:
    ContentSink& to_;
    Progress& progress_;
};

// What can be fetched; the rest is left out, and said.
bool is_fetched(FileType type) {
    return type == FileType::regular || type == FileType::directory || type == FileType::symlink;
}

// What is of no use to go on after.
bool ends_all(const Error& error) {
    return error.code == Errc::unavailable || error.code == Errc::full;
}

// Says what could not be fetched, and counts.
class Misses {
   public:
    Misses(const Context& context, const GuestDisk& disk) : context_(context), disk_(disk) {}

    void add(const std::string& path, const Error& error) {
        ++count_;
        conflict_ = conflict_ || error.code == Errc::conflict;
        context_.console.note(fmt::format("signpost: {}", disk_.about(path, error).message));
    }
    void left_out(const std::string& path, FileType type) {
        context_.console.note(fmt::format("{}:{}: a {} is left out", escaped(disk_.name()),
                                          escaped(path), to_string(type)));
    }
    VerbResult end() const {
        return count_ == 0
                   ? VerbResult(ExitCode::ok)
                   : failure(conflict_ ? ExitCode::conflict : ExitCode::failed,
                             fmt::format("{} could not be fetched", counted(count_, "file")));
    }

   private:
    const Context& context_;
    const GuestDisk& disk_;
    std::size_t count_ = 0;
    bool conflict_ = false;
};

class Fetcher : public GuestVisitor {
   public:
    Fetcher(const Context& context, const GuestDisk& disk, const GuestFile& root, Misses& misses)
        : context_(context), disk_(disk), root_(root), misses_(misses) {}

    // The directory that everything goes into, and the name that the walk's root gets there.
    void into(Destination destination, std::string name) {
        stack_.push_back(std::move(destination));
        root_name_ = std::move(name);
    }

    Result<void> fetch(const files::Entry& entry, const std::string& name) {
        auto file = stack_.back().create(name);
        if (!file) {
            return std::unexpected(file.error());
        }
        Progress progress(context_.console, escaped(name, 60), entry.size);
        CountedSink sink(**file, progress);
        if (auto read = read_content(*root_.reader, {root_.volume, entry.inode, entry.size}, sink);
            !read) {
            return read;
        }
        return (*file)->keep(entry);
    }

    Outcome<void> file(const std::string& path, const files::Entry& entry) override {
        if (!is_fetched(entry.type) || entry.type == FileType::directory) {
            misses_.left_out(path, entry.type);
            return {};
        }
        const auto fetched = entry.type == FileType::symlink ? stack_.back().link(entry, entry.name)
                                                             : fetch(entry, entry.name);
        return passed(path, fetched);
    }

    Outcome<bool> enter(const std::string& path, const files::Entry& entry) override {
        const std::string name = stack_.size() == 1 ? root_name_ : entry.name;
        auto below = stack_.back().enter(name);
        if (!below) {
            misses_.add(path, below.error());
            return false;
        }
        stack_.push_back(std::move(*below));
        return true;
    }

    Outcome<void> leave(const std::string& path, const files::Entry& entry) override {
        const auto restored = stack_.back().restore(entry);
        stack_.pop_back();
        return passed(path, restored);
    }

    void trouble(const std::string& path, const Error& error) override { misses_.add(path, error); }

   private:
    Outcome<void> passed(const std::string& path, const Result<void>& result) {
        if (!result && ends_all(result.error())) {
            return std::unexpected(disk_.about(path, result.error()));
        }
        if (!result) {
            misses_.add(path, result.error());
        }
        return {};
    }

    const Context& context_;
    const GuestDisk& disk_;
    const GuestFile& root_;
    Misses& misses_;
    std::vector<Destination> stack_;
    std::string root_name_;
};

class TarFetcher : public GuestVisitor {
   public:
    TarFetcher(const GuestDisk& disk, const GuestFile& root, TarStream& tar, Misses& misses)
        : disk_(disk), root_(root), tar_(tar), misses_(misses) {}

    Outcome<void> file(const std::string& path, const files::Entry& entry) override {
        if (!is_fetched(entry.type) || entry.type == FileType::directory) {
            misses_.left_out(path, entry.type);
            return {};
        }
        return passed(path, entry.type == FileType::symlink
                                ? tar_.add(below(path), entry)
                                : tar_.add_file(below(path), entry, *root_.reader, root_.volume));
    }
    Outcome<bool> enter(const std::string& path, const files::Entry& entry) override {
        auto added = passed(path, tar_.add(below(path) + "/", entry));
        return added ? Outcome<bool>(true) : std::unexpected(added.error());
    }
    Outcome<void> leave(const std::string& /*path*/, const files::Entry& /*entry*/) override {
        return {};
    }
    void trouble(const std::string& path, const Error& error) override { misses_.add(path, error); }

   private:
    // As in the archive: from the name of what was asked for on.
    std::string below(const std::string& path) const {
        std::string_view root = root_.path;
        while (root.size() > 1 && root.ends_with('/')) {
            root.remove_suffix(1);
        }
        const std::size_t slash = root.rfind('/');
        const std::string rest = path.substr(std::min(slash + 1, path.size()));
        return root == "/" ? "." + path.substr(path == "/" ? 1 : 0) : rest;
    }
    // Half a file cannot be taken back out of an archive.
    Outcome<void> passed(const std::string& path, const Result<void>& result) {
        return result ? Outcome<void>() : std::unexpected(disk_.about(path, result.error()));
    }

    const GuestDisk& disk_;
    const GuestFile& root_;
    TarStream& tar_;
    Misses& misses_;
};

std::string last_component(std::string path) {
    while (path.size() > 1 && path.ends_with('/')) {
        path.pop_back();
    }
    return path.substr(path.rfind('/') + 1);
}

bool is_directory(const std::string& path) {
    struct stat there {};
    return ::stat(path.c_str(), &there) == 0 && S_ISDIR(there.st_mode);
}

// As cp does: into DEST if that is a directory, else DEST is the new name.
Outcome<std::pair<Destination, std::string>> choose_destination(const FilesGetVerb& verb,
                                                                const std::string& name) {
    std::string directory = verb.destination.empty() ? "." : verb.destination;
    std::string as = name;
    if (!is_directory(directory)) {
        as = last_component(directory);
        const std::size_t slash = directory.rfind('/', directory.find_last_not_of('/'));
        directory = slash == directory.npos ? "." : slash == 0 ? "/" : directory.substr(0, slash);
    }
    if (!files::is_component(as)) {
        return failure(ExitCode::usage, fmt::format("{}: under which name? give DEST a new one",
                                                    escaped(verb.destination)));
    }
    auto opened = Destination::open(directory, verb.force);
    if (!opened) {
        return std::unexpected(peer_failure(opened.error()));
    }
    return std::pair(std::move(*opened), std::move(as));
}

VerbResult fetch_files(const Context& context, const GuestDisk& disk, const GuestFile& found,
                       const FilesGetVerb& verb) {
    auto chosen = choose_destination(verb, last_component(found.path));
    if (!chosen) {
        return std::unexpected(chosen.error());
    }
    const std::string name = chosen->second;
    Misses misses(context, disk);
    Fetcher fetcher(context, disk, found, misses);
    fetcher.into(std::move(chosen->first), name);
    if (found.entry.type == FileType::directory) {
        const auto walked = walk(found, found.path, {true, verb.deleted}, fetcher);
        return walked ? misses.end() : std::unexpected(walked.error());
    }
    const auto fetched = fetcher.fetch(found.entry, name);
    return fetched ? VerbResult(ExitCode::ok)
                   : std::unexpected(disk.about(found.path, fetched.error()));
}

VerbResult write_tar(const Context& context, const GuestDisk& disk, const GuestFile& found,
                     const FilesGetVerb& verb, int fd) {
    auto tar = TarStream::open(fd);
    if (!tar) {
        return std::unexpected(peer_failure(tar.error()));
    }
    Misses misses(context, disk);
    TarFetcher fetcher(disk, found, **tar, misses);
    const auto walked = found.entry.type == FileType::directory
                            ? walk(found, found.path, {true, verb.deleted}, fetcher)
                            : fetcher.file(found.path, found.entry);
    if (!walked) {
        return std::unexpected(walked.error());
    }
    const auto finished = (*tar)->finish();
    return finished ? misses.end() : std::unexpected(peer_failure(finished.error()));
}

VerbResult fetch_tar(const Context& context, const GuestDisk& disk, const GuestFile& found,
                     const FilesGetVerb& verb) {
    if (verb.destination.empty() || verb.destination == "-") {
        if (context.console.output_is_terminal()) {
            return failure(ExitCode::usage,
                           "a tar archive is nothing for a terminal; give DEST, or redirect it");
        }
        return write_tar(context, disk, found, verb, STDOUT_FILENO);
    }
    const int flags = O_WRONLY | O_CREAT | O_CLOEXEC | (verb.force ? O_TRUNC : O_EXCL);
    const UniqueFd file(::open(verb.destination.c_str(), flags, 0600));
    if (!file) {
        const bool exists = errno == EEXIST;
        return failure(exists ? ExitCode::conflict : ExitCode::failed,
                       fmt::format("{}: {}{}", escaped(verb.destination), error_text(errno),
                                   exists ? "; --force replaces it" : ""));
    }
    auto written = write_tar(context, disk, found, verb, file.get());
    if (!written && written.error().code != ExitCode::ok) {
        ::unlink(verb.destination.c_str());  // half an archive is none
    }
    return written;
}

}  // namespace

VerbResult run(const Context& context, const FilesGetVerb& verb) {
    auto disk = GuestDisk::open(context, verb.place, verb.sources);
    if (!disk) {
        return std::unexpected(disk.error());
    }
    const auto found = (*disk)->find(verb.place, true, verb.deleted);
    if (!found) {
        return std::unexpected(found.error());
    }
    const FileType type = found->entry.type;
    if (type == FileType::directory && !verb.recursive && !verb.tar) {
        return failure(ExitCode::usage,
                       fmt::format("{}:{} is a directory; fetch it with -r, or "
                                   "--tar",
                                   escaped((*disk)->name()), escaped(found->path)));
    }
    if (!is_fetched(type)) {
        return failure(ExitCode::failed, fmt::format("{}:{} is a {}", escaped((*disk)->name()),
                                                     escaped(found->path), to_string(type)));
    }
    return verb.tar ? fetch_tar(context, **disk, *found, verb)
                    : fetch_files(context, **disk, *found, verb);
}

}  // namespace signpost
