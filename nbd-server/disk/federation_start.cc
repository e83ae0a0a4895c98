// SPDX-License-Identifier: BSD-3-Clause
//
// Starting in two steps, because nbdkit forks between them: what the operator has to hear is
// checked before, and everything is opened anew after, so that no thread, lock or database handle
// crosses the fork.

#include <fmt/format.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "catalog/restore_point.h"
#include "nbd-server/disk/backup_disk.h"
#include "nbd-server/disk/cached_disk.h"
#include "nbd-server/disk/federation.h"
#include "nbd-server/disk/federation_parts.h"
#include "nbd-server/disk/lazy_catalog.h"
#include "nbd-server/disk/part_file.h"
#include "nbd-server/disk/qcow2_disk.h"
#include "nbd-server/disk/relay_services.h"
#include "nbd-server/disk/remembering_catalog.h"
#include "nbd-server/disk/state_directory.h"

namespace signpost {

namespace {

Result<std::string> host_name() {
    std::array<char, 256> name{};
    if (gethostname(name.data(), name.size() - 1) != 0 || name.front() == '\0') {
        return fail(Errc::invalid,
                    "this machine has no host name; give the server one: server=NAME");
    }
    return std::string(name.data());
}

Result<std::string> checked_server_name(const std::string& given) {
    auto name = given.empty() ? host_name() : Result<std::string>(given);
    if (!name) {
        return name;
    }
    if (auto checked = check_server_name(*name); !checked) {
        return fail(checked.error().code,
                    given.empty() ? fmt::format("{} (the host name); give another: server=NAME",
                                                checked.error().message)
                                  : checked.error().message);
    }
    return name;
}

// Peers dial it, so it must say where.
Result<void> check_own_uri(const std::string& text) {
    const auto uri = NbdUri::parse(text);
    if (!uri) {
        return std::unexpected(uri.error());
    }
    if (!uri->export_name.empty()) {
        return fail(Errc::invalid,
                    fmt::format("uri {} names an export; give the server's alone: {}",
                                escaped(text), uri->with_export("").str()));
    }
    if (uri->host == "0.0.0.0" || uri->host == "::") {
        return fail(Errc::invalid, fmt::format("uri {} is not an address that peers can dial; give "
                                               "the host's name or address",
                                               escaped(text)));
    }
    return {};
}

Result<RepositorySet> open_repositories(const FederationSettings& settings) {
    std::vector<Repository> repositories;
    std::vector<struct stat> seen;
    for (const std::string& directory : settings.repositories) {
        auto repository = Repository::open(directory, settings.repository_options);
        if (!repository) {
            return std::unexpected(repository.error());
        }
        struct stat status {};
        if (fstat(repository->root(), &status) != 0) {
            return fail(Errc::io, fmt::format("cannot examine repository {}: {}",
                                              escaped(directory), std::strerror(errno)));
        }
        for (const struct stat& other : seen) {
            if (other.st_dev == status.st_dev && other.st_ino == status.st_ino) {
                return fail(Errc::invalid, fmt::format("repository {} is given twice; give each "
                                                       "directory once",
                                                       escaped(directory)));
            }
        }
        seen.push_back(status);
        repositories.push_back(std::move(*repository));
    }
    return RepositorySet(std::move(repositories));
}

Result<std::string> random_instance() {
    std::array<unsigned char, 16> bytes{};
    if (getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
        return fail(Errc::io, "the kernel gives no random bytes");
    }
    std::string text;
    for (const unsigned char byte : bytes) {
        text += fmt::format("{:02x}", byte);
    }
    return text;
}

// SETTINGS have been checked.
Server server_of(const FederationSettings& settings) {
    Server server;
    server.name = settings.server;
    server.uris.push_back(*NbdUri::parse(settings.uri));
    server.site = settings.site;
    server.priority = settings.priority;
    server.priority_class = settings.priority_class;
    server.instance = settings.instance;
    return server;
}

// An operator has to mend these; waiting does not.
bool stops_the_start(Errc code) {
    return code == Errc::invalid || code == Errc::corrupt || code == Errc::too_new;
}

Result<void> register_server(const FederationSettings& settings) {
    auto catalog = open_catalog(settings.catalog_url, OpenMode::create);
    if (!catalog) {
        return std::unexpected(catalog.error());
    }
    if (settings.uri.empty()) {
        return {};
    }
    auto put = (*catalog)->put_server(server_of(settings));
    if (!put && put.error().code == Errc::conflict) {
        return fail(Errc::conflict,
                    fmt::format("{}; or wait {} seconds, if the other has just been stopped",
                                put.error().message, kServerLease.count()));
    }
    return put;
}

// The catalog as the operator should hear of it. One that is down or only to be read does not keep
// own images from being served, so it stops nothing; the publisher tries again.
Result<void> check_catalog(FederationSettings& settings, Log& log) {
    const auto registered = register_server(settings);
    if (registered) {
        return {};
    }
    const Error& error = registered.error();
    if (stops_the_start(error.code) || error.code == Errc::conflict) {
        return registered;
    }
    settings.known_trouble = error.message;
    log.error(fmt::format("{}; own images are served all the same, and the catalog is tried again",
                          error.message));
    return {};
}

Result<void> fill_in(FederationSettings& settings) {
    auto server = checked_server_name(settings.server);
    if (!server) {
        return std::unexpected(server.error());
    }
    settings.server = std::move(*server);
    if (settings.catalog_url.empty()) {
        settings.catalog_url = default_catalog_url();
    }
    if (settings.instance.empty()) {
        auto instance = random_instance();
        if (!instance) {
            return std::unexpected(instance.error());
        }
        settings.instance = std::move(*instance);
    }
    return settings.uri.empty() ? Result<void>() : check_own_uri(settings.uri);
}

// Said once, by the first of the two steps.
void prepare_state(FederationSettings& settings, Log& log) {
    if (settings.state_directory.empty()) {
        return;
    }
    auto own = own_state_directory(settings.state_directory, settings.server);
    if (own) {
        settings.own_state = std::move(*own);
        return;
    }
    settings.state_directory.clear();
    settings.own_state.clear();
    log.error(
        fmt::format("{}; nothing of the catalog is kept for when it is away: give a "
                    "directory with state=DIR",
                    own.error().message));
}

std::unique_ptr<Catalog> catalog_of(const FederationSettings& settings, Log& log) {
    auto live = make_lazy_catalog({.url = settings.catalog_url,
                                   .retry = std::chrono::seconds(1),
                                   .known_trouble = settings.known_trouble,
                                   .open = {}},
                                  log);
    auto store = std::make_unique<StubStore>(
        StubStore::Settings{.directory = settings.own_state,
                            .server = settings.server,
                            .catalog = describe_catalog_url(settings.catalog_url)},
        log);
    return make_remembering_catalog({.server = settings.server,
                                     .lifetime = settings.stub_lifetime,
                                     .known_trouble = settings.known_trouble},
                                    std::move(live), std::move(store), log);
}

std::unique_ptr<Publisher> publisher_of(const FederationSettings& settings,
                                        const FederationParts& parts, Log& log) {
    if (settings.uri.empty()) {
        return nullptr;
    }
    PublisherSettings publishing;
    publishing.server = server_of(settings);
    publishing.registered = settings.known_trouble.empty();
    publishing.sessions = parts.sessions;
    return start_publisher(std::move(publishing), *parts.repositories, *parts.catalog, log);
}

// Copies are made in a directory of their own, which has to be there before the process shuts
// itself in.
void prepare_copies(const FederationSettings& settings, const RepositorySet& repositories,
                    Log& log) {
    if (!settings.copies || settings.uri.empty() || repositories.empty()) {
        return;
    }
    if (auto staging = open_staging(repositories.repositories().front(), true); !staging) {
        log.info(fmt::format("this server takes no copies: {}", staging.error().message));
    }
}

// All restore points of a disk have one: it starts from each of them much the same.
std::optional<DiskName> profile_name(const std::string& disk) {
    auto name = DiskName::parse(disk);
    const auto point = name ? RestorePoint::of(*name) : std::nullopt;
    auto plain = point ? DiskName::parse(point->disk) : name;
    return plain ? std::optional(std::move(*plain)) : std::nullopt;
}

// A catalog that is away, or has no such thing, costs a start its speed and nothing else.
BootProfiles boot_profiles_of(Catalog& catalog, Log& log) {
    BootProfiles profiles;
    profiles.find = [&catalog](const std::string& disk) -> std::optional<std::string> {
        const auto name = profile_name(disk);
        const auto found =
            name ? catalog.boot_profile(*name) : Result<std::optional<std::string>>();
        return found ? *found : std::nullopt;
    };
    profiles.learned = [&catalog, &log](const std::string& disk, const std::string& profile) {
        const auto name = profile_name(disk);
        const auto put = name ? catalog.put_boot_profile(*name, profile) : Result<void>();
        if (!put) {
            log.debug(fmt::format("disk '{}': its boot profile is not kept: {}", escaped(disk),
                                  put.error().message));
        }
    };
    return profiles;
}

// A disk that is in the cache as a whole becomes an image of this server's by a job like any other,
// for which no more than a little is asked of others. Once: what became of it is for the operator.
void wish_own_copy(Catalog& catalog, const std::string& server, const std::string& disk, Log& log) {
    const auto name = DiskName::parse(disk);
    const auto record = name ? catalog.find(*name) : Result<std::optional<DiskRecord>>();
    const auto jobs = catalog.jobs(server);
    if (!record || !*record || (*record)->as_of != 0 || !jobs ||
        std::ranges::count((*record)->locations, server, &Location::server) > 0 ||
        std::ranges::count(*jobs, *name, &Job::disk) > 0) {
        return;
    }
    auto id = random_instance();
    Job job{.id = id ? std::move(*id) : "", .kind = JobKind::copy, .disk = *name, .target = server};
    job.size = disk_size(**record);
    const auto put = catalog.put_job(job);
    log.info(fmt::format(
        "disk '{}': {}", escaped(disk),
        put ? "this server makes a copy of its own of what is in the cache" : put.error().message));
}

FederationParts::ServeImage image_server(FormatHelpers& helpers, Log& log) {
    return [&helpers, &log, indexes = std::make_shared<BackupIndexes>()](
               OpenImage image, FederationParts::BeforeFirstWrite before_first_write) {
        if (is_backup(image)) {
            return make_backup_disk(std::move(image), *indexes, log);
        }
        if (is_plain_qcow2(image)) {
            return make_qcow2_disk(std::move(image), log);
        }
        return image.format() == ImageFormat::raw
                   ? make_local_disk(std::move(image), {std::move(before_first_write)}, log)
                   : helpers.open(std::move(image), std::move(before_first_write));
    };
}

// The parts but the copier are there.
std::unique_ptr<Copier> copier_of(const FederationSettings& settings, const FederationParts& parts,
                                  Log& log) {
    if (settings.uri.empty()) {
        return nullptr;
    }
    std::function<std::shared_ptr<Disk>(RelayPlan)> relay_with_cache;
    if (parts.cache) {
        relay_with_cache = [cache = parts.cache.get(), relay = parts.relay](RelayPlan plan) {
            return make_cached_disk(*cache, std::move(plan), relay, CacheUse::take);
        };
    }
    return start_copier(
        {.catalog = *parts.catalog,
         .repositories = *parts.repositories,
         .log = log,
         .server = settings.server,
         .site = settings.site,
         .accepts = settings.copies,
         .relay = parts.relay,
         .relay_with_cache = std::move(relay_with_cache),
         .serve = [serve =
                       parts.serve_image](OpenImage image) { return serve(std::move(image), {}); },
         .being_written =
             [&writers = *parts.writers](const DiskName& disk) { return writers.writing(disk); },
         .digests = parts.digests.get()});
}

// Null where the server keeps no state, or cannot; a line says so.
std::unique_ptr<DigestStore> digests_of(const FederationSettings& settings, Log& log) {
    const bool wanted = !settings.own_state.empty() && !settings.uri.empty() &&
                        !settings.repositories.empty() && settings.digests.rate > 0;
    if (!wanted) {
        return nullptr;
    }
    auto store = DigestStore::open(settings.own_state + "/digests.db", log);
    if (!store) {
        log.error(fmt::format("no digests are computed: {}", store.error().message));
        return nullptr;
    }
    return std::move(*store);
}

}  // namespace

Result<FederationSettings> check_federation(FederationSettings settings, Log& log) {
    if (auto filled = fill_in(settings); !filled) {
        return std::unexpected(filled.error());
    }
    const auto repositories = open_repositories(settings);
    if (!repositories) {
        return std::unexpected(repositories.error());
    }
    prepare_copies(settings, *repositories, log);
    if (settings.relay.tls.mode != wire::TlsMode::off) {
        if (auto credentials = load_tls_credentials(settings.relay.tls); !credentials) {
            return std::unexpected(credentials.error());
        }
    }
    prepare_state(settings, log);
    if (!settings.cache.directory.empty()) {
        if (auto checked = BlockCache::check(settings.cache); !checked) {
            return std::unexpected(checked.error());
        }
    }
    if (auto checked = check_catalog(settings, log); !checked) {
        return std::unexpected(checked.error());
    }
    if (settings.uri.empty() && !settings.repositories.empty()) {
        log.info(
            fmt::format("server {} publishes no location: peers do not know where to reach it; "
                        "give uri=nbd://HOST to let them",
                        settings.server));
    }
    return settings;
}

Result<std::unique_ptr<Federation>> start_federation(FederationSettings settings, Log& log) {
    if (auto filled = fill_in(settings); !filled) {
        return std::unexpected(filled.error());
    }
    prepare_state(settings, log);
    auto repositories = open_repositories(settings);
    if (!repositories) {
        return std::unexpected(repositories.error());
    }
    auto engine = make_relay_engine(settings.relay, log);
    if (!engine) {
        return std::unexpected(engine.error());
    }
    FederationParts parts;
    parts.server = settings.server;
    parts.site = settings.site;
    parts.writable = settings.repository_options.writable;
    parts.catalog = catalog_of(settings, log);
    parts.liveness = std::make_unique<Liveness>();
    parts.repositories = std::make_unique<RepositorySet>(std::move(*repositories));
    parts.engine = std::move(*engine);
    parts.helpers = make_format_helpers({}, *parts.engine, log);
    parts.publisher = publisher_of(settings, parts, log);
    parts.digests = digests_of(settings, log);
    parts.writers = std::make_unique<Writers>(
        Writers::Parts{*parts.catalog, parts.engine->services().workers, log, parts.server},
        settings.writers);
    parts.watch = std::make_unique<CatalogWatch>(*parts.catalog, *parts.liveness, *parts.engine);
    parts.serve_image = image_server(*parts.helpers, log);
    parts.relay = [&relay_engine = *parts.engine](RelayPlan plan) {
        return make_relayed_disk(relay_engine, std::move(plan));
    };
    parts.profiles = boot_profiles_of(*parts.catalog, log);
    if (!settings.cache.directory.empty()) {
        auto cache = BlockCache::start(settings.cache, log, parts.profiles);
        if (!cache) {
            return std::unexpected(cache.error());
        }
        parts.cache = std::move(*cache);
        if (settings.copies && !settings.uri.empty() && !settings.repositories.empty()) {
            parts.cache->filled = [catalog = parts.catalog.get(), server = parts.server,
                                   &log](const std::string& disk) {
                wish_own_copy(*catalog, server, disk, log);
            };
        }
    }
    parts.copier = copier_of(settings, parts, log);
    parts.verify = settings.verify;
    if (settings.verify != Verify::off) {
        parts.verifier = std::make_unique<VerifyServices>(
            VerifyServices::Parts{.relay = parts.relay,
                                  .catalog = *parts.catalog,
                                  .patience = settings.relay.limits.request,
                                  .must_check = settings.verify == Verify::require},
            log);
    }
    if (parts.publisher && parts.digests) {
        parts.digester =
            start_digester({.server = parts.server,
                            .repositories = *parts.repositories,
                            .publisher = *parts.publisher,
                            .catalog = *parts.catalog,
                            .store = *parts.digests,
                            .serve = [serve = parts.serve_image](
                                         OpenImage image) { return serve(std::move(image), {}); }},
                           settings.digests, log);
    }
    return make_federation(std::move(parts), log);
}

}  // namespace signpost
