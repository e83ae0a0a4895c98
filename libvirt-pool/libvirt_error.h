// SPDX-License-Identifier: BSD-3-Clause
//
// What libvirt says: of the call that has just failed on this thread, with our code for it; and
// texts that are the caller's.
//
// Threads: any; libvirt keeps an error for each.

#pragma once

#include <cstdlib>
#include <memory>
#include <string>

#include "catalog/error.h"

namespace signpost {

struct LibvirtFree {
    void operator()(char* text) const { std::free(text); }
};
using LibvirtText = std::unique_ptr<char, LibvirtFree>;

// WHAT it was about goes in front: "machine web01".
std::unexpected<Error> libvirt_failed(const std::string& what);

}  // namespace signpost
