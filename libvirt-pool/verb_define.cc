// SPDX-License-Identifier: BSD-3-Clause

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "libvirt-pool/pool_verbs.h"

namespace signpost {

namespace {

constexpr const char* kDefaultVia = "nbd+unix:///?socket=/run/signpost/nbd.sock";

// Where a volume's header shall point must be a form that libvirt can read there.
Outcome<NbdUri> via_of(const PoolOptions& options) {
    NbdUri via = options.via.value_or(*NbdUri::parse(kDefaultVia));
    if (via.tls) {
        return failure(ExitCode::usage,
                       "--via: libvirt knows no nbds:// behind a volume; name the server on this "
                       "machine, by its Unix socket or its loopback address, and let it speak TLS "
                       "with the others");
    }
    return via.with_export("");
}

// The directory with its settings, and libvirt's pool. A directory that was not there before is not
// there when that fails.
Result<PoolDirectory> make_pool(const LibvirtHost& host, const std::string& pool,
                                const std::string& path, const PoolSettings& settings) {
    const bool was_there = std::filesystem::exists(path);
    auto directory = PoolDirectory::open(path, true);
    if (!directory) {
        return directory;
    }
    auto made = directory->make_records();
    if (made) {
        made = write_settings(directory->records(), settings);
    }
    if (made) {
        made = host.define_pool(pool, path);
    }
    if (!made && !was_there) {
        std::error_code ignored;
        (void)remove_settings(directory->records());
        directory->remove_records();
        std::filesystem::remove(path, ignored);
    }
    if (!made) {
        return std::unexpected(made.error());
    }
    return directory;
}

}  // namespace

PoolResult run(const PoolContext& context, const DefineVerb& verb) {
    const PoolOptions& options = context.options;
    if (const auto named = check_pool_name(options.pool); !named) {
        return std::unexpected(named.error());
    }
    if (std::ranges::find(verb.patterns, "") != verb.patterns.end()) {
        return failure(ExitCode::usage,
                       "--match: an empty name is no disk's; leave it out to show all disks");
    }
    auto via = via_of(options);
    if (!via) {
        return std::unexpected(via.error());
    }
    PoolSettings settings{
        std::move(*via), options.catalog, {verb.patterns, verb.server, verb.newest}};
    const auto catalog = open_pool_catalog(settings);
    if (!catalog) {
        return std::unexpected(catalog.error());
    }
    auto host = LibvirtHost::connect(options.connect);
    if (!host) {
        return std::unexpected(pool_failure(host.error()));
    }
    const std::string path = std::filesystem::absolute(
        options.path.empty() ? default_pool_path(host->uri(), options.pool) : options.path);
    const auto wanted = select_volumes(**catalog, settings.selection, settings.via);
    if (!wanted) {
        return std::unexpected(catalog_failure(wanted.error()));
    }
    if (const auto fits = plan_pool(*wanted, {}); !fits) {
        return std::unexpected(pool_failure(fits.error()));
    }
    if (const auto free = host->check_pool(options.pool, path); !free) {
        return std::unexpected(pool_failure(free.error()));
    }
    if (options.dry_run) {
        context.console.note(fmt::format("would make pool {} at {} with {} volumes via {}",
                                         escaped(options.pool), escaped(path), wanted->size(),
                                         settings.via.endpoint()));
        return ExitCode::ok;
    }
    auto directory = make_pool(*host, options.pool, path, settings);
    if (!directory) {
        return std::unexpected(making_failure(directory.error()));
    }
    const OpenPool pool{std::move(*host), std::move(*directory), std::move(settings)};
    return sync_and_report(context, pool, true, &*wanted);
}

}  // namespace signpost
