// SPDX-License-Identifier: BSD-3-Clause
//
// From a name to the one file that gives it, without a scan: the paths that it may have are tried,
// and where others may be based on that file, its directory is read.

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <utility>

#include "catalog/restore_point.h"
#include "nbd-server/disk/backup_set.h"
#include "nbd-server/disk/beneath.h"
#include "nbd-server/disk/layer_chain.h"
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

std::string parent_of(const std::string& path) {
    const auto slash = path.rfind('/');
    return slash == std::string::npos ? std::string() : path.substr(0, slash);
}

class Search {
   public:
    Search(const std::vector<Repository>& repositories, const DiskName& name, Look look)
        : repositories_(repositories), name_(name), look_(look) {}

    void in(std::size_t repository) {
        const Repository& place = repositories_[repository];
        const PointPatterns& patterns = place.options().points;
        at_stem(repository, name_.str());
        if (look_ == Look::by_path) {
            return;
        }
        backups(repository);
        std::string directory;
        bool there = true;
        for (const std::string& stem : patterns.stems_of(name_)) {
            if (const std::string parent = parent_of(stem); parent != directory) {
                directory = parent;
                there = bool(open_beneath(place.root(), directory, O_PATH | O_DIRECTORY));
            }
            if (there) {
                at_stem(repository, stem);
            }
        }
        // A layer but the last is called by its disk's name and a time.
        const auto point = RestorePoint::of(name_);
        if (point && patterns.chains() && name_.str().ends_with('Z')) {
            at_stem(repository, point->disk);
        }
    }

    std::vector<LocatedImage> found;

   private:
    // A file of a backup set says itself which point it is.
    void backups(std::size_t repository) {
        if (has_ignored_component(name_.str())) {
            return;
        }
        for (std::string& path : backup_files_of(repositories_[repository], name_)) {
            const RepositoryPath where{repository, std::move(path)};
            found.push_back({.name = name_,
                             .where = where,
                             .format = ImageFormat::virtnbdbackup,
                             .origins = {where}});
        }
    }

    void at_stem(std::size_t repository, const std::string& stem) {
        if (has_ignored_component(stem)) {
            return;
        }
        for (const Extension& extension : kExtensions) {
            std::string path = stem + std::string(extension.text);
            if (gives_image(repositories_[repository], path)) {
                look_at({.repository = repository, .path = std::move(path)}, stem, extension);
            }
        }
    }

    void look_at(RepositoryPath where, const std::string& stem, const Extension& extension) {
        const Repository& repository = repositories_[where.repository];
        const auto name = name_of_stem(stem, repository.options().points);
        if (!name) {
            return;
        }
        const bool plain = name->str() == stem;
        if (plain && RestorePoint::of(*name) == std::nullopt &&
            may_have_layers(repository, extension)) {
            const RepositoryPath directory{where.repository, parent_of(where.path)};
            const auto file = where.path.substr(where.path.rfind('/') + 1);
            LayerFinder finder(repository, directory.path,
                               files_for_layers(repository, directory.path, file));
            if (const auto layers = finder.layers_of(file); !layers.empty()) {
                take_layer(directory, layers, file);
                return;
            }
        }
        if (look_ == Look::by_name ? *name == name_ : *name != name_) {
            LocatedImage image{
                .name = std::move(*name), .where = where, .format = extension.format};
            if (!plain) {
                image.origins.push_back(std::move(where));
            }
            found.push_back(std::move(image));
        }
    }

    static bool may_have_layers(const Repository& repository, const Extension& extension) {
        return repository.options().points.chains() &&
               (extension.format == ImageFormat::qcow2 || extension.format == ImageFormat::raw);
    }

    void take_layer(const RepositoryPath& directory, const std::vector<Layer>& layers,
                    const std::string& file) {
        for (std::size_t i = 0; i < layers.size(); ++i) {
            const bool meant = look_ == Look::by_name
                                   ? layers[i].name == name_
                                   : layers[i].file == file && layers[i].name != name_;
            if (meant) {
                found.push_back(locate_layer(directory, layers, i));
            }
        }
    }

    const std::vector<Repository>& repositories_;
    const DiskName& name_;
    const Look look_;
};

}  // namespace

LocatedImage locate_layer(const RepositoryPath& directory, const std::vector<Layer>& layers,
                          std::size_t index) {
    std::vector<RepositoryPath> files;
    std::vector<DiskName> names;
    for (const Layer& layer : layers) {
        files.push_back({directory.repository,
                         directory.path.empty() ? layer.file : directory.path + '/' + layer.file});
        names.push_back(layer.name);
    }
    RepositoryPath where = files[index];
    return {.name = layers[index].name,
            .where = std::move(where),
            .format = layers[index].format,
            .read_only = index + 1 < layers.size(),
            .origins = std::move(files),
            .layers = std::move(names)};
}

Result<LocatedImage> locate_image(const std::vector<Repository>& repositories, const DiskName& name,
                                  Look look) {
    Search search(repositories, name, look);
    for (std::size_t i = 0; i < repositories.size(); ++i) {
        search.in(i);
    }
    if (search.found.empty()) {
        return fail(Errc::not_found,
                    fmt::format("disk '{}': no repository of this server has an image of it",
                                escaped(name.str())));
    }
    if (search.found.size() > 1) {
        return two_images(repositories, name, search.found[0].where, search.found[1].where);
    }
    return std::move(search.found.front());
}

Result<DiskName> name_of_stem(std::string_view stem, const PointPatterns& patterns) {
    const auto dated = patterns.name_of(stem);
    return DiskName::parse(dated ? *dated : stem);
}

std::optional<Result<DiskName>> name_of_file(const Repository& repository,
                                             const std::string& path) {
    if (is_backup_file(path)) {
        auto name = backup_point_of(repository, path);
        return name || name.error().code != Errc::not_found ? std::optional(std::move(name))
                                                            : std::nullopt;
    }
    const Extension* extension = extension_of(path);
    if (extension == nullptr) {
        return std::nullopt;
    }
    return name_of_stem(std::string_view(path).substr(0, path.size() - extension->text.size()),
                        repository.options().points);
}

std::optional<Result<DiskName>> RepositorySet::name_of(const RepositoryPath& where) const {
    return name_of_file(repositories_[where.repository], where.path);
}

std::vector<DiskName> RepositorySet::bases_of(const RepositoryPath& where) const {
    constexpr std::size_t kMost = 32;
    std::vector<DiskName> bases;
    if (!repositories_[where.repository].options().points.chains()) {
        return bases;
    }
    const std::size_t begin = where.path.rfind('/') + 1;
    for (std::size_t at = where.path.find_first_of(".-_@", begin + 1);
         at != std::string::npos && bases.size() < kMost;
         at = where.path.find_first_of(".-_@", at + 1)) {
        if (auto name = DiskName::parse(std::string_view(where.path).substr(0, at))) {
            bases.push_back(std::move(*name));
        }
    }
    return bases;
}

std::optional<ImageFormat> format_of_path(std::string_view path) {
    if (is_backup_file(path)) {
        return ImageFormat::virtnbdbackup;
    }
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
