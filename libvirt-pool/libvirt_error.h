// SPDX-License-Identifier: BSD-3-Clause
//
// What libvirt says of the call that has just failed on this thread, with our code for it.
//
// Threads: any; libvirt keeps an error for each.

#pragma once

#include <string>

#include "catalog/error.h"

namespace signpost {

// WHAT it was about goes in front: "machine web01".
std::unexpected<Error> libvirt_failed(const std::string& what);

}  // namespace signpost
