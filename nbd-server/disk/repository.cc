// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/repository.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>

#include "nbd-server/disk/backing_chain.h"
#include "nbd-server/disk/beneath.h"
#include "nbd-server/disk/image_fingerprint.h"
#include "nbd-server/disk/repository_parts.h"

namespace signpost {

namespace {

struct Extension {
    std::string_view text;
    ImageFormat format;
};

constexpr std::array<Extension, 8> kExtensions{{{".raw", ImageFormat::raw},
                                                {".img", ImageFormat::raw},
                                                {".qcow2", ImageFormat::qcow2},
                                                {".vmdk", ImageFormat::vmdk},
                                                {".vhdx", ImageFormat::vhdx},
                                                {".vdi", ImageFormat::vdi},
                                                {".vpc", ImageFormat::vpc},
                                                {".iso", ImageFormat::raw}}};

const Extension* extension_of(std::string_view path) {
    const std::string_view name = path.substr(path.rfind('/') + 1);
    const auto at = name.rfind('.');
    if (at == 0 || at == std::string_view::npos) {
        return nullptr;
    }
    const auto found = std::ranges::find(kExtensions, name.substr(at), &Extension::text);
    return found == kExtensions.end() ? nullptr : &*found;
}

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

bool has_ignored_component(std::string_view path) {
    while (true) {
        const auto end = path.find('/');
        if (is_ignored_component(path.substr(0, end))) {
            return true;
        }
        if (end == std::string_view::npos) {
            return false;
        }
        path.remove_prefix(end + 1);
    }
}

// A directory named like an image is a directory; anything else counts, also what is refused later.
bool gives_image(const Repository& repository, const std::string& path) {
    const auto fd = open_beneath(repository.root(), path, O_PATH | O_NOFOLLOW);
    struct stat status {};
    return fd && ::fstat(fd->get(), &status) == 0 && !S_ISDIR(status.st_mode);
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

Result<RepositoryPath> locate_image(const std::vector<Repository>& repositories,
                                    const DiskName& name) {
    std::vector<RepositoryPath> found;
    if (!has_ignored_component(name.str())) {
        for (std::size_t i = 0; i < repositories.size(); ++i) {
            for (const Extension& extension : kExtensions) {
                std::string path = name.str() + std::string(extension.text);
                if (gives_image(repositories[i], path)) {
                    found.push_back({.repository = i, .path = std::move(path)});
                }
            }
        }
    }
    if (found.empty()) {
        return fail(Errc::not_found,
                    fmt::format("disk '{}': no repository of this server has an image of it",
                                escaped(name.str())));
    }
    if (found.size() > 1) {
        return two_images(repositories, name, found[0], found[1]);
    }
    return std::move(found.front());
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
                                             const DiskName& name, const RepositoryPath& where,
                                             std::chrono::milliseconds settle) {
    const auto format = format_of_path(where.path).value_or(ImageFormat::raw);
    auto chain = open_chain(repositories, where, format, Access::look, settle);
    if (!chain) {
        return std::unexpected(chain.error());
    }
    RepositorySet::Finding finding{
        .image =
            Image{.name = name, .export_name = name.str(), .format = format, .fingerprint = {}},
        .backing = {},
        .unsettled = chain->unsettled};
    if (finding.unsettled) {
        return finding;
    }
    auto fingerprint = fingerprint_of(*chain);
    if (!fingerprint) {
        return std::unexpected(fingerprint.error());
    }
    finding.image.size = chain->size;
    finding.image.read_only = !chain->writable;
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
    auto where = locate_image(repositories_, name);
    if (!where) {
        return std::unexpected(where.error());
    }
    return inspect_image(repositories_, name, *where, settle);
}

Result<OpenImage> RepositorySet::open_image(const DiskName& name) const {
    auto where = locate_image(repositories_, name);
    if (!where) {
        return std::unexpected(where.error());
    }
    const auto format = format_of_path(where->path).value_or(ImageFormat::raw);
    auto chain = open_chain(repositories_, *where, format, Access::serve, {});
    if (!chain) {
        return std::unexpected(chain.error());
    }
    // The fingerprint is taken when the clock has passed the last change, so that a change after it
    // is bound to show in the file's times.
    if (!chain->writable) {
        wait_until_clock_passes(chain->changed);
    }
    auto fingerprint = fingerprint_of(*chain);
    if (!fingerprint) {
        return std::unexpected(fingerprint.error());
    }
    return OpenImage{.name = name,
                     .chain = std::move(chain->files),
                     .size = chain->size,
                     .writable = chain->writable,
                     .fingerprint = std::move(*fingerprint)};
}

std::optional<ImageFormat> format_of_path(std::string_view path) {
    const Extension* extension = extension_of(path);
    return extension == nullptr ? std::nullopt : std::optional(extension->format);
}

std::optional<Result<DiskName>> disk_name_of_path(std::string_view path) {
    const Extension* extension = extension_of(path);
    if (extension == nullptr) {
        return std::nullopt;
    }
    return DiskName::parse(path.substr(0, path.size() - extension->text.size()));
}

bool is_ignored_component(std::string_view component) {
    return component.starts_with('.') || component.ends_with(".part") ||
           component.ends_with(".tmp");
}

}  // namespace signpost
