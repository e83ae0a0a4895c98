// SPDX-License-Identifier: BSD-3-Clause
//
// The records that lie in a pool's directory, made of anything: what parses keeps the rules that
// later steps rely on, and is the same when it has been written and read again.

#include <stdlib.h>

#include <cstddef>
#include <cstdint>

#include "libvirt-pool/pool_json.h"

namespace {

void require(bool holds) {
    if (!holds)
        abort();
}

template <class Record>
void check_refusal(const signpost::Result<Record>& refused) {
    require(refused.error().code == signpost::Errc::invalid && !refused.error().message.empty());
    require(refused.error().message.find('\n') == std::string::npos);
}

void check_settings(std::string_view text) {
    const auto settings = signpost::parse_settings(text);
    if (!settings) {
        check_refusal(settings);
        return;
    }
    const auto again = signpost::parse_settings(signpost::settings_json(*settings));
    require(again && *again == *settings);
}

void check_recovery(std::string_view text) {
    const auto recovery = signpost::parse_recovery(text);
    if (!recovery) {
        check_refusal(recovery);
        return;
    }
    for (const signpost::RecoveredDisk& disk : recovery->disks) {
        require(signpost::check_target(disk.target));
        require(signpost::check_machine_name(recovery->machine).has_value());
        const std::string file = recovery->file(disk);
        require(file.size() <= 255 && file.find('/') == std::string::npos && file.front() != '.');
    }
    const auto again = signpost::parse_recovery(signpost::recovery_json(*recovery));
    require(again && *again == *recovery);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    check_settings(text);
    check_recovery(text);
    return 0;
}
