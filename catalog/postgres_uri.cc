// SPDX-License-Identifier: BSD-3-Clause
#include "catalog/postgres_uri.h"

#include <fmt/format.h>
#include <libpq-fe.h>
#include <stdlib.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <memory>
#include <optional>

#include "catalog/disk_name.h"

namespace signpost {

namespace {

// A shorter one would be found in every other word.
constexpr std::size_t kShortestSecret = 4;
constexpr std::size_t kMaxShown = 300;
constexpr std::string_view kDefaultPort = "5432";

using Options = std::vector<std::pair<std::string, std::string>>;

struct FreeOptions {
    void operator()(PQconninfoOption* options) const { PQconninfoFree(options); }
};

// libpq quotes the URI or a part of it, and with it a password: only the name of a parameter is
// worth that, because it cannot be a value.
std::string parse_fault(std::string_view text) {
    if (!text.starts_with("invalid URI query parameter"))
        text = text.substr(0, text.find(": \""));
    while (text.ends_with('\n'))
        text.remove_suffix(1);
    return escaped(text);
}

std::unexpected<Error> bad_uri(std::string_view why) {
    return fail(Errc::invalid,
                fmt::format("the catalog's postgresql:// URI cannot be read ({}); write "
                            "postgresql://USER@HOST:PORT/DATABASE, with %XX for special characters",
                            why));
}

std::vector<std::string> split(std::string_view list) {
    std::vector<std::string> parts;
    for (;;) {
        const auto comma = list.find(',');
        parts.emplace_back(list.substr(0, comma));
        if (comma == std::string_view::npos)
            return parts;
        list.remove_prefix(comma + 1);
    }
}

// The part of a list that belongs to host number INDEX: a list of one is for all.
std::string part_of(const std::vector<std::string>& parts, std::size_t index) {
    return parts.size() == 1 ? parts.front() : parts[index];
}

class ConninfoOptions {
   public:
    explicit ConninfoOptions(Options all) : all_(std::move(all)) {}

    std::string get(std::string_view keyword) const {
        const auto found = std::find_if(
            all_.begin(), all_.end(), [&](const auto& option) { return option.first == keyword; });
        return found == all_.end() ? std::string() : found->second;
    }

    const Options& all() const { return all_; }

   private:
    const Options all_;
};

// An empty one is the default.
bool is_port(std::string_view text) {
    int port = text.empty() ? 1 : 0;
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), port);
    return (text.empty() || parsed.ptr == text.data() + text.size()) && port >= 1 && port <= 65535;
}

bool is_of_one_host(std::string_view keyword) {
    return keyword == "host" || keyword == "hostaddr" || keyword == "port";
}

std::string shown_host(const std::string& host, const std::string& port) {
    if (host.empty())
        return "the default host";
    if (host.starts_with('/') || host.starts_with('@'))
        return fmt::format("socket {}/.s.PGSQL.{}", host, port.empty() ? kDefaultPort : port);
    const bool numeric6 = host.find(':') != std::string::npos;
    return fmt::format("{}{}{}:{}", numeric6 ? "[" : "", host, numeric6 ? "]" : "",
                       port.empty() ? kDefaultPort : port);
}

Result<std::vector<PostgresHost>> hosts_of(const ConninfoOptions& options) {
    const auto names = split(options.get("host"));
    const auto addresses = split(options.get("hostaddr"));
    const auto ports = split(options.get("port"));
    const std::size_t count = std::max(names.size(), addresses.size());
    if (count > kMaxPostgresHosts)
        return bad_uri(fmt::format("{} hosts; at most {} are used", count, kMaxPostgresHosts));
    const auto fits = [&](const auto& list) { return list.size() == 1 || list.size() == count; };
    if (!fits(names) || !fits(addresses) || !fits(ports))
        return bad_uri("it has not one port for each host");
    if (!std::all_of(ports.begin(), ports.end(), is_port))
        return bad_uri("a port is no number from 1 to 65535");
    std::vector<PostgresHost> hosts(count);
    for (std::size_t i = 0; i < count; ++i) {
        const std::string name = part_of(names, i);
        const std::string address = part_of(addresses, i);
        const std::string port = part_of(ports, i);
        for (const auto& option : options.all())
            if (!is_of_one_host(option.first))
                hosts[i].options.push_back(option);
        for (const auto& [keyword, value] :
             {std::pair("host", name), {"hostaddr", address}, {"port", port}})
            if (!value.empty())
                hosts[i].options.emplace_back(keyword, value);
        hosts[i].name = escaped(shown_host(name.empty() ? address : name, port));
    }
    return hosts;
}

