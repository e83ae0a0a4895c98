// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/disk/qemu_nbd_command.h"

#include <fmt/core.h>
#include <sys/stat.h>

#include <nlohmann/json.hpp>
#include <utility>

namespace signpost {
namespace {

bool has_backing(ImageFormat format) {
    return format == ImageFormat::qcow2 || format == ImageFormat::vmdk;
}

// qemu opens the file anew through /proc: it then has its own offset and locks, and works on any
// file system that lets us open it.
nlohmann::json file_node(const ImageFile& file, int descriptor) {
    struct stat status {};
    const bool device = ::fstat(file.fd.get(), &status) == 0 && S_ISBLK(status.st_mode);
    return {{"driver", device ? "host_device" : "file"},
            {"filename", fmt::format("/proc/self/fd/{}", descriptor)}};
}

// From the bottom up. A null backing at the end of the chain overrules what the header says.
nlohmann::json chain_node(const std::vector<ImageFile>& chain, int first_file) {
    nlohmann::json below;
    for (std::size_t i = chain.size(); i-- > 0;) {
        const ImageFile& file = chain[i];
        nlohmann::json node{{"driver", std::string(to_string(file.format))},
                            {"file", file_node(file, first_file + static_cast<int>(i))}};
        if (has_backing(file.format)) {
            node["backing"] = std::move(below);
        }
        if (file.format == ImageFormat::vpc) {
            // The geometry in the header is rounded by some tools; this field is not.
            node["force_size_calc"] = "current_size";
        }
        below = std::move(node);
    }
    return below;
}

}  // namespace

std::vector<std::string> qemu_nbd_arguments(const OpenImage& image, int first_file) {
    std::vector<std::string> arguments{"--persistent", "--shared=0",
                                       fmt::format("--export-name={}", kHelperExport)};
    if (image.writable) {
        arguments.insert(arguments.end(),
                         {"--cache=writeback", "--discard=unmap", "--detect-zeroes=off"});
    } else {
        arguments.emplace_back("--read-only");
    }
    arguments.push_back("json:" + chain_node(image.chain, first_file).dump());
    return arguments;
}

}  // namespace signpost
