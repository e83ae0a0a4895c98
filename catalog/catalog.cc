// SPDX-License-Identifier: BSD-3-Clause
#include "catalog/catalog.h"

#include <errno.h>
#include <fmt/format.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <system_error>

#include "catalog/postgres_catalog.h"
#include "catalog/postgres_uri.h"
#include "catalog/sqlite_catalog.h"

namespace signpost {

namespace {

constexpr std::string_view kSqliteScheme = "sqlite:";
constexpr std::string_view kFileName = "catalog.db";

// "word:" at the beginning, as a URL has it; empty when there is none.
std::string_view scheme_of(std::string_view url) {
    const std::size_t colon = url.find(':');
    const auto fits = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+';
    };
    if (colon == std::string_view::npos ||
        !std::all_of(url.begin(), url.begin() + static_cast<std::ptrdiff_t>(colon), fits))
        return {};
    return url.substr(0, colon + 1);
}

// The file's path as the operator gave it.
Result<std::string> sqlite_path(std::string_view url) {
    const auto scheme = scheme_of(url);
    // Not quoted: it may hold a password.
    if (scheme == "postgresql:" || scheme == "postgres:")
        return fail(Errc::invalid,
                    "the catalog's URL begins with postgresql: but is no URI; write "
                    "postgresql://HOST/DATABASE, or sqlite:PATH for a file");
    if (!scheme.empty() && scheme != kSqliteScheme)
        return fail(Errc::invalid, fmt::format("catalog \"{}\" has an unknown scheme; write "
                                               "sqlite:PATH or postgresql://HOST/DATABASE",
                                               escaped(url)));
    const auto path = url.substr(scheme.size());
    if (path.empty() || path.find('\0') != std::string_view::npos)
        return fail(Errc::invalid,
                    fmt::format("catalog \"{}\" names no file; write sqlite:PATH", escaped(url)));
    return std::string(path);
}

// An environment variable that holds an absolute path; else empty.
std::string directory_from(const char* variable) {
    const char* value = secure_getenv(variable);
    return value != nullptr && value[0] == '/' ? value : "";
}

// Only the default's own directory: a mistyped path should not become a directory.
Result<void> make_default_directory(const std::filesystem::path& file) {
    std::error_code error;
    std::filesystem::create_directories(file.parent_path(), error);
    if (!error)
        return {};
    const bool denied =
        error == std::errc::permission_denied || error == std::errc::read_only_file_system;
    return fail(denied ? Errc::denied : Errc::io,
                fmt::format("directory {} cannot be made: {}; name another catalog with "
                            "catalog=sqlite:PATH",
                            escaped(file.parent_path().string()), error.message()));
}

}  // namespace

Result<std::uint64_t> Catalog::wait_for_change(std::uint64_t since,
                                               std::chrono::steady_clock::time_point deadline) {
    constexpr std::chrono::milliseconds kPoll{500};
    std::mutex mutex;
    std::condition_variable wake;
    bool told = false;
    const auto handle = when_changed([&] {
        const std::lock_guard lock(mutex);
        told = true;
        wake.notify_all();
    });
    for (;;) {
        const auto now = change_sequence();
        if (!now || *now != since || std::chrono::steady_clock::now() >= deadline)
            return now;
        std::unique_lock lock(mutex);
        wake.wait_until(lock, std::min(deadline, std::chrono::steady_clock::now() + kPoll),
                        [&] { return told; });
        told = false;
    }
}

std::shared_ptr<void> Catalog::when_changed(std::function<void()>) {
    return nullptr;
}

Result<std::unique_ptr<Catalog>> open_catalog(std::string_view url, OpenMode mode,
                                              CatalogUser user) {
    if (is_postgres_uri(url))
        return PostgresCatalog::open(url, mode, {},
                                     user == CatalogUser::person ? kPersonsWaits : PostgresWaits());
    const auto path = sqlite_path(url);
    if (!path)
        return std::unexpected(path.error());
    std::error_code error;
    const auto absolute = std::filesystem::absolute(*path, error);
    if (error)
        return fail(Errc::io, fmt::format("catalog {} cannot be located: {}", escaped(*path),
                                          error.message()));
    const bool makes = mode == OpenMode::create || mode == OpenMode::import;
    if (makes && url == default_catalog_url())
        if (auto made = make_default_directory(absolute); !made)
            return std::unexpected(std::move(made.error()));
    return SqliteCatalog::open(absolute.string(), mode);
}

CatalogFiles catalog_files(std::string_view url) {
    if (is_postgres_uri(url))
        return {.readable = postgres_files(url)};
    const auto path = sqlite_path(url);
    std::error_code error;
    const auto absolute = std::filesystem::absolute(path.value_or(""), error);
    if (!path || error)
        return {};
    return {.writable = {absolute.parent_path().string()}};
}

std::string default_state_directory() {
    std::string directory = directory_from("STATE_DIRECTORY");
    // systemd gives several directories separated by colons; the first is ours.
    directory = directory.substr(0, directory.find(':'));
    if (directory.empty() && geteuid() == 0)
        directory = "/var/lib/signpost";
    if (directory.empty()) {
        std::string state = directory_from("XDG_STATE_HOME");
        if (state.empty())
            state = directory_from("HOME") + "/.local/state";
        directory = state + "/signpost";
    }
    return directory;
}

std::string default_catalog_url() {
    return fmt::format("{}{}/{}", kSqliteScheme, default_state_directory(), kFileName);
}

std::string describe_catalog_url(std::string_view url) {
    if (is_postgres_uri(url)) {
        const auto target = parse_postgres_uri(url);
        return target ? target->description : "postgresql";
    }
    const auto path = sqlite_path(url);
    std::error_code error;
    const auto absolute = std::filesystem::absolute(path.value_or(""), error);
    if (!path || error)
        return std::string(url.substr(0, url.find(':')));
    return fmt::format("{}{}", kSqliteScheme, absolute.string());
}

}  // namespace signpost
