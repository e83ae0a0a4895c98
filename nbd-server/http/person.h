// SPDX-License-Identifier: BSD-3-Clause
//
// Who looks at the console, as far as it has been proven.
//
// A value; no thread rule.

#pragma once

#include <string>

namespace signpost {

struct Person {
    std::string user = {};  // who signed in; empty: nobody has
    int socket = -1;        // at whose other end the person is
    bool tls = false;
    bool runs_server = false;  // by the control socket: may see all, and end sessions
};

}  // namespace signpost
