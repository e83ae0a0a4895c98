// SPDX-License-Identifier: BSD-3-Clause

#include "cli/first_configuration.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <filesystem>

#include "nbd-server/disk/repository.h"
#include "nbd-server/disk/unique_fd.h"

namespace signpost {

namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kSearch{1};
constexpr int kDepth = 5;
constexpr std::uint16_t kPortsTried = 100;

std::string toml_list(std::span<const std::string> texts) {
    std::string list;
    for (const std::string& text : texts) {
        list += list.empty() ? toml_text(text) : ", " + toml_text(text);
    }
    return "[" + list + "]";
}

// Of signpost-pool: its volumes lead to other servers, and publishing them would be going round.
bool is_pool(const fs::path& directory) {
    return directory.filename() == "signpost" && directory.parent_path().filename() == "images";
}

std::uint64_t count_images(const std::string& directory) {
    const auto end = Clock::now() + kSearch;
    std::uint64_t images = 0;
    std::error_code error;
    const auto options = fs::directory_options::skip_permission_denied;
    for (fs::recursive_directory_iterator entry(directory, options, error), last;
         !error && entry != last && Clock::now() < end; entry.increment(error)) {
        std::error_code ignored;
        if (entry->is_directory(ignored)) {
            if (entry.depth() >= kDepth || is_pool(entry->path())) {
                entry.disable_recursion_pending();
            }
        } else if (format_of_path(entry->path().filename().string()) &&
                   entry->is_regular_file(ignored)) {
            ++images;
        }
    }
    return images;
}

// PATH itself, or something above or beneath it.
bool overlap(const std::string& path, const std::string& other) {
    const std::string a = path + "/";
    const std::string b = other + "/";
    return a.starts_with(b) || b.starts_with(a);
}

bool can_listen(std::uint16_t port, bool loopback) {
    const UniqueFd probe(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int on = 1;
    ::setsockopt(probe.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(loopback ? INADDR_LOOPBACK : INADDR_ANY);
    return probe &&
           ::bind(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
           ::listen(probe.get(), 1) == 0;
}

}  // namespace

std::string toml_text(std::string_view text) {
    std::string quoted = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') {
            quoted += '\\';
            quoted += c;
        } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
            quoted += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
        } else {
            quoted += c;
        }
    }
    return quoted + "\"";
}

std::string first_configuration_text(const FirstConfiguration& configuration) {
    std::string text =
        "# The Signpost server of this machine, as `signpost init` wrote it. signpost.toml(5) has\n"
        "# all keys. After a change:\n"
        "#     signpostd --config FILE --check-config\n\n";
    text += "# What is served: every image below these directories. None: a gateway to others.\n";
    text += fmt::format("repository = {}\n\n", toml_list(configuration.repositories));
    text += "# The catalog that the servers share: who has which disk.\n";
    text += fmt::format("catalog = {}\n\n", toml_text(configuration.catalog));
    text += "# Who this server is in it, and where clients and other servers reach it.\n";
    text += fmt::format("server = {}\nuri = {}\n", toml_text(configuration.server),
                        toml_text(configuration.uri.str()));
    if (!configuration.site.empty()) {
        text += fmt::format("site = {}\n", toml_text(configuration.site));
    }
    text += "\n# Where clients come in. \":10809\" is every address of this machine.\n";
    text += fmt::format("listen = {}\n", toml_list(configuration.listen));
    if (!configuration.http.empty()) {
        text += "\n# The console for browsers, and metrics at /metrics.\n";
        text += fmt::format("http = [{}]\n", toml_text(configuration.http));
    }
    if (configuration.writable) {
        text += "\n# Clients may write; [[access]] rules can say which, and to which disks.\n";
        text += "writable = true\n";
    }
    if (!configuration.certificates.empty()) {
        text +=
            "\n# Only clients and servers with a certificate of this authority get in.\n"
            "[tls]\n";
        text += fmt::format("certificates = {}\nmode = \"require\"\n",
                            toml_text(configuration.certificates));
    }
    return text;
}

std::vector<ImagePlace> find_images(std::span<const std::string> directories) {
    std::vector<ImagePlace> places;
    for (const std::string& directory : directories) {
        const bool seen = std::ranges::any_of(
            places, [&](const ImagePlace& place) { return overlap(place.directory, directory); });
        if (const std::uint64_t images = seen ? 0 : count_images(directory); images > 0) {
            places.push_back({directory, images});
        }
    }
    return places;
}

std::vector<std::string> usual_directories() {
    return {"/srv/backup",  "/srv/backups", "/srv/images",        "/srv",
            "/var/backups", "/backup",      "/backups",           "/mnt/backup",
            "/data/backup", "/data/images", "/var/lib/vz/images", "/var/lib/libvirt/images"};
}

bool is_loopback(std::string_view host) {
    return host == "localhost" || host == "::1" || host.starts_with("127.");
}

std::optional<std::uint16_t> free_port_from(std::uint16_t port, bool loopback) {
    for (std::uint16_t i = 0; i < kPortsTried && port < 65535; ++i, ++port) {
        if (can_listen(port, loopback)) {
            return port;
        }
    }
    return std::nullopt;
}

}  // namespace signpost
