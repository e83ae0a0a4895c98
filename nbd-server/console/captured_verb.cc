// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/console/captured_verb.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "cli/verbs.h"
#include "nbd-server/disk/unique_fd.h"

namespace signpost {

namespace {

std::string read_all(int fd) {
    struct stat status {};
    if (::fstat(fd, &status) != 0) {
        return {};
    }
    std::string text(static_cast<std::size_t>(status.st_size), '\0');
    const ssize_t got = ::pread(fd, text.data(), text.size(), 0);
    text.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
    return text;
}

template <class V>
CapturedVerb capture(const Options& options, const V& verb) {
    const UniqueFd output(::memfd_create("signpost-console", MFD_CLOEXEC));
    const UniqueFd notes(::memfd_create("signpost-console-notes", MFD_CLOEXEC));
    if (!output || !notes) {
        return {ExitCode::failed, {}, std::strerror(errno)};
    }
    Console console(notes.get(), output.get(), notes.get());
    const auto result = run(Context{options, console}, verb);
    CapturedVerb captured;
    captured.code = result ? *result : result.error().code;
    captured.message = result ? "" : result.error().message;
    if (console.finish()) {
        captured.output = read_all(output.get());
    }
    return captured;
}

}  // namespace

CapturedVerb run_captured(const Options& options, const InfoVerb& verb) {
    return capture(options, verb);
}

CapturedVerb run_captured(const Options& options, const ExplainVerb& verb) {
    return capture(options, verb);
}

CapturedVerb run_captured(const Options& options, const DoctorVerb& verb) {
    return capture(options, verb);
}

}  // namespace signpost
