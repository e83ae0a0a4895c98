// SPDX-License-Identifier: BSD-3-Clause

#include "libvirt-pool/recovery.h"

#include <fmt/format.h>

#include <algorithm>

#include "libvirt-pool/pool_file.h"
#include "libvirt-pool/pool_json.h"

namespace signpost {

namespace {

constexpr std::size_t kMaxMachineName = 200;
constexpr std::size_t kMaxTarget = 16;

std::string file_of(const std::string& machine) {
    return fmt::format("machine-{}.json", machine);
}

bool is_plain(const std::string& text) {
    return std::ranges::all_of(text, [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '.' || c == '_' || c == '-' || c == '+';
    });
}

}  // namespace

std::string Recovery::file(const RecoveredDisk& disk) const {
    return fmt::format("{}~{}.qcow2", machine, disk.target);
}

Result<void> check_machine_name(const std::string& name) {
    if (name.empty() || name.size() > kMaxMachineName || name.front() == '.' ||
        name.front() == '-' || !is_plain(name)) {
        return fail(Errc::invalid, fmt::format("machine {}: use up to 200 letters, digits, and "
                                               "._-+ for its name, a letter or digit first",
                                               escaped(name)));
    }
    return {};
}

bool check_target(const std::string& target) {
    return !target.empty() && target.size() <= kMaxTarget && is_plain(target);
}

Result<Recovery> read_recovery(int directory, const std::string& machine) {
    if (const auto checked = check_machine_name(machine); !checked) {
        return std::unexpected(checked.error());
    }
    const auto text = read_state(directory, file_of(machine));
    if (!text) {
        return std::unexpected(text.error());
    }
    auto recovery = parse_recovery(*text);
    if (!recovery || recovery->machine != machine) {
        return fail(Errc::invalid,
                    fmt::format("the pool's {}: {}", escaped(file_of(machine)),
                                recovery ? "it is of another machine" : recovery.error().message));
    }
    return recovery;
}

Result<void> write_recovery(int directory, const Recovery& recovery) {
    const std::string text = recovery_json(recovery);
    if (!parse_recovery(text) || text.size() > kMaxState) {
        return fail(Errc::invalid,
                    fmt::format("machine {}: more than 256 disks, or one whose target is no plain "
                                "word of up to 16 characters",
                                escaped(recovery.machine)));
    }
    return write_state(directory, file_of(recovery.machine), text);
}

Result<void> remove_recovery(int directory, const std::string& machine) {
    return remove_state(directory, file_of(machine));
}

}  // namespace signpost
