// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/layer_chain.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <utility>

#include "catalog/restore_point.h"
#include "nbd-server/disk/beneath.h"
#include "nbd-server/disk/disk_description.h"
#include "nbd-server/disk/image_file.h"

namespace signpost {

namespace {

constexpr std::string_view kSeparators = ".-_@";

// Without an image's extension; libvirt's snapshots have none.
std::string_view stem_of(std::string_view file) {
    return format_of_path(file) ? file.substr(0, file.rfind('.')) : file;
}

bool extends(std::string_view longer, std::string_view stem) {
    return longer.size() > stem.size() + 1 && longer.starts_with(stem) &&
           kSeparators.contains(longer[stem.size()]);
}

// A time as the names of points have it; empty: it cannot be written.
std::string time_text(std::int64_t seconds, bool extended) {
    std::string text = rfc3339(seconds);
    if (!extended) {
        std::erase_if(text, [](char c) { return c == '-' || c == ':'; });
    }
    return text;
}

}  // namespace

LayerFinder::LayerFinder(const Repository& repository, std::string directory,
                         std::vector<std::string> files)
    : repository_(repository), directory_(std::move(directory)), files_([&files] {
          std::ranges::sort(files);
          return files.size() > kMostFiles ? std::vector<std::string>() : std::move(files);
      }()) {}

std::string LayerFinder::path_of(const std::string& file) const {
    return directory_.empty() ? file : directory_ + '/' + file;
}

// What a name says counts more than what lies below: dated files are points by themselves.
bool LayerFinder::has_date(const std::string& file) const {
    const std::string path = path_of(std::string(stem_of(file)));
    const auto plain = DiskName::parse(path);
    return format_of_path(file) &&
           (!plain || RestorePoint::of(*plain) || repository_.options().points.name_of(path));
}

std::string LayerFinder::base_in_directory(const std::string& reference) const {
    std::filesystem::path path = reference;
    if (path.is_absolute()) {
        const auto relative = repository_.relative(reference);
        if (!relative) {
            return {};
        }
        path = *relative;
    } else {
        path = std::filesystem::path(directory_) / path;
    }
    path = path.lexically_normal();
    return path.parent_path() == std::filesystem::path(directory_) ? path.filename().string()
                                                                   : std::string();
}

LayerFinder::Facts LayerFinder::read(const std::string& file) const {
    const auto by_name = format_of_path(file);
    const bool may_be = !by_name || *by_name == ImageFormat::qcow2 || *by_name == ImageFormat::raw;
    if (!may_be || has_date(file)) {
        return {};
    }
    const auto opened = open_image_file(repository_, path_of(file), Access::look);
    struct stat status {};
    if (!opened || ::fstat(opened->fd.get(), &status) != 0) {
        return {};
    }
    Facts facts;
    facts.written = status.st_mtim.tv_sec;
    if (by_name == ImageFormat::raw) {
        facts.format = ImageFormat::raw;
        return facts;
    }
    const auto header =
        read_image_header(ImageFormat::qcow2, image_bytes(opened->fd.get(), opened->size));
    if (!header || (!by_name && !header->backing)) {
        return {};
    }
    facts.format = ImageFormat::qcow2;
    facts.base = header->backing ? base_in_directory(header->backing->file) : "";
    return facts;
}

const LayerFinder::Facts& LayerFinder::facts(const std::string& file) {
    const auto known = facts_.find(file);
    return known != facts_.end() ? known->second : facts_.emplace(file, read(file)).first->second;
}

// The lowest file beneath FILE whose name it, and all between, go on from; FILE, if there is none.
std::string LayerFinder::root_of(const std::string& file) {
    std::vector<std::string> way{file};
    std::string root = file;
    while (way.size() < kMostLayers) {
        const std::string base = facts(way.back()).base;
        const bool there = !base.empty() && std::ranges::binary_search(files_, base) &&
                           std::ranges::find(way, base) == way.end();
        if (!there || !facts(base).format) {
            break;
        }
        const bool all = std::ranges::all_of(
            way, [&](const std::string& upper) { return extends(stem_of(upper), stem_of(base)); });
        way.push_back(base);
        root = all ? base : root;
    }
    return root;
}

std::vector<Layer> LayerFinder::named(std::string_view stem,
                                      const std::vector<std::string>& files) {
    const std::string path = path_of(std::string(stem));
    std::vector<Layer> layers;
    std::int64_t time = 0;
    for (const std::string& file : files) {
        const bool newest = file == files.back();
        // Copied files may all have one time, or any: the order is certain, and names are unique.
        time = std::max({time + 1, facts(file).written, std::int64_t{1}});
        const std::string when = time_text(time, path.contains('/'));
        auto name = DiskName::parse(newest ? path : fmt::format("{}@{}", path, when));
        if (!name || (!newest && when.empty())) {
            return {};
        }
        layers.push_back({file, *facts(file).format, std::move(*name)});
    }
    return layers;
}

// The files whose names go on from STEM, until SEE says false.
void LayerFinder::each_longer(std::string_view stem,
                              const std::function<bool(const std::string&)>& see) const {
    for (const char separator : kSeparators) {
        const std::string prefix = std::string(stem) + separator;
        for (auto file = std::ranges::lower_bound(files_, prefix);
             file != files_.end() && file->starts_with(prefix); ++file) {
            if (extends(stem_of(*file), stem) && !see(*file)) {
                return;
            }
        }
    }
}

// A second layer on one file ends it: nobody can say which of them is the disk.
std::vector<Layer> LayerFinder::layers_from(const std::string& root, std::string* note) {
    if (!format_of_path(root) || !facts(root).format) {
        return {};
    }
    const std::string_view stem = stem_of(root);
    std::map<std::string, std::vector<std::string>> based_on;
    std::size_t members = 0;
    each_longer(stem, [&](const std::string& file) {
        if (++members > kMostMembers) {
            return false;
        }
        if (const Facts& known = facts(file); known.format && !known.base.empty()) {
            based_on[known.base].push_back(file);
        }
        return true;
    });
    if (members > kMostMembers) {
        return {};
    }
    std::vector<std::string> chain{root};
    for (auto next = based_on.find(root); next != based_on.end();
         next = based_on.find(chain.back())) {
        if (next->second.size() > 1) {
            if (note != nullptr) {
                *note = fmt::format(
                    "image {}: both {} and {} are based on it, so its layers are no restore "
                    "points; each has the name of its file",
                    display_path(repository_, path_of(next->first)), escaped(next->second[0]),
                    escaped(next->second[1]));
            }
            return {};
        }
        if (chain.size() == kMostLayers) {
            return {};
        }
        chain.push_back(next->second.front());
    }
    return chain.size() > 1 ? named(stem, chain) : std::vector<Layer>();
}

std::vector<Layer> LayerFinder::layers_of(const std::string& file) {
    if (!std::ranges::binary_search(files_, file)) {
        return {};
    }
    auto layers = layers_from(root_of(file), nullptr);
    return std::ranges::find(layers, file, &Layer::file) == layers.end() ? std::vector<Layer>()
                                                                         : layers;
}

std::vector<std::vector<Layer>> LayerFinder::all(std::vector<std::string>& notes) {
    std::vector<std::vector<Layer>> chains;
    for (const std::string& file : files_) {
        const auto format = format_of_path(file);
        if (format != ImageFormat::raw && format != ImageFormat::qcow2) {
            continue;
        }
        // Most files have no other whose name goes on from theirs: nothing is read for them.
        bool alone = true;
        each_longer(stem_of(file), [&](const std::string&) { return alone = false; });
        if (alone || root_of(file) != file) {
            continue;
        }
        std::string note;
        if (auto layers = layers_from(file, &note); !layers.empty()) {
            chains.push_back(std::move(layers));
        } else if (!note.empty()) {
            notes.push_back(std::move(note));
        }
    }
    return chains;
}

std::vector<std::string> files_for_layers(const Repository& repository,
                                          const std::string& directory, std::string_view file) {
    auto fd = open_beneath(repository.root(), directory.empty() ? "." : directory,
                           O_RDONLY | O_DIRECTORY);
    if (!fd) {
        return {};
    }
    const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(fd->get()), ::closedir);
    if (!stream) {
        return {};
    }
    fd->release();
    // However a chain's first file is called, all of its names begin like this.
    const std::string_view beginning = file.substr(0, file.find_first_of(kSeparators, 1));
    std::vector<std::string> files;
    std::size_t count = 0;
    while (const dirent* entry = ::readdir(stream.get())) {
        const std::string_view name = entry->d_name;
        if (is_ignored_component(name) || entry->d_type == DT_DIR) {
            continue;
        }
        if (++count > LayerFinder::kMostFiles) {
            return {};
        }
        if (name.starts_with(beginning)) {
            files.emplace_back(name);
        }
    }
    return files;
}

}  // namespace signpost
