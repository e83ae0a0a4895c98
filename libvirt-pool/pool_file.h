// SPDX-License-Identifier: BSD-3-Clause
//
// Files in a pool's directory: how each is opened and made, and what the system's errors mean. KIND
// and name begin the message: "volume a.qcow2: No such file or directory".
//
// A record is a small file of JSON, in a directory beside the volumes'.
//
// Threads: any; two writers of one file: the last one wins.

#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "catalog/error.h"
#include "nbd-server/disk/unique_fd.h"

namespace signpost {

// not_found, conflict (the name is taken), denied, invalid (no directory), full; io for the rest.
std::unexpected<Error> file_failed(std::string_view kind, const std::string& name, int error);

// invalid: not a regular file; else as file_failed. Follows no link.
Result<UniqueFd> open_regular(int directory, std::string_view kind, const std::string& file,
                              int flags);

// How the names of files begin that are not finished yet.
inline constexpr std::string_view kTemporaryPrefix = ".signpost-new-";

// Makes FILE, all of it or nothing: WRITE fills a temporary file (false: errno says why not), which
// is renamed, with the flags that renameat2() knows, when it is on disk. Errors: as file_failed.
Result<void> write_whole(int directory, std::string_view kind, const std::string& file,
                         unsigned flags, const std::function<bool(int fd)>& write);

inline constexpr std::size_t kMaxState = 1024 * 1024;  // bytes

// A record, replaced as a whole, and on disk when this returns.
Result<void> write_state(int directory, const std::string& file, const std::string& text);

// invalid: not a regular file, or larger than kMaxState.
Result<std::string> read_state(int directory, const std::string& file);

// What is not there is no error.
Result<void> remove_state(int directory, const std::string& file);

}  // namespace signpost