// What is shown is for people, and is not read again.
std::string description_of(const ConninfoOptions& options) {
    const std::string user = options.get("user");
    const std::string host =
        options.get("host").empty() ? options.get("hostaddr") : options.get("host");
    const auto names = split(host);
    const auto ports = split(options.get("port"));
    const bool by_socket = host.find('/') != std::string::npos;
    std::string text = fmt::format("postgresql://{}{}", user, user.empty() ? "" : "@");
    for (std::size_t i = 0; i < names.size() && !by_socket; ++i) {
        const std::string port = ports.size() == names.size() ? ports[i] : ports.front();
        text += fmt::format("{}{}{}{}", i == 0 ? "" : ",", names[i], port.empty() ? "" : ":", port);
    }
    text += fmt::format("/{}", options.get("dbname"));
    char mark = '?';
    for (const auto* keyword : {"host", "port", "service"}) {
        const std::string value = options.get(keyword);
        if (value.empty() || (!by_socket && std::string_view(keyword) != "service"))
            continue;
        text += fmt::format("{}{}={}", mark, keyword, value);
        mark = '&';
    }
    return escaped(text, kMaxShown);
}

std::vector<std::string> secrets_of(const ConninfoOptions& options) {
    std::vector<std::string> secrets;
    const auto add = [&](const std::string& text) {
        if (text.size() >= kShortestSecret)
            secrets.push_back(text);
    };
    for (const auto* keyword : {"password", "sslpassword"})
        add(options.get(keyword));
    if (const char* value = getenv("PGPASSWORD"); value != nullptr)
        add(value);
    return secrets;
}

std::string without(std::string_view text, std::string_view secret) {
    std::string shown;
    for (auto at = text.find(secret); at != std::string_view::npos; at = text.find(secret)) {
        shown.append(text.substr(0, at)).append("***");
        text.remove_prefix(at + secret.size());
    }
    return shown.append(text);
}

// libpq writes several lines, indented by tabs.
std::string one_line(std::string_view text) {
    std::string line;
    for (const char c : text) {
        const bool blank = c == '\n' || c == '\t' || c == '\r' || c == ' ';
        if (!blank)
            line.push_back(c);
        else if (!line.empty() && line.back() != ' ')
            line.push_back(' ');
    }
    while (line.ends_with(' '))
        line.pop_back();
    return line;
}

}  // namespace

std::string PostgresTarget::safe(std::string_view text) const {
    std::string shown(text);
    for (const std::string& secret : secrets)
        shown = without(shown, secret);
    return escaped(one_line(shown), kMaxShown);
}

bool is_postgres_uri(std::string_view url) {
    return url.starts_with("postgresql://") || url.starts_with("postgres://");
}

std::vector<std::string> postgres_files(std::string_view uri) {
    constexpr std::array kKeywords{"passfile",    "sslcert", "sslkey",
                                   "sslrootcert", "sslcrl",  "sslcrldir"};
    std::vector<std::string> files;
    const auto add = [&](const std::string& path) {
        if (path.starts_with('/'))
            files.push_back(path);
    };
    if (const auto target = parse_postgres_uri(uri))
        for (const auto& [keyword, value] : target->hosts.front().options)
            if (std::find(kKeywords.begin(), kKeywords.end(), keyword) != kKeywords.end())
                add(value);
    for (const auto* variable :
         {"PGPASSFILE", "PGSERVICEFILE", "PGSSLCERT", "PGSSLKEY", "PGSSLROOTCERT", "PGSSLCRL"})
        if (const char* value = getenv(variable); value != nullptr)
            add(value);
    if (const char* home = getenv("HOME"); home != nullptr)
        for (const auto* name : {".pgpass", ".pg_service.conf", ".postgresql"})
            add(fmt::format("{}/{}", home, name));
    return files;
}

Result<PostgresTarget> parse_postgres_uri(std::string_view uri) {
    if (uri.find('\0') != std::string_view::npos)
        return bad_uri("it holds a NUL byte");
    char* error = nullptr;
    const std::unique_ptr<PQconninfoOption, FreeOptions> parsed(
        PQconninfoParse(std::string(uri).c_str(), &error));
    const std::unique_ptr<char, void (*)(void*)> fault(error, PQfreemem);
    if (parsed == nullptr)
        return bad_uri(parse_fault(error == nullptr ? "out of memory" : error));
    Options given;
    for (const auto* option = parsed.get(); option->keyword != nullptr; ++option)
        if (option->val != nullptr && option->val[0] != '\0')
            given.emplace_back(option->keyword, option->val);
    const ConninfoOptions options(std::move(given));
    auto hosts = hosts_of(options);
    if (!hosts)
        return std::unexpected(std::move(hosts.error()));
    return PostgresTarget{std::move(*hosts), description_of(options), secrets_of(options)};
}

}  // namespace signpost
