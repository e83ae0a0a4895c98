// SPDX-License-Identifier: BSD-3-Clause

#include "terminal/command_main.h"

#include <fmt/format.h>
#include <unistd.h>

#include <csignal>
#include <exception>

namespace signpost {

namespace {

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

}  // namespace

int command_main(std::string_view program, int argc, char** argv, const CommandBody& body) {
    prepare_signals();
    Console console(STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO);
    const auto say = [&](const Failure& failure) {
        if (!failure.message.empty()) {
            console.note(fmt::format("{}: {}", program, failure.message));
        }
        return failure.code;
    };
    try {
        const auto result = body(console, std::vector<std::string>(argv + (argc > 0), argv + argc));
        ExitCode code = result ? *result : say(result.error());
        if (const auto written = console.finish(); !written) {
            code = say(written.error());
        }
        return static_cast<int>(code);
    } catch (const std::exception& error) {
        console.note(fmt::format("{}: {}; please report this", program, error.what()));
        return static_cast<int>(ExitCode::failed);
    }
}

}  // namespace signpost
