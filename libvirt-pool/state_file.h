// SPDX-License-Identifier: BSD-3-Clause
//
// A small file of JSON that is kept beside a pool's volumes: its name begins with a dot, so that
// libvirt does not take it for one. It is replaced as a whole, and on disk before write_state()
// returns.
//
// Threads: any; two writers of one file: the last one wins.

#pragma once

#include <string>
#include <vector>

#include "catalog/error.h"

namespace signpost {

inline constexpr std::size_t kMaxState = 1024 * 1024;  // bytes

// denied, full, io.
Result<void> write_state(int directory, const std::string& file, const std::string& text);

// not_found; invalid: not a regular file, or larger than kMaxState; denied, io.
Result<std::string> read_state(int directory, const std::string& file);

// What is not there is no error.
Result<void> remove_state(int directory, const std::string& file);

}  // namespace signpost
