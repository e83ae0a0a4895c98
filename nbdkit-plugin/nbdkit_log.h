// SPDX-License-Identifier: BSD-3-Clause
//
// NbdkitLog passes lines of the disk layer to nbdkit: errors to its error log (stderr or syslog, as
// --log says), debugging to its debug output (-v). For what the operator may want to know nbdkit
// has no level, so it goes to stderr, which a service manager keeps; a server in the background has
// none.
//
// Threads: any; no state.

#pragma once

#include "nbd-server/disk/log.h"

namespace signpost {

class NbdkitLog final : public Log {
   public:
    void error(std::string_view line) override;
    void info(std::string_view line) override;
    void debug(std::string_view line) override;
};

}  // namespace signpost
