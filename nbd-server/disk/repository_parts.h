// SPDX-License-Identifier: BSD-3-Clause
//
// What RepositorySet's look-up and its scan share. Private to repository*.cc. Threads: any.

#pragma once

#include <chrono>
#include <cstddef>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "nbd-server/disk/layer_chain.h"
#include "nbd-server/disk/repository.h"

namespace signpost {

// An image's file, and what it is called.
struct LocatedImage {
    DiskName name;
    RepositoryPath where;
    ImageFormat format = ImageFormat::raw;
    bool read_only = false;                    // others are based on it
    std::vector<RepositoryPath> origins = {};  // files that its name is made of, beside its path
    std::vector<DiskName> layers = {};
};

// The file with the layer at INDEX of a chain in DIRECTORY.
LocatedImage locate_layer(const RepositoryPath& directory, const std::vector<Layer>& layers,
                          std::size_t index);

// Finds the one file that gives NAME: by_name; or by_path, whatever it is called. not_found,
// conflict.
enum class Look { by_name, by_path };
Result<LocatedImage> locate_image(const std::vector<Repository>& repositories, const DiskName& name,
                                  Look look = Look::by_name);

// The path of an image without its extension, as a name by PATTERNS.
Result<DiskName> name_of_stem(std::string_view stem, const PointPatterns& patterns);

// RepositorySet::name_of.
std::optional<Result<DiskName>> name_of_file(const Repository& repository, const std::string& path);

// The refusal of two files that give one name.
std::unexpected<Error> two_images(const std::vector<Repository>& repositories, const DiskName& name,
                                  const RepositoryPath& one, const RepositoryPath& other);

// RepositorySet::inspect, once the file is known.
Result<RepositorySet::Finding> inspect_image(const std::vector<Repository>& repositories,
                                             const LocatedImage& image,
                                             std::chrono::milliseconds settle);

}  // namespace signpost
