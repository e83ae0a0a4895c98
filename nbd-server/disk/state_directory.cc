// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/disk/state_directory.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "catalog/disk_name.h"

namespace signpost {

namespace {

std::unexpected<Error> cannot_keep(const std::string& directory, const std::error_code& error) {
    Errc code = Errc::io;
    if (error == std::errc::permission_denied || error == std::errc::read_only_file_system ||
        error == std::errc::operation_not_permitted) {
        code = Errc::denied;
    } else if (error == std::errc::no_space_on_device) {
        code = Errc::full;
    }
    return fail(code, fmt::format("state directory {}: {}", escaped(directory), error.message()));
}

}  // namespace

Result<std::string> own_state_directory(const std::string& base, const std::string& server) {
    if (base.empty()) {
        return fail(Errc::invalid, "no state directory is given");
    }
    std::error_code error;
    std::filesystem::create_directories(base, error);
    const std::string directory = base + '/' + server;
    if (!error && ::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
        error = std::error_code(errno, std::system_category());
    }
    if (!error && !std::filesystem::is_directory(directory, error) && !error) {
        error = std::make_error_code(std::errc::not_a_directory);
    }
    if (!error && ::access(directory.c_str(), R_OK | X_OK) != 0) {
        error = std::error_code(errno, std::system_category());
    }
    if (error) {
        return cannot_keep(directory, error);
    }
    return directory;
}

}  // namespace signpost
