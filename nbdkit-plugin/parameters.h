// SPDX-License-Identifier: BSD-3-Clause
//
// The plugin's parameters: key=value words of the command line become FederationSettings. Paths are
// made absolute here, because nbdkit changes to the root directory when it goes to the background.
//
// Threads: nbdkit calls from one, before it serves.

#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "nbd-server/disk/federation.h"

namespace signpost {

class Parameters {
   public:
    // One key=value. Fails with invalid and a line that names the key and the remedy.
    Result<void> set(std::string_view key, const char* value);

    // All are there: checks what only holds for them together.
    Result<FederationSettings> finish() const;

   private:
    Result<void> set_tls(std::string_view key, const char* value);
    Result<void> set_number(std::string_view key, const char* value);
    Result<void> set_digests(std::string_view key, const char* value);
    Result<void> set_cache_size(const char* value);
    Result<void> set_switch(std::string_view key, const char* value);

    FederationSettings settings_;
    std::optional<wire::TlsMode> tls_mode_;
    std::vector<std::string> points_;
};

// What `nbdkit signpost --help` prints: lines that begin with `key=`, so that nbdkit's bash
// completion finds them.
extern const char* const kParameterHelp;

}  // namespace signpost
