// SPDX-License-Identifier: BSD-3-Clause
//
// Log is where the disk layer says what happened, one line at a time, without a newline. The
// program gives it: the plugin passes lines to nbdkit, tests keep them.
//
// Lifetime: outlives whoever holds a reference. Threads: any.

#pragma once

#include <string_view>

namespace signpost {

class Log {
   public:
    Log() = default;
    Log(const Log&) = delete;
    Log& operator=(const Log&) = delete;
    virtual ~Log() = default;

    virtual void error(std::string_view line) = 0;  // the operator should act
    virtual void info(std::string_view line) = 0;   // the operator may want to know
    virtual void debug(std::string_view line) = 0;
};

}  // namespace signpost
