// SPDX-License-Identifier: BSD-3-Clause
//
// Repository is a directory tree of images on this server. Files are opened beneath its root by the
// kernel's own rule (openat2, RESOLVE_BENEATH, no magic links): regular files, and block devices if
// allowed. The extension says the format; content is never probed, only checked against it.
//
// The name of a file's disk is its path without the extension, but for restore points: what is
// written there as a date becomes the time of the name (point_patterns.h), and layers of one disk
// have that disk's name (layer_chain.h).
//
// Names with a component that begins with `.`, or ends in `.part` or `.tmp`, are not seen at all.
//
// Lifetime: keeps a descriptor of the root open. Threads: any; it holds no mutable state.

#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "catalog/records.h"
#include "nbd-server/disk/point_patterns.h"
#include "nbd-server/disk/unique_fd.h"

namespace signpost {

struct RepositoryOptions {
    bool writable = false;
    bool block_devices = false;
    PointPatterns points = {};  // which files are restore points
};

// A place in one of the repositories.
struct RepositoryPath {
    std::size_t repository = 0;  // index into RepositorySet::repositories()
    std::string path;            // relative to its root

    auto operator<=>(const RepositoryPath&) const = default;
};

// One file of an image: the image itself, or a member of its backing chain.
struct ImageFile {
    UniqueFd fd;
    std::string path;  // relative to its repository; for messages
    ImageFormat format = ImageFormat::raw;
    std::size_t repository = 0;  // index into RepositorySet::repositories()
};

// An image, open, with its whole backing chain (top first), each file found inside a repository.
struct OpenImage {
    DiskName name;
    std::vector<ImageFile> chain;  // never empty; raw: exactly one
    std::uint64_t size = 0;        // virtual size in bytes
    bool writable = false;
    std::string fingerprint;  // see image_fingerprint.h
    bool layer = false;       // of a chain: others have their names by it

    ImageFormat format() const { return chain.front().format; }
};

class Repository {
   public:
    // Fails with not_found, denied, invalid or io, naming the directory.
    static Result<Repository> open(const std::string& directory, RepositoryOptions options);

    const std::string& directory() const { return directory_; }
    const RepositoryOptions& options() const { return options_; }
    int root() const { return root_.get(); }

    // Its absolute path, as text: as given, and without symbolic links.
    const std::vector<std::string>& spellings() const { return spellings_; }

    // An absolute path, as text, relative to the root; empty when it does not lie beneath it. The
    // kernel still has the last word when it is opened.
    std::optional<std::string> relative(std::string_view absolute) const;

   private:
    Repository(std::string directory, RepositoryOptions options, UniqueFd root);

    std::string directory_;
    RepositoryOptions options_;
    UniqueFd root_;
    std::vector<std::string> spellings_;
};

// All repositories of this server; what a name means is decided over all of them.
class RepositorySet {
   public:
    explicit RepositorySet(std::vector<Repository> repositories)
        : repositories_(std::move(repositories)) {}

    bool empty() const { return repositories_.empty(); }
    const std::vector<Repository>& repositories() const { return repositories_; }

    // Opens the image of that name. not_found: there is none; conflict: two files give the name
    // (the message names both), or the file is still being written; invalid: a header or backing
    // chain that is refused; denied, io.
    Result<OpenImage> open_image(const DiskName& name) const;

    // As open_image, for the image that would have NAME by its path if it were no restore point; it
    // comes with the name that it has.
    Result<OpenImage> open_by_path(const DiskName& name) const;

    // What there is to say about an image without serving it.
    struct Finding {
        Image image;
        // The files that it is based on, normalised; where its name is not its path, that file,
        // too, and all that have a part in the name.
        std::vector<RepositoryPath> backing;
        std::vector<DiskName> layers = {};  // all names of the chain whose layer it is
        // Still being written, or changed less than the settle time ago: nothing but the name is
        // known, and errors are not looked for yet.
        bool unsettled = false;
    };
    // Errors as open_image.
    Result<Finding> inspect(const DiskName& name, std::chrono::milliseconds settle) const;

    struct ScanOptions {
        std::chrono::milliseconds settle{0};  // younger files are unsettled
        // Asked now and then; false ends the scan. Empty: true.
        std::function<bool()> keep_going;
        // Told of each directory before its entries are read; FD is open on it. Empty: nobody.
        std::function<void(const RepositoryPath& directory, int fd)> on_directory;
    };
    // Everything that can be served, and one line for each file that cannot.
    struct Scan {
        std::vector<Image> images;  // ordered by name
        std::vector<std::string> refusals;
        std::vector<std::string> notes;  // lines about what is served, but not as one may think
        bool unsettled = false;          // some files are still being written: look again soon
        std::vector<DiskName> waiting;   // the disks of these files
        // The disks of refused files, where they have a name, with their lines.
        std::vector<std::pair<DiskName, std::string>> refused;
        std::vector<RepositoryPath> unread;  // directories that are there but could not be read
        std::vector<std::pair<RepositoryPath, DiskName>> backing;  // file, and the disk based on it
        bool ended = true;  // false: keep_going ended it, and the rest is incomplete
    };
    Scan scan() const { return scan(ScanOptions{}); }
    Scan scan(const ScanOptions& options) const;

    // The name that the file at WHERE gives by its path and the patterns or, where it is of a
    // backup set, by what it says itself; that may be broken (invalid). Empty: it is no image's.
    std::optional<Result<DiskName>> name_of(const RepositoryPath& where) const;

    // Disks that may have a layer there: those whose file's name the name of WHERE goes on from.
    std::vector<DiskName> bases_of(const RepositoryPath& where) const;

    // The disk names that files beneath one directory give, whatever may be wrong with them; part
    // of a scan, for a directory that has just appeared.
    std::vector<DiskName> names_beneath(const RepositoryPath& directory,
                                        const ScanOptions& options) const;

   private:
    Result<OpenImage> open(const struct LocatedImage& where) const;

    std::vector<Repository> repositories_;
};

// The path of the repository file as a disk name, and back: `web01/vda.qcow2` is disk `web01/vda`.
// A file of a backup set (backup_set.h) has a format, and its name is not in its path.
// Empty when the extension is not an image's.
std::optional<ImageFormat> format_of_path(std::string_view path);

// The disk name that PATH alone gives; its rules may be broken (invalid). Empty: not the path of an
// image.
std::optional<Result<DiskName>> disk_name_of_path(std::string_view path);

// True for names that a repository does not see: hidden files, and files that are being made.
bool is_ignored_component(std::string_view component);

}  // namespace signpost
