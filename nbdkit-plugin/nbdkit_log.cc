// SPDX-License-Identifier: BSD-3-Clause

#include "nbdkit-plugin/nbdkit_log.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

namespace signpost {

namespace {

int length_of(std::string_view line) {
    constexpr std::size_t kLongest = 8192;
    return static_cast<int>(std::min(line.size(), kLongest));
}

}  // namespace

void NbdkitLog::error(std::string_view line) {
    const int saved = errno;
    nbdkit_error("%.*s", length_of(line), line.data());
    errno = saved;
}

void NbdkitLog::info(std::string_view line) {
    std::fprintf(stderr, "nbdkit: signpost: %.*s\n", length_of(line), line.data());
}

void NbdkitLog::debug(std::string_view line) {
    const int saved = errno;
    nbdkit_debug("%.*s", length_of(line), line.data());
    errno = saved;
}

}  // namespace signpost
