// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/database_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "catalog/disk_name.h"
#include "nbd-server/disk/unique_fd.h"

namespace signpost {

Result<void> make_database_file(const std::string& path) {
    // One that is there is not opened: closing it would drop the locks of other connections.
    const UniqueFd file(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (file || errno == EEXIST) {
        return {};
    }
    const Errc code = errno == ENOSPC || errno == EDQUOT                    ? Errc::full
                      : errno == EACCES || errno == EPERM || errno == EROFS ? Errc::denied
                                                                            : Errc::io;
    return fail(code, fmt::format("{} cannot be made: {}", escaped(path), std::strerror(errno)));
}

void remove_database_file(const std::string& path) {
    for (const char* ending : {"", "-wal", "-shm"}) {
        ::unlink((path + ending).c_str());
    }
}

}  // namespace signpost
