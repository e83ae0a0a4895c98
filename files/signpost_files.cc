// SPDX-License-Identifier: BSD-3-Clause
//
// signpost-files: the process in which `signpost files` and `signpost mount` read file systems. It
// is started by them, with a socket as its descriptor 3, and by nobody else.

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <string_view>

#include "files/confinement.h"
#include "files/file_service.h"
#include "files/grub_stage.h"

namespace {

constexpr int kSocket = 3;

void say(std::string_view line) {
    if (::write(STDERR_FILENO, line.data(), line.size()) < 0) {
        ::_exit(1);
    }
}

// `signpost-files VOLUMES`: by GRUB.
unsigned volumes_of(std::string_view word) {
    unsigned volumes = 0;
    std::from_chars(word.data(), word.data() + word.size(), volumes);
    return volumes;
}

}  // namespace

int main(int argc, char** argv) {
    int type = 0;
    socklen_t length = sizeof type;
    if (::getsockopt(kSocket, SOL_SOCKET, SO_TYPE, &type, &length) != 0) {
        say("signpost-files is started by `signpost files`; see signpost(1)\n");
        return 2;
    }
    ::setenv("TZ", "UTC0", 1);
    if (argc > 1) {
        say(signpost::files::serve_by_grub(kSocket, volumes_of(argv[1])));
        return 1;
    }
    if (!signpost::files::confine()) {
        say("the file reader cannot be confined: the kernel has no seccomp\n");
        return 1;
    }
    signpost::files::DiskLink link(kSocket);
    signpost::files::serve_files(link);
}
