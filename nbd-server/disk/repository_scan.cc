// SPDX-License-Identifier: BSD-3-Clause
//
// The scan: walk all directories, note which file gives which disk name, sort, and look at each
// file whose name is its own. Directories are opened one after the other from the root, never
// nested, so depth costs no descriptors; links to directories are not followed, so the walk ends.

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <set>
#include <tuple>

#include "nbd-server/disk/beneath.h"
#include "nbd-server/disk/image_file.h"
#include "nbd-server/disk/layer_chain.h"
#include "nbd-server/disk/repository_parts.h"

namespace signpost {

namespace {

constexpr unsigned kAskEvery = 128;  // files, between two questions whether to go on

using Candidate = LocatedImage;

struct CloseDirectory {
    void operator()(DIR* directory) const { ::closedir(directory); }
};
using Directory = std::unique_ptr<DIR, CloseDirectory>;

enum class EntryKind { directory, other };

EntryKind kind_of(int directory, const dirent& entry) {
    if (entry.d_type != DT_UNKNOWN) {
        return entry.d_type == DT_DIR ? EntryKind::directory : EntryKind::other;
    }
    struct stat status {};
    const bool known = ::fstatat(directory, entry.d_name, &status, AT_SYMLINK_NOFOLLOW) == 0;
    return known && S_ISDIR(status.st_mode) ? EntryKind::directory : EntryKind::other;
}

std::string joined(const std::string& directory, const char* name) {
    return directory.empty() ? std::string(name) : directory + '/' + name;
}

class Walk {
   public:
    Walk(const std::vector<Repository>& repositories, const RepositorySet::ScanOptions& options)
        : repositories_(repositories), options_(options) {}

    // False when it was told to stop.
    bool beneath(const RepositoryPath& top) {
        std::vector<std::string> pending{top.path};
        while (!pending.empty()) {
            const RepositoryPath directory{top.repository, std::move(pending.back())};
            pending.pop_back();
            if (!read(directory, pending)) {
                return false;
            }
        }
        return true;
    }

    std::vector<Candidate> candidates;
    std::vector<std::string> refusals;
    std::vector<std::string> notes;
    std::vector<RepositoryPath> unread;

   private:
    Directory open(const RepositoryPath& directory) {
        const Repository& repository = repositories_[directory.repository];
        const std::string path = directory.path.empty() ? "." : directory.path;
        auto fd = open_beneath(repository.root(), path, O_RDONLY | O_DIRECTORY, Links::refuse);
        int error = fd ? 0 : fd.error();
        if (fd) {
            if (options_.on_directory) {
                options_.on_directory(directory, fd->get());
            }
            if (Directory stream{::fdopendir(fd->get())}) {
                fd->release();
                return stream;
            }
            error = errno;
        }
        if (error != ENOENT) {  // it went away meanwhile
            refusals.push_back(fmt::format("directory {}: {}; the images in it are not served",
                                           display_path(repository, path), error_text(error)));
            unread.push_back(directory);
        }
        return nullptr;
    }

    bool read(const RepositoryPath& directory, std::vector<std::string>& pending) {
        const Directory stream = open(directory);
        if (!stream) {
            return go_on();
        }
        std::vector<std::string> files;
        while (const dirent* entry = ::readdir(stream.get())) {
            if (is_ignored_component(entry->d_name)) {
                continue;
            }
            std::string path = joined(directory.path, entry->d_name);
            if (kind_of(::dirfd(stream.get()), *entry) == EntryKind::directory) {
                descend(std::move(path), pending);
            } else {
                files.emplace_back(entry->d_name);
            }
            if (++entries_ % kAskEvery == 0 && !go_on()) {
                return false;
            }
        }
        note_files(directory, std::move(files));
        return true;
    }

    void note_files(const RepositoryPath& directory, std::vector<std::string> files) {
        const Repository& repository = repositories_[directory.repository];
        std::set<std::string> layered;
        if (repository.options().points.chains()) {
            LayerFinder finder(repository, directory.path, files);
            for (const auto& layers : finder.all(notes)) {
                for (std::size_t i = 0; i < layers.size(); ++i) {
                    candidates.push_back(locate_layer(directory, layers, i));
                    layered.insert(layers[i].file);
                }
            }
        }
        for (const std::string& file : files) {
            if (!layered.contains(file)) {
                note({.repository = directory.repository,
                      .path = joined(directory.path, file.c_str())});
            }
        }
    }

