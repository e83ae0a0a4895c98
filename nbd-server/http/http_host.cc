// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/http/http_host.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>

namespace signpost {

namespace {

constexpr std::size_t kMaxHost = 255;
constexpr std::size_t kMaxPort = 5;

char lower(char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool is_port(std::string_view text) {
    return text.size() <= kMaxPort &&
           std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

bool is_name(std::string_view text) {
    return !text.empty() && text.size() <= kMaxHost && std::ranges::all_of(text, [](char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == '-' || c == '.' || c == '_';
    });
}

bool is_address(const std::string& host) {
    std::array<unsigned char, sizeof(in6_addr)> room{};
    return ::inet_pton(AF_INET, host.c_str(), room.data()) == 1 ||
           ::inet_pton(AF_INET6, host.c_str(), room.data()) == 1;
}

}  // namespace

std::string host_of_header(std::string_view header) {
    if (header.size() > kMaxHost + kMaxPort + 3) {
        return {};
    }
    std::string text(header);
    std::ranges::transform(text, text.begin(), lower);
    std::string_view host = text;
    std::string_view port;
    if (host.starts_with('[')) {
        const auto end = host.find(']');
        if (end == host.npos) {
            return {};
        }
        port = host.substr(end + 1);
        host = host.substr(1, end - 1);
        if (!is_address(std::string(host)) || host.find(':') == host.npos) {
            return {};
        }
    } else {
        const auto colon = std::min(host.find(':'), host.size());
        port = host.substr(colon);
        host = host.substr(0, colon);
        if (host.ends_with('.')) {
            host.remove_suffix(1);
        }
        if (!is_name(host) || host.ends_with('.')) {
            return {};
        }
    }
    const bool sound = port.empty() || (port.starts_with(':') && is_port(port.substr(1)));
    return sound ? std::string(host) : std::string();
}

HostNames::HostNames(std::vector<std::string> names) : names_(std::move(names)) {
    for (std::string& name : names_) {
        std::ranges::transform(name, name.begin(), lower);
    }
    names_.emplace_back("localhost");
}

bool HostNames::knows(std::string_view header) const {
    const std::string host = host_of_header(header);
    return !host.empty() && (is_address(host) || std::ranges::count(names_, host) > 0);
}

}  // namespace signpost
