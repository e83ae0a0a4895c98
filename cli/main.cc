// SPDX-License-Identifier: BSD-3-Clause
//
// signpost, the operator's command: runs one verb.

#include <unistd.h>

#include <array>
#include <cstdlib>

#include "catalog/catalog.h"
#include "cli/command_line.h"
#include "cli/verbs.h"
#include "terminal/command_main.h"

namespace signpost {

namespace {

std::string environment(const char* name) {
    const char* value = std::getenv(name);
    return value != nullptr ? value : "";
}

Defaults defaults() {
    Defaults values;
    values.catalog = environment("SIGNPOST_CATALOG");
    if (values.catalog.empty()) {
        values.catalog = default_catalog_url();
    }
    values.server = environment("SIGNPOST_SERVER");
    values.disk_socket = environment("SIGNPOST_DISK_SOCKET");
    values.state_directory = default_state_directory();
    std::array<char, 256> host{};
    if (::gethostname(host.data(), host.size() - 1) == 0) {
        values.host_name = host.data();
    }
    return values;
}

VerbResult run_command(Console& console, const std::vector<std::string>& words) {
    const auto parsed = parse_command_line(words, defaults());
    if (!parsed) {
        return std::unexpected(parsed.error());
    }
    if (const auto* answer = std::get_if<Answer>(&*parsed)) {
        console.out(answer->text);
        return ExitCode::ok;
    }
    const auto& invocation = std::get<Invocation>(*parsed);
    console.set_color(invocation.options.color);
    const Context context{invocation.options, console};
    return std::visit([&](const auto& verb) { return run(context, verb); }, invocation.verb);
}

}  // namespace

}  // namespace signpost

int main(int argc, char** argv) {
    return signpost::command_main("signpost", argc, argv, signpost::run_command);
}
