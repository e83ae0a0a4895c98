// SPDX-License-Identifier: BSD-3-Clause
//
// Records for tests, short to write.

#pragma once

#include <fmt/format.h>

#include <memory>
#include <string>
#include <string_view>

#include "catalog/catalog.h"

namespace signpost::test {

inline DiskName disk(std::string_view name) {
    return DiskName::parse(name).value();
}

inline Image image(std::string_view name, std::string_view fingerprint = "r-1",
                   std::uint64_t size = 1 << 20) {
    return {.name = disk(name),
            .export_name = std::string(name),
            .size = size,
            .fingerprint = std::string(fingerprint)};
}

inline Server server(std::string_view name, std::string_view uri = "nbd://127.0.0.1:10810",
                     std::string_view instance = "") {
    Server made;
    made.name = name;
    if (!uri.empty())
        made.uris.push_back(NbdUri::parse(uri).value());
    made.instance = instance;
    return made;
}

inline Server foreign_server(std::string_view name) {
    Server made = server(name);
    made.kind = ServerKind::foreign;
    return made;
}

inline Job job(char digit, std::string_view name = "a", std::string_view target = "beta") {
    return {.id = std::string(32, digit), .disk = disk(name), .target = std::string(target)};
}

inline Publication images(std::vector<Image> all) {
    return {.images = std::move(all)};
}

inline Publication all_images(std::vector<Image> all) {
    return {.images = std::move(all), .complete = true};
}

inline std::string digest(char digit) {
    return "sha256-32k:" + std::string(64, digit);
}

// The one location of a disk that has just one.
inline Location only_location(Catalog& catalog, std::string_view name) {
    const auto found = catalog.find(disk(name)).value();
    if (!found || found->locations.size() != 1)
        throw std::runtime_error(fmt::format("{} has not exactly one location", name));
    return found->locations.front();
}

inline std::vector<std::string> names(const std::vector<DiskRecord>& records) {
    std::vector<std::string> all;
    for (const DiskRecord& record : records)
        all.push_back(record.name.str());
    return all;
}

}  // namespace signpost::test
