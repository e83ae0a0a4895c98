// SPDX-License-Identifier: BSD-3-Clause

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "libvirt-pool/pool_verbs.h"

namespace signpost {

namespace {

constexpr std::size_t kMaxPoolName = 200;

}  // namespace

std::string default_pool_path(const std::string& uri, const std::string& pool) {
    if (!uri.ends_with("/session")) {
        return "/var/lib/libvirt/images/signpost/" + pool;
    }
    const char* data = std::getenv("XDG_DATA_HOME");
    const char* home = std::getenv("HOME");
    return data != nullptr && *data == '/'
               ? fmt::format("{}/libvirt/images/signpost/{}", data, pool)
               : fmt::format("{}/.local/share/libvirt/images/signpost/{}",
                             home != nullptr ? home : "", pool);
}

Outcome<void> check_pool_name(const std::string& pool) {
    const bool is_printable = std::ranges::none_of(
        pool, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
    if (pool.empty() || pool.starts_with('.') || pool.contains('/') || !is_printable ||
        pool.size() > kMaxPoolName) {
        return failure(ExitCode::usage,
                       fmt::format("--pool {}: a pool's name is that of a directory, of 200 bytes "
                                   "at most, without / and no . in front",
                                   escaped(pool)));
    }
    return {};
}

Outcome<PoolSettings> settings_in(const PoolDirectory& directory, const PoolOptions& options) {
    auto settings = read_settings(directory.records());
    if (!settings && settings.error().code == Errc::not_found) {
        return failure(ExitCode::conflict,
                       fmt::format("pool {}: its directory {} was not made by signpost-pool, and "
                                   "stays as it is; choose another --pool, or `signpost-pool "
                                   "define` one",
                                   escaped(options.pool), escaped(directory.path())));
    }
    if (!settings) {
        return std::unexpected(pool_failure(settings.error()));
    }
    settings->via = options.via.value_or(settings->via);
    settings->catalog = options.catalog.empty() ? settings->catalog : options.catalog;
    return std::move(*settings);
}

Outcome<PoolPlace> open_pool_place(const PoolOptions& options) {
    if (const auto named = check_pool_name(options.pool); !named) {
        return std::unexpected(named.error());
    }
    const std::string uri = options.connect.empty() ? LibvirtHost::default_uri() : options.connect;
    auto directory = PoolDirectory::open(options.path.empty() ? default_pool_path(uri, options.pool)
                                                              : options.path);
    if (!directory) {
        Failure why = pool_failure(directory.error());
        if (directory.error().code == Errc::not_found) {
            why.message += "; `signpost-pool define` makes it, and --path names one elsewhere";
        }
        return std::unexpected(std::move(why));
    }
    auto settings = settings_in(*directory, options);
    if (!settings) {
        return std::unexpected(settings.error());
    }
    return PoolPlace{std::move(*directory), std::move(*settings)};
}

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
        return failure(
            ExitCode::conflict,
            fmt::format("pool {} is of type {}, and only pools of type dir can be kept: choose "
                        "another --pool",
                        escaped(options.pool), escaped(facts->type)));
    }
    auto directory = PoolDirectory::open(options.path.empty() ? facts->path : options.path);
    if (!directory) {
        return std::unexpected(pool_failure(directory.error()));
    }
    auto settings = settings_in(*directory, options);
    if (!settings) {
        return std::unexpected(settings.error());
    }
    return OpenPool{std::move(*host), std::move(*directory), std::move(*settings)};
}

Outcome<OpenMachine> open_machine(const PoolOptions& options, const std::string& name) {
    auto pool = open_pool(options);
    if (!pool) {
        return std::unexpected(pool.error());
    }
    auto machine = pool->host.machine(name);
    if (!machine) {
        Failure why = pool_failure(machine.error());
        if (machine.error().code == Errc::not_found) {
            why.message += "; `virsh list --all` names them";
        }
        return std::unexpected(std::move(why));
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

Outcome<void> let_go(const PoolContext& context, const OpenMachine& open) {
    if (open.facts.state != MachineFacts::State::held || context.options.dry_run) {
        return {};
    }
    const auto going = open.machine.resume();
    return going ? Outcome<void>{} : std::unexpected(pool_failure(going.error()));
}

Failure making_failure(const Error& error) {
    Failure why = pool_failure(error);
    why.message += error.code == Errc::full ? "; make room there, and repeat the command" : "";
    return why;
}

Outcome<std::unique_ptr<Catalog>> open_pool_catalog(const PoolSettings& settings) {
    const char* given = std::getenv("SIGNPOST_CATALOG");
    const std::string url = !settings.catalog.empty() ? settings.catalog
                            : given != nullptr        ? given
                                                      : default_catalog_url();
    auto catalog = open_catalog(url, OpenMode::read_only, CatalogUser::person);
    if (!catalog) {
        return std::unexpected(Failure{ExitCode::catalog_unreachable, catalog.error().message});
    }
    return std::move(*catalog);
}

}  // namespace signpost
