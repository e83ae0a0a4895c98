// SPDX-License-Identifier: BSD-3-Clause
//
// FileCommand is `signpost files …` for one person at the console: a process that reads one disk by
// a socket that only it can use, over which this server serves it as that person. It has no
// environment to speak of, a limit for memory and processor time, and an end: at its deadline, or
// when the person goes away.
//
// What a person gives (names, paths) is an argument of it, and nothing else; a shell sees none.
//
// Lifetime: the destructor ends the process. Threads: the one that it was started on, which has to
// live as long: the kernel ends the process with that thread.

#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/child_process.h"
#include "nbd-server/disk/private_directory.h"
#include "nbd-server/http/http_message.h"
#include "nbd-server/http/person.h"

namespace signpost {

class FileCommand final : public HttpStream {
   public:
    struct Settings {
        std::vector<std::string> words;  // behind `signpost`
        Person person;
        std::chrono::seconds time{};
        // Serves the client on SOCKET as that person. False: there is no room.
        std::function<bool(UniqueFd socket, const Person& person)> serve;
    };

    // Directories of what it runs; empty: it is not installed.
    static std::vector<std::string> programs();

    static Result<std::unique_ptr<FileCommand>> start(Settings settings);
    ~FileCommand() override;

    // What it prints. -1: it failed, or was ended; message() says how.
    ssize_t read(std::span<char> room) override;

    // Its exit status, when it has printed all; empty: it was ended.
    std::optional<int> status() { return process_->status(); }

    // Its last words, made safe to show.
    std::string message() const;

   private:
    using Clock = std::chrono::steady_clock;

    FileCommand(Settings settings, PrivateDirectory directory, UniqueFd listener)
        : settings_(std::move(settings)),
          directory_(std::move(directory)),
          listener_(std::move(listener)),
          deadline_(Clock::now() + settings_.time) {}

    Result<void> begin();
    void accept_client();
    bool take_errors();
    ssize_t ended();
    ssize_t give_up(const char* why);

    const Settings settings_;
    PrivateDirectory directory_;
    UniqueFd listener_;
    const Clock::time_point deadline_;
    UniqueFd output_;
    UniqueFd errors_;
    std::optional<ChildProcess> process_;
    std::string said_;
    const char* why_ = nullptr;
};

}  // namespace signpost
