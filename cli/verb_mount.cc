// SPDX-License-Identifier: BSD-3-Clause
//
// `mount`: the files of a disk in a directory.

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "cli/guest_mount.h"
#include "cli/verbs.h"
#include "nbd-server/disk/beneath.h"

namespace signpost {

namespace {

// Says over READY that it is mounted, and lets go of the caller's terminal.
void leave_terminal(UniqueFd& ready) {
    const char byte = 'R';
    (void)!::write(ready.get(), &byte, 1);
    ready.reset();
    const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
        ::dup2(null.get(), fd);
    }
}

VerbResult serve_mount(const Context& context, const MountVerb& verb, UniqueFd ready) {
    auto disk = GuestDisk::open(context, verb.place, verb.sources);
    if (!disk) {
        return std::unexpected(disk.error());
    }
    const auto volume = (*disk)->choose(verb.place);
    if (!volume) {
        return std::unexpected(volume.error());
    }
    auto root = volume->reader->find({volume->address, "/", true, false});
    if (!root) {
        return std::unexpected((*disk)->about("/", root.error()));
    }
    auto mount = GuestMount::make({volume->reader, volume->address, "/", std::move(*root)},
                                  verb.directory, (*disk)->name());
    if (!mount) {
        return std::unexpected(peer_failure(mount.error()));
    }
    if (ready) {
        leave_terminal(ready);
    } else {
        context.console.note(fmt::format("{} is mounted on {}, until Ctrl-C or: fusermount3 -u {}",
                                         escaped((*disk)->name()), escaped(verb.directory),
                                         escaped(verb.directory)));
    }
    const auto served = (*mount)->serve();
    return served ? VerbResult(ExitCode::ok) : std::unexpected(peer_failure(served.error()));
}

// All of it in a child, because what it starts dies with who started it.
VerbResult mount_in_background(const Context& context, const MountVerb& verb) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
        return failure(ExitCode::failed, fmt::format("pipe: {}", error_text(errno)));
    }
    const UniqueFd from(ends[0]);
    UniqueFd to(ends[1]);
    const pid_t child = ::fork();
    if (child < 0) {
        return failure(ExitCode::failed, fmt::format("fork: {}", error_text(errno)));
    }
    if (child == 0) {
        ::setsid();
        return serve_mount(context, verb, std::move(to));
    }
    to.reset();
    char byte = 0;
    if (::read(from.get(), &byte, 1) == 1) {
        return ExitCode::ok;
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    const int code = WIFEXITED(status) ? WEXITSTATUS(status) : static_cast<int>(ExitCode::failed);
    return failure(static_cast<ExitCode>(code), "");  // it has said why
}

}  // namespace

VerbResult run(const Context& context, const MountVerb& verb) {
    return verb.background ? mount_in_background(context, verb)
                           : serve_mount(context, verb, UniqueFd());
}

}  // namespace signpost
