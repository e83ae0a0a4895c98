// SPDX-License-Identifier: BSD-3-Clause
//
// `run`: a program that is given a disk at a socket of its own, for as long as it runs.

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <csignal>

#include "cli/captive_server.h"

namespace signpost {

namespace {

// The program's, for signals that are meant for it. 0: none runs.
std::atomic<pid_t> program_pid = 0;
static_assert(std::atomic<pid_t>::is_always_lock_free);

void pass_on(int number) {
    if (const pid_t pid = program_pid.load(); pid > 0) {
        ::kill(pid, number);
    }
}

// The terminal's signals reach the program by themselves; we stay until it has ended, as a shell.
void take_signals_as_shell() {
    struct sigaction action {};
    action.sa_handler = SIG_IGN;
    ::sigaction(SIGINT, &action, nullptr);
    ::sigaction(SIGQUIT, &action, nullptr);
    action.sa_handler = pass_on;
    action.sa_flags = SA_RESTART;
    ::sigaction(SIGTERM, &action, nullptr);
    ::sigaction(SIGHUP, &action, nullptr);
}

ChildCommand program_of(const RunVerb& verb, const NbdUri& uri) {
    ChildCommand command{.words = verb.command, .background = false};
    if (command.words.size() == 1) {  // as nbdkit's --run: a line for the shell
        command.words = {"/bin/sh", "-c", "--", verb.command.front()};
    }
    std::ranges::replace(command.words, std::string("$uri"), uri.str());
    const std::string server =
        uri.is_unix() ? "unix:" + uri.socket_path : fmt::format("{}:{}", uri.host, uri.port);
    command.environment = {"uri=" + uri.str(), "unixsocket=" + uri.socket_path,
                           "exportname=" + uri.export_name, "name=" + uri.export_name,
                           fmt::format("nbd=nbd:{}:exportname={}", server, uri.export_name)};
    return command;
}

VerbResult run_program(const ChildCommand& command) {
    auto program = ChildProcess::start(command);
    if (!program) {  // as a shell says it
        return failure(static_cast<ExitCode>(program.error().code == Errc::not_found ? 127 : 126),
                       program.error().message);
    }
    program_pid = program->pid();
    take_signals_as_shell();
    const auto status = program->wait(std::chrono::milliseconds(-1));
    program_pid = 0;
    return static_cast<ExitCode>(status.value_or(1));
}

}  // namespace

VerbResult run(const Context& context, const RunVerb& verb) {
    const auto scratch = ScratchDirectory::make();
    if (!scratch) {
        return failure(ExitCode::failed, scratch.error().message);
    }
    const auto disk = CaptiveDisk::open(context, *scratch, verb.disk);
    if (!disk) {
        return std::unexpected(disk.error());
    }
    if (!verb.cow) {
        return run_program(program_of(verb, disk->uri));
    }
    const auto overlay = WritableOverlay::start(*scratch, *disk);
    if (!overlay) {
        return std::unexpected(overlay.error());
    }
    return run_program(program_of(verb, overlay->uri()));
}

}  // namespace signpost
