// SPDX-License-Identifier: BSD-3-Clause
//
// signpost-pool: runs one verb.

#include "libvirt-pool/pool_command_line.h"
#include "libvirt-pool/pool_verbs.h"
#include "terminal/command_main.h"

namespace signpost {

namespace {

PoolResult run_command(Console& console, const std::vector<std::string>& words) {
    const auto parsed = parse_pool_command_line(words);
    if (!parsed) {
        return std::unexpected(parsed.error());
    }
    if (const auto* text = std::get_if<std::string>(&*parsed)) {
        console.out(*text);
        return ExitCode::ok;
    }
    const auto& asked = std::get<PoolInvocation>(*parsed);
    console.set_color(asked.options.color);
    const PoolContext context{asked.options, console};
    return std::visit([&](const auto& verb) { return run(context, verb); }, asked.verb);
}

}  // namespace

}  // namespace signpost

int main(int argc, char** argv) {
    return signpost::command_main("signpost-pool", argc, argv, signpost::run_command);
}
