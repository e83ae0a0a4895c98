// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/beneath.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>

#include <cerrno>
#include <system_error>

namespace signpost {

std::expected<UniqueFd, int> open_beneath(int root, const std::string& path, int flags,
                                          Links links) {
    open_how how{};
    how.flags = static_cast<unsigned>(flags | O_CLOEXEC);
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
    if (links == Links::refuse) {
        how.resolve |= RESOLVE_NO_SYMLINKS;
    }
    // EAGAIN: a rename elsewhere kept the kernel from being sure about a `..`.
    constexpr int kAttempts = 16;
    int error = EAGAIN;
    for (int i = 0; i < kAttempts && (error == EAGAIN || error == EINTR); ++i) {
        const long fd = ::syscall(SYS_openat2, root, path.c_str(), &how, sizeof how);
        if (fd >= 0) {
            return UniqueFd(static_cast<int>(fd));
        }
        error = errno;
    }
    return std::unexpected(error);
}

std::string error_text(int error) {
    return std::generic_category().message(error);
}

}  // namespace signpost
