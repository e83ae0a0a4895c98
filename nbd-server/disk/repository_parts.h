// SPDX-License-Identifier: BSD-3-Clause
//
// What RepositorySet's look-up and its scan share. Private to repository*.cc. Threads: any.

#pragma once

#include <chrono>
#include <expected>
#include <vector>

#include "nbd-server/disk/repository.h"

namespace signpost {

// The one file that gives NAME. not_found, conflict.
Result<RepositoryPath> locate_image(const std::vector<Repository>& repositories,
                                    const DiskName& name);

// The refusal of two files that give one name.
std::unexpected<Error> two_images(const std::vector<Repository>& repositories, const DiskName& name,
                                  const RepositoryPath& one, const RepositoryPath& other);

// RepositorySet::inspect, once the file is known.
Result<RepositorySet::Finding> inspect_image(const std::vector<Repository>& repositories,
                                             const DiskName& name, const RepositoryPath& where,
                                             std::chrono::milliseconds settle);

}  // namespace signpost
