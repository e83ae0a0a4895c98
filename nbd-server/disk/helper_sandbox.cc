// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/disk/helper_sandbox.h"

#include "nbd-server/disk/landlock.h"

namespace signpost {

UniqueFd make_ruleset(std::span<const int> files, bool write, const std::string& program) {
    LandlockRules rules = LandlockRules::make(LandlockRules::Scope::everything);
    if (!rules) {
        return UniqueFd();
    }
    rules.allow_programs();
    rules.allow_path(program.c_str(), LandlockRules::kReadFile | LANDLOCK_ACCESS_FS_EXECUTE);
    const std::uint64_t writing = write ? rules.write_file() : 0;
    for (const int file : files) {
        // A helper that could not open its own files is of no use: better no rules than these.
        if (!rules.allow(file, LandlockRules::kReadFile | writing)) {
            return UniqueFd();
        }
    }
    return rules.release();
}

}  // namespace signpost
