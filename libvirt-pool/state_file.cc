// SPDX-License-Identifier: BSD-3-Clause

#include "libvirt-pool/state_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>

#include "catalog/disk_name.h"
#include "libvirt-pool/pool_file.h"

namespace signpost {

namespace {

constexpr std::string_view kKind = "the pool's";

bool write_all(int fd, const std::string& text) {
    for (std::size_t at = 0; at < text.size();) {
        const ssize_t n = ::write(fd, text.data() + at, text.size() - at);
        if (n < 0 && errno != EINTR) {
            return false;
        }
        at += n > 0 ? static_cast<std::size_t>(n) : 0;
    }
    return true;
}

}  // namespace

Result<void> write_state(int directory, const std::string& file, const std::string& text) {
    auto written =
        write_whole(directory, kKind, file, 0, [&](int fd) { return write_all(fd, text); });
    if (written && ::fsync(directory) != 0) {
        return file_failed(kKind, file, errno);
    }
    return written;
}

Result<std::string> read_state(int directory, const std::string& file) {
    const auto fd = open_regular(directory, kKind, file, O_RDONLY);
    if (!fd) {
        return std::unexpected(fd.error());
    }
    std::string text(kMaxState + 1, '\0');
    std::size_t size = 0;
    for (ssize_t n = 1; n != 0 && size < text.size();) {
        n = ::read(fd->get(), text.data() + size, text.size() - size);
        if (n < 0 && errno != EINTR) {
            return file_failed(kKind, file, errno);
        }
        size += n > 0 ? static_cast<std::size_t>(n) : 0;
    }
    if (size > kMaxState) {
        return fail(Errc::invalid, fmt::format("{} {}: larger than 1 MiB", kKind, escaped(file)));
    }
    text.resize(size);
    return text;
}

Result<void> remove_state(int directory, const std::string& file) {
    if (::unlinkat(directory, file.c_str(), 0) != 0 && errno != ENOENT) {
        return file_failed(kKind, file, errno);
    }
    return {};
}

}  // namespace signpost