    // Nothing beneath a longer path can be a disk name.
    static void descend(std::string path, std::vector<std::string>& pending) {
        if (path.size() < DiskName::kMaxBytes) {
            pending.push_back(std::move(path));
        }
    }

    void note(RepositoryPath where) {
        const auto format = format_of_path(where.path);
        auto name = name_of_file(repositories_[where.repository], where.path);
        if (!format || !name) {
            return;
        }
        if (!*name) {
            refusals.push_back(fmt::format(
                "image {}: {}", display_path(repositories_[where.repository], where.path),
                name->error().message));
            return;
        }
        std::vector<RepositoryPath> origins;
        if ((*name)->str() != where.path.substr(0, where.path.rfind('.'))) {
            origins.push_back(where);
        }
        candidates.push_back({.name = std::move(**name),
                              .where = std::move(where),
                              .format = *format,
                              .origins = std::move(origins)});
    }

    bool go_on() const { return !options_.keep_going || options_.keep_going(); }

    const std::vector<Repository>& repositories_;
    const RepositorySet::ScanOptions& options_;
    unsigned entries_ = 0;
};

void refuse(const DiskName& name, const std::string& line, RepositorySet::Scan& scan) {
    scan.refusals.push_back(line);
    scan.refused.emplace_back(name, line);
}

void look_at(const std::vector<Repository>& repositories, const Candidate& candidate,
             const RepositorySet::ScanOptions& options, RepositorySet::Scan& scan) {
    auto finding = inspect_image(repositories, candidate, options.settle);
    if (!finding) {
        const Repository& repository = repositories[candidate.where.repository];
        const auto handle =
            open_beneath(repository.root(), candidate.where.path, O_PATH | O_NOFOLLOW);
        if (!handle && handle.error() == ENOENT) {
            return;  // it went away meanwhile
        }
        refuse(candidate.name, finding.error().message, scan);
        return;
    }
    if (finding->unsettled) {
        scan.unsettled = true;
        scan.waiting.push_back(candidate.name);
        return;
    }
    for (RepositoryPath& file : finding->backing) {
        scan.backing.emplace_back(std::move(file), candidate.name);
    }
    scan.images.push_back(std::move(finding->image));
}

}  // namespace

RepositorySet::Scan RepositorySet::scan(const ScanOptions& options) const {
    Scan scan;
    Walk walk(repositories_, options);
    for (std::size_t i = 0; i < repositories_.size() && scan.ended; ++i) {
        scan.ended = walk.beneath({.repository = i, .path = ""});
    }
    scan.refusals = std::move(walk.refusals);
    scan.notes = std::move(walk.notes);
    scan.unread = std::move(walk.unread);
    auto& candidates = walk.candidates;
    std::ranges::sort(candidates, [](const Candidate& a, const Candidate& b) {
        return std::tie(a.name, a.where) < std::tie(b.name, b.where);
    });
    for (std::size_t i = 0; i < candidates.size() && scan.ended;) {
        std::size_t next = i + 1;
        while (next < candidates.size() && candidates[next].name == candidates[i].name) {
            ++next;
        }
        if (next - i > 1) {
            const auto clash = two_images(repositories_, candidates[i].name, candidates[i].where,
                                          candidates[i + 1].where);
            refuse(candidates[i].name, clash.error().message, scan);
        } else {
            look_at(repositories_, candidates[i], options, scan);
        }
        i = next;
        scan.ended = i % kAskEvery != 0 || !options.keep_going || options.keep_going();
    }
    return scan;
}

std::vector<DiskName> RepositorySet::names_beneath(const RepositoryPath& directory,
                                                   const ScanOptions& options) const {
    Walk walk(repositories_, options);
    walk.beneath(directory);
    std::vector<DiskName> names;
    for (Candidate& candidate : walk.candidates) {
        names.push_back(std::move(candidate.name));
    }
    return names;
}

}  // namespace signpost
