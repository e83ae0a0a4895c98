// SPDX-License-Identifier: BSD-3-Clause
//
// SIGNPOST_REQUIRES(program): the rest of a GoogleTest test needs it. It is skipped, visibly, where
// the program is missing; with SIGNPOST_NO_SKIP=1 (./check, which installs all programs) it fails.

#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <sstream>
#include <string>

namespace signpost {

inline bool has_program(const std::string& program) {
    const char* path = std::getenv("PATH");
    std::istringstream directories(std::string(path == nullptr ? "" : path) + ":/usr/sbin:/sbin");
    for (std::string directory; std::getline(directories, directory, ':');) {
        if (::access((directory + "/" + program).c_str(), X_OK) == 0) {
            return true;
        }
    }
    return false;
}

inline bool may_skip() {
    const char* no_skip = std::getenv("SIGNPOST_NO_SKIP");
    return no_skip == nullptr || std::string(no_skip) != "1";
}

}  // namespace signpost

#define SIGNPOST_REQUIRES(program)                                \
    if (!signpost::has_program(program)) {                        \
        if (signpost::may_skip()) {                               \
            GTEST_SKIP() << (program) << " is not installed";     \
        }                                                         \
        FAIL() << (program) << " is not installed";               \
    }                                                             \
    static_assert(true)
