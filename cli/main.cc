// SPDX-License-Identifier: BSD-3-Clause
//
// signpost, the operator's command: puts the parts together, runs one verb, and turns how it ended
// into an exit status.

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <exception>

#include "catalog/catalog.h"
#include "cli/command_line.h"
#include "cli/console.h"
#include "cli/verbs.h"

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
    std::array<char, 256> host{};
    if (::gethostname(host.data(), host.size() - 1) == 0) {
        values.host_name = host.data();
    }
    return values;
}

// Every change of the catalog is atomic, so the command may end anywhere.
void interrupted(int /*signal*/) {
    ::_exit(static_cast<int>(ExitCode::interrupted));
}

void prepare_signals() {
    struct sigaction action {};
    action.sa_handler = interrupted;
    ::sigaction(SIGINT, &action, nullptr);
    action.sa_handler = SIG_IGN;  // a reader or a server that goes away is an error code here
    ::sigaction(SIGPIPE, &action, nullptr);
}

ExitCode say(Console& console, const Failure& failure) {
    if (!failure.message.empty()) {
        console.note(fmt::format("signpost: {}", failure.message));
    }
    return failure.code;
}

ExitCode run_command(Console& console, const std::vector<std::string>& words) {
    const auto parsed = parse_command_line(words, defaults());
    if (!parsed) {
        return say(console, parsed.error());
    }
    if (const auto* answer = std::get_if<Answer>(&*parsed)) {
        console.out(answer->text);
        return ExitCode::ok;
    }
    const auto& invocation = std::get<Invocation>(*parsed);
    console.set_color(invocation.options.color);
    const Context context{invocation.options, console};
    const VerbResult result =
        std::visit([&](const auto& verb) { return run(context, verb); }, invocation.verb);
    return result ? *result : say(console, result.error());
}

}  // namespace

}  // namespace signpost

int main(int argc, char** argv) {
    signpost::prepare_signals();
    signpost::Console console(STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO);
    try {
        signpost::ExitCode code = signpost::run_command(
            console, std::vector<std::string>(argv + (argc > 0), argv + argc));
        if (const auto written = console.finish(); !written) {
            code = signpost::say(console, written.error());
        }
        return static_cast<int>(code);
    } catch (const std::exception& error) {
        console.note(fmt::format("signpost: {}; please report this", error.what()));
        return static_cast<int>(signpost::ExitCode::failed);
    }
}
