// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/repository.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <filesystem>

#include "nbd-server/disk/backing_chain.h"
#include "nbd-server/disk/beneath.h"
#include "nbd-server/disk/image_fingerprint.h"
#include "nbd-server/disk/repository_parts.h"

namespace signpost {

namespace {

std::unexpected<Error> refuse_directory(const std::string& directory, int error) {
    const std::string name = escaped(directory, 400);
    switch (error) {
        case ENOENT:
            return fail(Errc::not_found,
                        fmt::format("repository {}: there is no such directory", name));
        case ENOTDIR:
            return fail(Errc::invalid, fmt::format("repository {}: not a directory", name));
        case EACCES:
        case EPERM:
            return fail(Errc::denied,
                        fmt::format("repository {}: this user may not read it; change "
                                    "its mode or owner",
                                    name));
        case ENOSYS:
            return fail(Errc::io, fmt::format("repository {}: this kernel has no openat2, without "
                                              "which no image is opened; use Linux 5.6 or newer",
                                              name));
        default:
            return fail(Errc::io, fmt::format("repository {}: {}", name, error_text(error)));
    }
}

std::string without_trailing_slash(std::string path) {
    while (path.size() > 1 && path.ends_with('/')) {
        path.pop_back();
    }
    return path;
}

std::vector<std::string> spellings_of(const std::string& directory) {
    std::error_code ignored;
    const auto absolute = std::filesystem::absolute(directory, ignored).lexically_normal();
    std::vector<std::string> spellings{without_trailing_slash(absolute.string())};
    const auto real = std::filesystem::canonical(directory, ignored).string();
    if (!real.empty() && real != spellings.front()) {
        spellings.push_back(real);
    }
    return spellings;
}

Result<std::string> fingerprint_of(const OpenChain& chain) {
    std::vector<int> fds;
    for (const ImageFile& file : chain.files) {
        fds.push_back(file.fd.get());
    }
    return image_fingerprint(fds, chain.writable);
}

}  // namespace

Repository::Repository(std::string directory, RepositoryOptions options, UniqueFd root)
    : directory_(without_trailing_slash(std::move(directory))),
      options_(options),
      root_(std::move(root)),
      spellings_(spellings_of(directory_)) {}

Result<Repository> Repository::open(const std::string& directory, RepositoryOptions options) {
    if (directory.empty()) {
        return fail(Errc::invalid, "repository: the directory's name is empty");
    }
    UniqueFd root(::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!root) {
        return refuse_directory(directory, errno);
    }
    if (const auto probe = open_beneath(root.get(), ".", O_RDONLY | O_DIRECTORY); !probe) {
        return refuse_directory(directory, probe.error());
    }
    return Repository(directory, options, std::move(root));
}

std::optional<std::string> Repository::relative(std::string_view absolute) const {
    for (const std::string_view spelling : spellings_) {
        std::string_view rest = absolute;
        if (!rest.starts_with(spelling)) {
            continue;
        }
        rest.remove_prefix(spelling == "/" ? 0 : spelling.size());
        if (rest.starts_with('/') && rest.find_first_not_of('/') != std::string_view::npos) {
            return std::string(rest.substr(rest.find_first_not_of('/')));
        }
    }
    return std::nullopt;
}

std::unexpected<Error> two_images(const std::vector<Repository>& repositories, const DiskName& name,
                                  const RepositoryPath& one, const RepositoryPath& other) {
    return fail(
        Errc::conflict,
        fmt::format("disk '{}': both {} and {} give this name, so neither is served; rename "
                    "one",
                    escaped(name.str()), display_path(repositories[one.repository], one.path),
                    display_path(repositories[other.repository], other.path)));
}

Result<RepositorySet::Finding> inspect_image(const std::vector<Repository>& repositories,
                                             const LocatedImage& image,
                                             std::chrono::milliseconds settle) {
    auto chain = open_chain(repositories, image.where, image.format, Access::look, settle);
    if (!chain) {
        return std::unexpected(chain.error());
    }
    RepositorySet::Finding finding{.image = Image{.name = image.name,
                                                  .export_name = image.name.str(),
                                                  .format = image.format,
                                                  .fingerprint = {}},
                                   .backing = image.origins,
                                   .layers = image.layers,
                                   .unsettled = chain->unsettled};
    if (finding.unsettled) {
        return finding;
    }
    auto fingerprint = fingerprint_of(*chain);
    if (!fingerprint) {
        return std::unexpected(fingerprint.error());
    }
    finding.image.size = chain->size;
    finding.image.read_only = !chain->writable || image.read_only;
    finding.image.fingerprint = std::move(*fingerprint);
    for (std::size_t i = 1; i < chain->files.size(); ++i) {
        const ImageFile& file = chain->files[i];
        finding.backing.push_back(
            {.repository = file.repository,
             .path = std::filesystem::path(file.path).lexically_normal().string()});
    }
    return finding;
}

Result<RepositorySet::Finding> RepositorySet::inspect(const DiskName& name,
                                                      std::chrono::milliseconds settle) const {
    const auto where = locate_image(repositories_, name);
    if (!where) {
        return std::unexpected(where.error());
    }
    return inspect_image(repositories_, *where, settle);
}

Result<OpenImage> RepositorySet::open_image(const DiskName& name) const {
    const auto where = locate_image(repositories_, name);
    return where ? open(*where) : std::unexpected(where.error());
}

Result<OpenImage> RepositorySet::open_by_path(const DiskName& name) const {
    const auto where = locate_image(repositories_, name, Look::by_path);
    return where ? open(*where) : std::unexpected(where.error());
}

Result<OpenImage> RepositorySet::open(const LocatedImage& where) const {
    auto chain = open_chain(repositories_, where.where, where.format, Access::serve, {});
    if (!chain) {
        return std::unexpected(chain.error());
    }
    chain->writable = chain->writable && !where.read_only;
    // The fingerprint is taken when the clock has passed the last change, so that a change after it
    // is bound to show in the file's times.
    if (!chain->writable) {
        wait_until_clock_passes(chain->changed);
    }
    auto fingerprint = fingerprint_of(*chain);
    if (!fingerprint) {
        return std::unexpected(fingerprint.error());
    }
    return OpenImage{.name = where.name,
                     .chain = std::move(chain->files),
                     .size = chain->size,
                     .writable = chain->writable,
                     .fingerprint = std::move(*fingerprint),
                     .layer = !where.layers.empty()};
}

}  // namespace signpost
