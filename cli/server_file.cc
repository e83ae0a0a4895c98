// SPDX-License-Identifier: BSD-3-Clause

// Before anything else: see there.
#include "nbd-server/disk/toml.h"

#include "cli/server_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "catalog/disk_name.h"
#include "nbd-server/disk/beneath.h"
#include "nbd-server/disk/unique_fd.h"

namespace signpost {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxFile = 1024 * 1024;

Result<std::string> read_text(const std::string& path) {
    const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    std::string text(kMaxFile, '\0');
    const ssize_t got = file ? ::read(file.get(), text.data(), text.size()) : -1;
    if (got < 0) {
        const Errc code = errno == ENOENT   ? Errc::not_found
                          : errno == EACCES ? Errc::denied
                                            : Errc::io;
        return fail(code, fmt::format("{}: {}", escaped(path), error_text(errno)));
    }
    text.resize(static_cast<std::size_t>(got));
    return text;
}

std::string path_at(const fs::path& base, const toml::node_view<const toml::node>& node) {
    const auto text = node.value<std::string>();
    return text ? (base / *text).lexically_normal().string() : "";
}

}  // namespace

Result<ServerFile> ServerFile::read(const std::string& path) {
    const auto text = read_text(path);
    if (!text) {
        return std::unexpected(text.error());
    }
    const toml::parse_result parsed = toml::parse(*text, path);
    if (!parsed) {
        return fail(Errc::invalid,
                    fmt::format("{}:{}: {}", escaped(path), parsed.error().source().begin.line,
                                escaped(parsed.error().description(), 400)));
    }
    const toml::table& root = parsed.table();
    std::error_code ignored;
    const fs::path base = fs::absolute(path, ignored).parent_path();
    ServerFile file;
    if (const toml::array* list = root["repository"].as_array()) {
        for (const toml::node& each : *list) {
            file.repositories.push_back(path_at(base, toml::node_view<const toml::node>(each)));
        }
    } else if (root["repository"].is_string()) {
        file.repositories.push_back(path_at(base, root["repository"]));
    }
    file.state = path_at(base, root["state"]);
    file.cache = path_at(base, root["cache"]["directory"]);
    file.server = root["server"].value_or(std::string());
    file.uri = root["uri"].value_or(std::string());
    file.certificates = path_at(base, root["tls"]["certificates"]);
    file.peer_certificates = path_at(base, root["peers"]["tls-certificates"]);
    if (auto copies = parse_wished_copies(*text, path)) {
        file.copies = std::move(*copies);
    }
    return file;
}

}  // namespace signpost
