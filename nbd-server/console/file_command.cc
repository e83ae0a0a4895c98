// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/console/file_command.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "catalog/disk_name.h"
#include "cli/file_reader.h"

namespace signpost {

namespace {

using std::chrono::milliseconds;

constexpr char kProgram[] = "signpost";
constexpr std::size_t kMostSaid = 8192;  // of its standard error, the end is kept
constexpr milliseconds kTurn{1000};
constexpr milliseconds kEndPatience{500};
constexpr milliseconds kExitPatience{5000};  // from the end of its output on
constexpr unsigned kProcessorSeconds = 1800;
constexpr int kLowWeight = 10;  // nice
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::uint64_t kMemory = 0;  // these take terabytes of addresses
#else
constexpr std::uint64_t kMemory = std::uint64_t{1} << 30;
#endif

std::vector<std::string> environment_with(const std::string& socket) {
    std::vector<std::string> environment{"LC_ALL=C.UTF-8", "TERM=dumb",
                                         "SIGNPOST_DISK_SOCKET=" + socket};
    for (const char* name : {"PATH", "LD_LIBRARY_PATH"}) {
        if (const char* value = std::getenv(name)) {
            environment.push_back(fmt::format("{}={}", name, value));
        }
    }
    return environment;
}

// The process at the other end; 0: unknown.
pid_t process_of(int socket) {
    ucred credentials{};
    socklen_t length = sizeof credentials;
    return ::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length) == 0
               ? credentials.pid
               : 0;
}

}  // namespace

std::vector<std::string> FileCommand::programs() {
    const auto command = find_own_program(kProgram);
    return command ? FileReader::programs_of(*command) : std::vector<std::string>();
}

Result<std::unique_ptr<FileCommand>> FileCommand::start(Settings settings) {
    auto directory = PrivateDirectory::make("signpost-console");
    if (!directory) {
        return std::unexpected(std::move(directory.error()));
    }
    auto listener = listen_at(directory->path() + "/disk");
    if (!listener) {
        return std::unexpected(std::move(listener.error()));
    }
    ::fcntl(listener->get(), F_SETFL, O_NONBLOCK);
    std::unique_ptr<FileCommand> command(
        new FileCommand(std::move(settings), std::move(*directory), std::move(*listener)));
    if (auto begun = command->begin(); !begun) {
        return std::unexpected(std::move(begun.error()));
    }
    return command;
}

Result<void> FileCommand::begin() {
    const auto program = find_own_program(kProgram);
    if (!program) {
        return std::unexpected(program.error());
    }
    std::array<int, 2> out{};
    std::array<int, 2> errors{};
    if (::pipe2(out.data(), O_CLOEXEC) != 0) {
        return fail(Errc::unavailable, fmt::format("pipe: {}", std::strerror(errno)));
    }
    output_.reset(out[0]);
    const UniqueFd output_in(out[1]);
    if (::pipe2(errors.data(), O_CLOEXEC) != 0) {
        return fail(Errc::unavailable, fmt::format("pipe: {}", std::strerror(errno)));
    }
    errors_.reset(errors[0]);
    const UniqueFd errors_in(errors[1]);
    ::fcntl(output_.get(), F_SETFL, O_NONBLOCK);
    ::fcntl(errors_.get(), F_SETFL, O_NONBLOCK);
    ChildCommand command;
    command.words = {*program};
    command.words.insert(command.words.end(), settings_.words.begin(), settings_.words.end());
    command.environment = environment_with(directory_.path() + "/disk");
    command.forgotten = {""};  // all of ours
    command.output = output_in.get();
    command.errors = errors_in.get();
    command.memory = kMemory;
    command.processor_seconds = kProcessorSeconds;
    command.niceness = kLowWeight;
    auto process = ChildProcess::start(command);
    if (!process) {
        return std::unexpected(std::move(process.error()));
    }
    process_.emplace(std::move(*process));
    return {};
}

FileCommand::~FileCommand() {
    if (process_) {
        process_->end(kEndPatience);
    }
}

// Whoever else of this user found the directory is not who it is for.
void FileCommand::accept_client() {
    UniqueFd client(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (client && process_of(client.get()) == process_->pid() &&
        !settings_.serve(std::move(client), settings_.person)) {
        give_up("this server has as many clients as it may, or is being stopped");
    }
}

// False: there is nothing now.
bool FileCommand::take_errors() {
    std::array<char, 1024> piece{};
    const ssize_t got = ::read(errors_.get(), piece.data(), piece.size());
    if (got > 0) {
        said_.append(piece.data(), static_cast<std::size_t>(got));
        said_.erase(0, said_.size() - std::min(said_.size(), kMostSaid));
    } else if (got == 0 || errno != EAGAIN) {
        errors_.reset();
    }
    return got > 0;
}

ssize_t FileCommand::give_up(const char* why) {
    why_ = why;
    output_.reset();
    process_->end(kEndPatience);
    return -1;
}

ssize_t FileCommand::ended() {
    output_.reset();
    const auto status = process_->wait(kExitPatience);
    while (errors_ && take_errors()) {
    }
    return status == 0 ? 0 : -1;
}

ssize_t FileCommand::read(std::span<char> room) {
    while (output_) {
        if (Clock::now() >= deadline_) {
            return give_up("it took too long");
        }
        std::array<pollfd, 4> fds{{{output_.get(), POLLIN, 0},
                                   {errors_ ? errors_.get() : -1, POLLIN, 0},
                                   {listener_.get(), POLLIN, 0},
                                   {settings_.person.socket, POLLRDHUP, 0}}};
        if (::poll(fds.data(), fds.size(), static_cast<int>(kTurn.count())) < 0 && errno != EINTR) {
            return give_up("poll failed");
        }
        if (fds[3].revents != 0) {
            return give_up("the client is gone");
        }
        if (fds[1].revents != 0) {
            take_errors();
        }
        if (fds[2].revents != 0) {
            accept_client();
        }
        if (output_ && fds[0].revents != 0) {
            const ssize_t got = ::read(output_.get(), room.data(), room.size());
            if (got > 0) {
                return got;
            }
            if (got == 0) {
                return ended();
            }
            if (errno != EAGAIN && errno != EINTR) {
                return give_up("its output cannot be read");
            }
        }
    }
    return why_ == nullptr && process_->status() == 0 ? 0 : -1;
}

// The command has its own name in front of what it says, and a line for each thing.
std::string FileCommand::message() const {
    if (why_ != nullptr) {
        return why_;
    }
    std::string_view text = said_;
    while (text.ends_with('\n')) {
        text.remove_suffix(1);
    }
    text.remove_prefix(text.rfind('\n') + 1);
    constexpr std::string_view kOwnName = "signpost: ";
    if (text.starts_with(kOwnName)) {
        text.remove_prefix(kOwnName.size());
    }
    // What it calls the server that it asks, which is this one.
    const std::string socket = directory_.path() + "/disk: ";
    if (text.starts_with(socket)) {
        text.remove_prefix(socket.size());
    }
    return text.empty() ? "the command that reads files ended without a word" : escaped(text, 1000);
}

}  // namespace signpost
