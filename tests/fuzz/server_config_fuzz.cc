// SPDX-License-Identifier: BSD-3-Clause
//
// Configuration files: whatever stands in one gives rules and settings that keep their bounds, or
// mistakes of one line each, with their place.

#include <stdlib.h>

#include <cstddef>
#include <cstdint>

#include "catalog/disk_name.h"
#include "nbd-server/server/configuration_file.h"

namespace {

using signpost::AccessRules;
using signpost::is_utf8;

void require(bool holds) {
    if (!holds)
        abort();
}

void check_patterns(const std::vector<std::string>& patterns) {
    require(patterns.size() <= AccessRules::kMaxPatterns);
    for (const std::string& pattern : patterns)
        require(!pattern.empty() && pattern.size() <= AccessRules::kMaxPattern + 8 &&
                is_utf8(pattern));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    signpost::ConfigurationDraft draft;
    signpost::parse_configuration(text, "/etc/s.toml", draft);
    draft.finish(0);
    for (const std::string& mistake : draft.mistakes()) {
        require(mistake.find('\n') == mistake.npos && is_utf8(mistake));
        require(mistake.starts_with("/etc/s.toml:") || mistake.starts_with("configuration: "));
    }
    require(draft.configuration.access.rules.size() <= AccessRules::kMaxRules);
    for (const auto& rule : draft.configuration.access.rules) {
        for (const auto* patterns : {&rule.dn, &rule.san, &rule.psk, &rule.uid, &rule.disk})
            check_patterns(*patterns);
        require(rule.origin.starts_with("s.toml:"));
    }
    require(!draft.configuration.listen.empty());
    return 0;
}
