// SPDX-License-Identifier: BSD-3-Clause
//
// What a QEMU that a guest may have taken over says on its monitor, and a line of the drills'
// history. A record that is taken is written and read again as the same.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "cli/drill_history.h"
#include "cli/qemu_monitor.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const auto line = signpost::parse_monitor_line(text);
    if (line.status.size() > 400 || line.error.size() > 3000) {
        std::abort();
    }
    if (const auto record = signpost::parse_drill(text)) {
        const auto again = signpost::parse_drill(signpost::drill_json(*record));
        if (!again || again->when != record->when || again->alive() != record->alive()) {
            std::abort();
        }
    }
    return 0;
}
