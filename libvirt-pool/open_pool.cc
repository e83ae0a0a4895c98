// SPDX-License-Identifier: BSD-3-Clause

#include <fmt/format.h>

#include <cstdlib>

#include "libvirt-pool/pool_verbs.h"

namespace signpost {

Outcome<OpenPool> open_pool(const PoolOptions& options) {
    auto host = LibvirtHost::connect(options.connect);
    if (!host) {
        return std::unexpected(pool_failure(host.error()));
    }
    const auto facts = host->pool(options.pool);
    if (!facts) {
        Failure why = pool_failure(facts.error());
        if (facts.error().code == Errc::not_found) {
            why.message += "; `signpost-pool define` makes it";
        }
        return std::unexpected(std::move(why));
    }
    if (facts->type != "dir") {
        return failure(ExitCode::conflict,
                       fmt::format("pool {} is of type {}: only pools of type dir can be kept",
                                   escaped(options.pool), escaped(facts->type)));
    }
    auto directory = PoolDirectory::open(options.path.empty() ? facts->path : options.path);
    if (!directory) {
        return std::unexpected(pool_failure(directory.error()));
    }
    auto settings = read_settings(directory->descriptor());
    if (!settings) {
        Failure why = pool_failure(settings.error());
        if (settings.error().code == Errc::not_found) {
            why = {ExitCode::conflict,
                   fmt::format("pool {}: its directory {} was not made by signpost-pool, and stays "
                               "as it is",
                               escaped(options.pool), escaped(directory->path()))};
        }
        return std::unexpected(std::move(why));
    }
    settings->via = options.via.value_or(settings->via);
    settings->catalog = options.catalog.empty() ? settings->catalog : options.catalog;
    return OpenPool{std::move(*host), std::move(*directory), std::move(*settings)};
}

Outcome<OpenMachine> open_machine(const PoolOptions& options, const std::string& name) {
    auto pool = open_pool(options);
    if (!pool) {
        return std::unexpected(pool.error());
    }
    auto machine = pool->host.machine(name);
    if (!machine) {
        return std::unexpected(pool_failure(machine.error()));
    }
    auto facts = machine->facts();
    if (!facts) {
        return std::unexpected(pool_failure(facts.error()));
    }
    auto disks = disks_in_pool(*facts, options.pool, pool->directory);
    if (!disks) {
        return std::unexpected(pool_failure(disks.error()));
    }
    return OpenMachine{std::move(*pool), std::move(*machine), std::move(*facts), std::move(*disks)};
}

Outcome<std::unique_ptr<Catalog>> open_pool_catalog(const PoolSettings& settings) {
    const char* given = std::getenv("SIGNPOST_CATALOG");
    const std::string url = !settings.catalog.empty() ? settings.catalog
                            : given != nullptr        ? given
                                                      : default_catalog_url();
    auto catalog = open_catalog(url, OpenMode::read_only);
    if (!catalog) {
        return std::unexpected(Failure{ExitCode::catalog_unreachable, catalog.error().message});
    }
    return std::move(*catalog);
}

}  // namespace signpost
