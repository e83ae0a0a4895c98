// SPDX-License-Identifier: BSD-3-Clause
#include "catalog/nbd_uri.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <sys/un.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "catalog/disk_name.h"

namespace signpost {

namespace {

constexpr std::size_t kMaxUri = 16384;  // more than an export name of the longest kind, encoded
constexpr std::size_t kMaxExportName = 4096;  // the protocol's limit on strings
constexpr std::size_t kMaxHost = 253;
constexpr std::size_t kMaxSocketPath = sizeof(sockaddr_un::sun_path) - 1;

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

bool is_alnum(char c) {
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

char lower(char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

int hex_value(char c) {
    if (is_digit(c))
        return c - '0';
    c = lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// Nothing when an escape is cut short or not hexadecimal.
std::optional<std::string> percent_decoded(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '%') {
            out += text[i];
            continue;
        }
        if (text.size() - i < 3 || hex_value(text[i + 1]) < 0 || hex_value(text[i + 2]) < 0)
            return std::nullopt;
        out += static_cast<char>(hex_value(text[i + 1]) * 16 + hex_value(text[i + 2]));
        i += 2;
    }
    return out;
}

std::string percent_encoded(std::string_view text) {
    constexpr std::string_view kPlain = "-._~/@:";
    std::string out;
    for (const char c : text) {
        if (is_alnum(c) || kPlain.find(c) != std::string_view::npos)
            out += c;
        else
            out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
    return out;
}

// An IPv6 address has colons, which would be taken for the port's.
std::string bracketed(const std::string& host) {
    return host.find(':') == std::string::npos ? host : "[" + host + "]";
}

// What is wrong; empty when nothing is. The caller quotes the URI around it.
using Fault = std::string;

Fault read_scheme(std::string_view text, NbdUri& uri, bool& unix_socket) {
    std::string scheme(text);
    std::transform(scheme.begin(), scheme.end(), scheme.begin(), lower);
    uri.tls = scheme.starts_with("nbds");
    unix_socket = scheme.ends_with("+unix");
    if (scheme == "nbd" || scheme == "nbds" || scheme == "nbd+unix" || scheme == "nbds+unix")
        return {};
    return "its scheme is none of nbd, nbds, nbd+unix, nbds+unix";
}

Fault read_port(std::string_view text, NbdUri& uri) {
    std::uint32_t port = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
    const bool number = error == std::errc() && end == text.data() + text.size();
    if (!number || text.size() > 5 || port < 1 || port > 65535)
        return "its port is not a number from 1 to 65535";
    uri.port = static_cast<std::uint16_t>(port);
    return {};
}

Fault read_ipv6(std::string_view text, NbdUri& uri) {
    in6_addr address;
    const std::string host(text);
    if (text.find('\0') != std::string_view::npos ||
        inet_pton(AF_INET6, host.c_str(), &address) != 1)
        return "what is in brackets is not an IPv6 address";
    uri.host = host;
    return {};
}

// A host name that begins with a hyphen could be taken for an option by whatever it is handed to.
Fault read_host(std::string_view text, NbdUri& uri) {
    const auto fits = [](char c) { return is_alnum(c) || c == '.' || c == '-' || c == '_'; };
    if (text.empty())
        return "it has no host";
    if (text.size() > kMaxHost || text.front() == '-' ||
        !std::all_of(text.begin(), text.end(), fits))
        return "its host is neither a host name nor an IP address (IPv6 goes in brackets)";
    uri.host = text;
    return {};
}

Fault read_authority(std::string_view text, NbdUri& uri) {
    if (text.find('@') != std::string_view::npos)
        return "it has a user name, which NBD does not know";
    const bool bracket = text.starts_with('[');
    const std::size_t close = bracket ? text.find(']') : 0;
    if (close == std::string_view::npos)
        return "its bracket is not closed";
    const std::size_t host_end = bracket ? close + 1 : std::min(text.find(':'), text.size());
    const auto host = text.substr(0, host_end);
    Fault fault = bracket ? read_ipv6(host.substr(1, host.size() - 2), uri) : read_host(host, uri);
    const auto rest = text.substr(host_end);
    if (!fault.empty() || rest.empty())
        return fault;
    if (rest.front() != ':')
        return "something stands between its host and its path";
    return read_port(rest.substr(1), uri);
}

Fault read_export(std::string_view path, NbdUri& uri) {
    if (path.starts_with('/'))
        path.remove_prefix(1);
    const auto name = percent_decoded(path);
    if (!name)
        return "a % in its export name is not followed by two hexadecimal digits";
    if (name->size() > kMaxExportName)
        return "its export name is longer than 4096 bytes";
    if (!is_utf8(*name) || name->find('\0') != std::string::npos)
        return "its export name is not UTF-8 text";
    uri.export_name = *name;
    return {};
}

bool is_socket_path(std::string_view path) {
    const auto control = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; };
    return path.starts_with('/') && path.size() <= kMaxSocketPath && is_utf8(path) &&
           std::none_of(path.begin(), path.end(), control);
}

Fault read_socket(std::string_view query, NbdUri& uri) {
    constexpr std::string_view kKey = "socket=";
    if (!query.starts_with(kKey) || query.find('&') != std::string_view::npos)
        return "its query must be socket=/PATH and nothing else";
    const auto path = percent_decoded(query.substr(kKey.size()));
    if (!path || !is_socket_path(*path))
        return fmt::format("its socket is not an absolute path of at most {} bytes",
                           kMaxSocketPath);
    uri.socket_path = *path;
    return {};
}

Fault read_server(std::string_view authority, std::optional<std::string_view> query,
                  bool unix_socket, NbdUri& uri) {
    if (!unix_socket)
        return query ? Fault("it has a query, which is for nbd+unix only")
                     : read_authority(authority, uri);
    if (!authority.empty())
        return "a Unix socket has no host: three slashes follow the scheme";
    return read_socket(query.value_or(""), uri);
}

Fault read_uri(std::string_view text, NbdUri& uri) {
    const auto unfit = [](char c) { return static_cast<unsigned char>(c) <= 0x20 || c == 0x7F; };
    if (text.size() > kMaxUri)
        return "it is too long";
    if (std::any_of(text.begin(), text.end(), unfit))
        return "it has a space or a control character (write a space as %20)";
    if (text.find('#') != std::string_view::npos)
        return "it has a fragment (write # as %23)";
    const std::size_t colon = text.find("://");
    if (colon == std::string_view::npos)
        return "it has no scheme";
    bool unix_socket = false;
    if (Fault fault = read_scheme(text.substr(0, colon), uri, unix_socket); !fault.empty())
        return fault;
    text.remove_prefix(colon + 3);

    std::optional<std::string_view> query;
    if (const std::size_t mark = text.find('?'); mark != std::string_view::npos) {
        query = text.substr(mark + 1);
        text = text.substr(0, mark);
    }
    const std::size_t path = std::min(text.find('/'), text.size());
    Fault fault = read_server(text.substr(0, path), query, unix_socket, uri);
    return fault.empty() ? read_export(text.substr(path), uri) : fault;
}

}  // namespace

Result<NbdUri> NbdUri::parse(std::string_view text) {
    NbdUri uri;
    if (const Fault fault = read_uri(text, uri); !fault.empty())
        return fail(Errc::invalid,
                    fmt::format("\"{}\" is not an NBD URI: {}; write nbd://HOST:PORT/EXPORT or "
                                "nbd+unix:///EXPORT?socket=/PATH",
                                escaped(text), fault));
    return uri;
}

std::string NbdUri::str() const {
    const std::string name = percent_encoded(export_name);
    if (is_unix())
        return fmt::format("{}:///{}?socket={}", tls ? "nbds+unix" : "nbd+unix", name,
                           percent_encoded(socket_path));
    std::string out = tls ? "nbds://" : "nbd://";
    out += bracketed(host);
    if (port != kDefaultPort)
        out += fmt::format(":{}", port);
    return name.empty() ? out : out + "/" + name;
}

NbdUri NbdUri::with_export(std::string_view name) const {
    NbdUri other = *this;
    other.export_name = name;
    return other;
}

std::string NbdUri::endpoint() const {
    if (is_unix())
        return socket_path;
    return fmt::format("{}:{}", bracketed(host), port);
}

}  // namespace signpost
