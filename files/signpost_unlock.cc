// SPDX-License-Identifier: BSD-3-Clause
//
// signpost-unlock: the process that reads headers of LUKS for `signpost files` and `signpost
// mount`, and makes keys of passphrases. It is started by them, with a socket as its descriptor 3,
// and by nobody else.
//
// Apart from signpost-files because its libraries want more of the system than that may have.

#include <sys/socket.h>
#include <unistd.h>

#include <string_view>

#include "files/confinement.h"
#include "files/disk_link.h"
#include "files/luks.h"

namespace files = signpost::files;

namespace {

constexpr int kSocket = 3;

int refuse(std::string_view line) {
    return ::write(STDERR_FILENO, line.data(), line.size()) < 0 ? 1 : 2;
}

}  // namespace

int main() {
    int type = 0;
    socklen_t length = sizeof type;
    if (::getsockopt(kSocket, SOL_SOCKET, SO_TYPE, &type, &length) != 0) {
        return refuse("signpost-unlock is started by `signpost files`; see signpost(1)\n");
    }
    if (!files::confine_unlocking()) {
        return refuse("what unlocks cannot be confined: the kernel has no seccomp\n");
    }
    files::DiskLink link(kSocket);
    for (;;) {
        const files::Question question = link.next();
        const auto* asked = std::get_if<files::AskUnlock>(&question);
        files::Unlocked found;
        const files::End end = asked != nullptr
                                   ? files::unlock(link, *asked, found)
                                   : files::End{files::End::Status::invalid, "this only unlocks"};
        if (end.status == files::End::Status::ok) {
            link.say(found);
        }
        link.say(end);
    }
}
