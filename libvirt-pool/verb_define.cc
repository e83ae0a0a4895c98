// SPDX-License-Identifier: BSD-3-Clause

#include <fmt/format.h>

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

}  // namespace

PoolResult run(const PoolContext& context, const DefineVerb& verb) {
    const PoolOptions& options = context.options;
    if (const auto named = check_pool_name(options.pool); !named) {
        return std::unexpected(named.error());
    }
    auto via = via_of(options);
    if (!via) {
        return std::unexpected(via.error());
    }
    PoolSettings settings{std::move(*via), options.catalog, {verb.patterns, verb.server}};
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
    if (options.dry_run) {
        context.console.note(fmt::format("would make pool {} at {} with {} volumes via {}",
                                         escaped(options.pool), escaped(path), wanted->size(),
                                         settings.via.endpoint()));
        return ExitCode::ok;
    }
    auto directory = PoolDirectory::open(path, true);
    if (!directory) {
        return std::unexpected(pool_failure(directory.error()));
    }
    if (const auto kept = write_settings(directory->descriptor(), settings); !kept) {
        return std::unexpected(pool_failure(kept.error()));
    }
    if (const auto defined = host->define_pool(options.pool, path); !defined) {
        return std::unexpected(pool_failure(defined.error()));
    }
    const OpenPool pool{std::move(*host), std::move(*directory), std::move(settings)};
    return sync_and_report(context, pool, true, &*wanted);
}

}  // namespace signpost
