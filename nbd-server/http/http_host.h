// SPDX-License-Identifier: BSD-3-Clause
//
// Which names a browser may have used to get here. A page of another site can have its own name
// point at this machine and then read what is served (DNS rebinding); the name that the browser
// believes it talks to is in the Host header, and it is not one of ours then. An address in place
// of a name cannot be forged so, and is always good.
//
// Values; pure. Threads: any.

#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace signpost {

// The host of a Host header without its port, in lower case: "name", "10.0.0.1", "::1". Empty: the
// header is not one.
std::string host_of_header(std::string_view header);

class HostNames {
   public:
    explicit HostNames(std::vector<std::string> names);

    // HEADER: the value of Host, with a port or without.
    bool knows(std::string_view header) const;

   private:
    std::vector<std::string> names_;  // lower case
};

}  // namespace signpost
