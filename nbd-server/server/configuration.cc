// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/server/configuration.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "catalog/disk_name.h"
#include "nbd-server/server/command_line.h"
#include "nbd-server/server/configuration_file.h"
#include "nbd-server/server/configuration_options.h"
#include "nbd-server/server/configuration_values.h"
#include "nbd-server/server/service_notify.h"

namespace signpost {
namespace {

constexpr std::string_view kPrefix = "SIGNPOST_";
constexpr std::size_t kMaxSocketPath = 107;

std::unexpected<Error> bad_address(std::string_view text, std::string_view why) {
    return fail(Errc::invalid, fmt::format("\"{}\": {}; write ADDR:PORT, [ADDR6]:PORT, :PORT, "
                                           "unix:PATH or systemd",
                                           escaped(text), why));
}

// A name or a number, with `%` an interface; whether there is such a host shows when it is bound.
bool is_host(std::string_view host) {
    return host.size() <= 255 && std::ranges::all_of(host, [](char c) {
               return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                      std::string_view(".-_:%").find(c) != std::string_view::npos;
           });
}

Result<ListenAddress> parse_tcp(std::string_view text) {
    const std::size_t colon = text.rfind(':');
    if (colon == text.npos) {
        return bad_address(text, "no port");
    }
    ListenAddress address;
    std::string_view host = text.substr(0, colon);
    const std::string_view digits = text.substr(colon + 1);
    const auto port = number_in(digits, 0, 65535);
    if (!port) {
        return bad_address(text, fmt::format("port {}", port.error().message));
    }
    address.port = static_cast<std::uint16_t>(*port);
    const bool bracketed = host.starts_with('[') && host.ends_with(']');
    if (bracketed) {
        host = host.substr(1, host.size() - 2);
    }
    if (bracketed != (host.find(':') != host.npos)) {
        return bad_address(text, bracketed ? "no IPv6 address in the brackets"
                                           : "an IPv6 address stands in brackets");
    }
    if (host != "*" && !is_host(host)) {
        return bad_address(text, "no address");
    }
    address.host = host == "*" ? "" : host;
    return address;
}

std::vector<Setting> environment_settings(const ServerEnvironment& environment,
                                          const std::string& directory) {
    std::vector<Setting> settings;
    for (const OptionInfo& option : all_options()) {
        std::string name(kPrefix);
        for (const char c : option.flag) {
            name += c == '-' ? '_' : static_cast<char>(c - ('a' - 'A'));
        }
        const auto found = environment.variables.find(name);
        if (found != environment.variables.end() && !found->second.empty()) {
            settings.push_back({std::string(option.key), {found->second}, name, directory});
        }
    }
    return settings;
}

std::vector<std::string> configuration_paths(const ServerCommandLine& line,
                                             const ServerEnvironment& environment) {
    const auto found = environment.variables.find("SIGNPOST_CONFIG");
    if (line.config.empty() && found != environment.variables.end() && !found->second.empty()) {
        return {found->second};
    }
    return line.config;
}

ServerAnswer mistakes_answer(const ConfigurationDraft& draft) {
    ServerAnswer answer{2, "", ""};
    for (const std::string& mistake : draft.mistakes()) {
        answer.errors += mistake + "\n";
    }
    return answer;
}

ServerAnswer good_answer(const ServerConfiguration& configuration) {
    ServerAnswer answer;
    for (const std::string& warning : configuration.warnings) {
        answer.errors += fmt::format("warning: {}\n", warning);
    }
    answer.output = "the configuration is good\n";
    return answer;
}

}  // namespace

Result<ListenAddress> ListenAddress::parse(std::string_view text) {
    constexpr std::string_view kUnix = "unix:";
    constexpr std::string_view kSystemd = "systemd";
    ListenAddress address;
    if (text.starts_with(kUnix)) {
        address = {Kind::unix_socket, "", 0, std::string(text.substr(kUnix.size()))};
        if (address.name.empty() || address.name.size() > kMaxSocketPath ||
            address.name.find('\0') != address.name.npos) {
            return bad_address(text,
                               fmt::format("a socket's path has 1 to {} bytes", kMaxSocketPath));
        }
        return address;
    }
    if (text == kSystemd || text.starts_with("systemd:")) {
        address = {Kind::systemd, "", 0, ""};
        if (text != kSystemd) {
            address.name = text.substr(kSystemd.size() + 1);
        }
        return address;
    }
    return parse_tcp(text);
}

std::string ListenAddress::str() const {
    switch (kind) {
        case Kind::unix_socket:
            return "unix:" + name;
        case Kind::systemd:
            return name.empty() ? "systemd" : "systemd:" + name;
        case Kind::tcp:
            break;
    }
    return host.find(':') != host.npos ? fmt::format("[{}]:{}", host, port)
                                       : fmt::format("{}:{}", host, port);
}

ServerEnvironment ServerEnvironment::of_process() {
    ServerEnvironment environment;
    for (char** each = environ; each != nullptr && *each != nullptr; ++each) {
        const std::string_view entry = *each;
        const std::size_t equals = entry.find('=');
        if (entry.starts_with(kPrefix) && equals != entry.npos) {
            environment.variables.emplace(entry.substr(0, equals), entry.substr(equals + 1));
        }
    }
    environment.passed_sockets = passed_socket_count();
    std::error_code ignored;
    environment.directory = std::filesystem::current_path(ignored).string();
    return environment;
}

std::variant<ServerConfiguration, ServerAnswer> configure(const std::vector<std::string>& words,
                                                          const ServerEnvironment& environment) {
    auto parsed = parse_server_words(words, environment.directory);
    if (auto* answer = std::get_if<ServerAnswer>(&parsed)) {
        return std::move(*answer);
    }
    const auto& line = std::get<ServerCommandLine>(parsed);
    ConfigurationDraft draft;
    for (const std::string& path : configuration_paths(line, environment)) {
        const auto absolute = path_from(environment.directory, path);
        if (absolute) {
            read_configuration(*absolute, draft);
        } else {
            draft.add_mistake("--config", absolute.error().message);
        }
    }
    for (const Setting& setting : environment_settings(environment, environment.directory)) {
        draft.apply(setting);
    }
    for (const Setting& setting : line.settings) {
        draft.apply(setting);
    }
    draft.finish(environment.passed_sockets);
    if (line.check_config && draft.mistakes().empty()) {
        draft.check_files();
    }
    if (!draft.mistakes().empty()) {
        return mistakes_answer(draft);
    }
    if (line.check_config) {
        return good_answer(draft.configuration);
    }
    return std::move(draft.configuration);
}

}  // namespace signpost
