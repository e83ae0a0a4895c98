// SPDX-License-Identifier: BSD-3-Clause
//
// `catalog rebuild`: a lost catalog, made anew from the stubs that servers keep of it.

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <tuple>

#include "catalog/record_merge.h"
#include "cli/transfer_report.h"
#include "nbd-server/disk/stub_store.h"

namespace signpost {

namespace {

namespace fs = std::filesystem;

struct Witness {
    std::string server;
    KeptStubs stubs;
    std::vector<DiskRecord> page = {};
    std::size_t next = 0;
    bool last_page = false;
};

constexpr std::size_t kWitnessPage = 500;

// Where a server keeps what it knows of the catalog (see signpostd(8), FILES).
constexpr const char* kStubsFile = "stubs.db";

Failure directory_failure(const fs::path& directory, const std::error_code& error) {
    const bool denied = error == std::errc::permission_denied;
    return {denied ? ExitCode::denied : ExitCode::failed,
            fmt::format("directory {}: {}", escaped(directory.string(), 400), error.message())};
}

// Whether DIRECTORY has stubs. One that may not be read could be of the server that matters.
Outcome<bool> has_stubs(const fs::path& directory) {
    std::error_code error;
    const auto type = fs::status(directory / kStubsFile, error).type();
    if (error == std::errc::permission_denied)
        return std::unexpected(directory_failure(directory, error));
    return type == fs::file_type::regular;
}

// A copy's directory may have any name: the note beside the stubs says whose they are.
Outcome<Witness> open_witness(const fs::path& directory) {
    auto stubs = read_stubs(directory.string());
    if (!stubs)
        return std::unexpected(catalog_failure(stubs.error()));
    std::string server = stubs->note.server;
    if (server.empty())
        server = directory.filename().string();
    if (!check_server_name(server))
        return failure(ExitCode::failed,
                       fmt::format("directory {}: whose {} this is, is not known; name the "
                                   "directory for its server",
                                   escaped(directory.string(), 400), kStubsFile));
    return Witness{std::move(server), std::move(*stubs)};
}

// DIRECTORY itself, and those in it.
Outcome<std::vector<fs::path>> stubs_below(const fs::path& directory) {
    std::vector<fs::path> all{directory};
    std::error_code error;
    for (fs::directory_iterator entry(directory, error), end; !error && entry != end;
         entry.increment(error))
        all.push_back(entry->path());
    if (error)
        return std::unexpected(directory_failure(directory, error));
    std::vector<fs::path> found;
    for (const fs::path& each : all) {
        const auto has = has_stubs(each);
        if (!has)
            return std::unexpected(has.error());
        if (*has)
            found.push_back(each);
    }
    return found;
}

Outcome<std::vector<Witness>> find_witnesses(const std::vector<std::string>& directories) {
    std::vector<Witness> witnesses;
    for (const std::string& each : directories) {
        std::error_code error;
        auto base = fs::absolute(each, error).lexically_normal();
        if (!base.has_filename())
            base = base.parent_path();
        const auto found = stubs_below(base);
        if (!found)
            return std::unexpected(found.error());
        for (const fs::path& directory : *found) {
            auto witness = open_witness(directory);
            if (!witness)
                return std::unexpected(witness.error());
            witnesses.push_back(std::move(*witness));
        }
    }
    std::ranges::sort(witnesses, {}, &Witness::server);
    const auto twice = std::ranges::adjacent_find(witnesses, {}, &Witness::server);
    if (twice != witnesses.end())
        return failure(ExitCode::usage,
                       fmt::format("server {} keeps stubs in two of these directories; give one",
                                   twice->server));
    return witnesses;
}

// Servers of two federations on one machine: their stubs do not belong together.
std::vector<std::string> catalogs_of(const std::vector<Witness>& witnesses) {
    std::vector<std::string> catalogs;
    for (const Witness& witness : witnesses)
        if (!witness.stubs.note.catalog.empty())
            catalogs.push_back(witness.stubs.note.catalog);
    std::ranges::sort(catalogs);
    catalogs.erase(std::unique(catalogs.begin(), catalogs.end()), catalogs.end());
    return catalogs;
}

Result<void> fill_page(Witness& witness) {
    if (witness.next < witness.page.size() || witness.last_page)
        return {};
    const std::string after = witness.page.empty() ? "" : witness.page.back().name.str();
    auto page = witness.stubs.rows->list("", after, kWitnessPage);
    if (!page)
        return std::unexpected(std::move(page.error()));
    witness.page = std::move(*page);
    witness.next = 0;
    witness.last_page = witness.page.size() < kWitnessPage;
    return {};
}

const DiskRecord* next_disk(const Witness& witness) {
    return witness.next < witness.page.size() ? &witness.page[witness.next] : nullptr;
}

// All witnesses' disks, name by name, made one catalog.
class Rebuild {
   public:
    Rebuild(std::vector<Witness>& witnesses, CatalogSink& sink)
        : witnesses_(witnesses), sink_(sink) {
        for (const Witness& witness : witnesses)
            names_.push_back(witness.server);
    }

    Result<void> run() {
        if (auto servers = add_servers(); !servers)
            return servers;
        if (auto costs = add_site_costs(); !costs)
            return costs;
        for (;;) {
            for (Witness& witness : witnesses_)
                if (auto filled = fill_page(witness); !filled)
                    return filled;
            const DiskRecord* first = first_disk();
            if (first == nullptr)
                break;
            if (auto added = add_disk(DiskName(first->name)); !added)
                return added;
        }
        std::uint64_t newest = 0;
        for (const Witness& witness : witnesses_) {
            const auto given = witness.stubs.rows->newest_generation();
            if (!given)
                return std::unexpected(given.error());
            newest = std::max(newest, *given);
        }
        return sink_.end(newest);
    }

    const std::vector<std::string>& disputes() const { return disputes_; }

   private:
    Result<void> add_servers() {
        std::map<std::string, std::vector<ServerTestimony>> said;
        for (const Witness& witness : witnesses_) {
            auto servers = witness.stubs.rows->servers();
            if (!servers)
                return std::unexpected(std::move(servers.error()));
            for (Server& server : *servers)
                said[server.name].push_back({witness.server, std::move(server)});
        }
        for (const auto& [name, all] : said)
            if (auto added = sink_.add(merge_servers(all)); !added)
                return added;
        return {};
    }

    // They carry no time: those count that agree with the newest state of the catalog.
    Result<void> add_site_costs() {
        const auto newest = std::ranges::max_element(witnesses_, {}, [](const Witness& witness) {
            return std::tuple(witness.stubs.note.sequence, witness.stubs.note.as_of);
        });
        auto costs = newest->stubs.rows->site_costs();
        if (!costs)
            return std::unexpected(std::move(costs.error()));
        for (const SiteCost& cost : *costs)
            if (auto added = sink_.add(cost); !added)
                return added;
        return {};
    }

    const DiskRecord* first_disk() const {
        const DiskRecord* first = nullptr;
        for (const Witness& witness : witnesses_) {
            const DiskRecord* disk = next_disk(witness);
            if (disk != nullptr && (first == nullptr || disk->name < first->name))
                first = disk;
        }
        return first;
    }

    Result<void> add_disk(const DiskName& name) {
        std::vector<Testimony> said;
        for (Witness& witness : witnesses_) {
            const DiskRecord* disk = next_disk(witness);
            if (disk != nullptr && disk->name == name) {
                said.push_back({witness.server, disk});
                ++witness.next;
            }
        }
        MergedDisk merged = merge_testimonies(said, names_);
        for (const std::string& server : merged.disputed)
            disputes_.push_back(
                fmt::format("disk {} on {}: those who know of it disagree; the newest generation "
                            "was taken",
                            escaped(name.str()), server));
        if (merged.locations.empty())
            return {};
        return sink_.add(DiskRecord{name, std::move(merged.locations)}, std::nullopt);
    }

    std::vector<Witness>& witnesses_;
    CatalogSink& sink_;
    std::vector<std::string> names_;
    std::vector<std::string> disputes_;
};

TransferReport report_of(const Catalog& catalog, const std::vector<Witness>& witnesses,
                         const CatalogImport& import, const Rebuild& rebuild) {
    TransferReport report{.target = catalog.description(),
                          .servers = import.counts().servers,
                          .disks = import.counts().disks,
                          .disputes = rebuild.disputes()};
    for (const Witness& witness : witnesses)
        report.skipped_rows += witness.stubs.rows->skipped_rows();
    return report;
}

}  // namespace

VerbResult run(const Context& context, const CatalogRebuildVerb& verb) {
    auto witnesses = find_witnesses(verb.from);
    if (!witnesses)
        return std::unexpected(witnesses.error());
    if (witnesses->empty())
        return failure(ExitCode::failed,
                       fmt::format("there is no {} in or below {}; name the servers' state "
                                   "directories (copies of them will do) with --from DIR",
                                   kStubsFile, escaped(verb.from.front(), 400)));
    if (const auto catalogs = catalogs_of(*witnesses); catalogs.size() > 1)
        context.console.note(
            fmt::format("these servers name their catalog differently ({}): see "
                        "that they were of one federation",
                        escaped(fmt::format("{}", fmt::join(catalogs, ", ")), 400)));
    const auto catalog =
        open_to_fill(context.options.catalog, verb.merge ? OpenMode::create : OpenMode::import);
    if (!catalog)
        return std::unexpected(catalog.error());
    CatalogImport import(**catalog, verb.merge, transfer_progress(context, "rebuilt"));
    if (auto begun = import.begin(); !begun)
        return std::unexpected(catalog_failure(begun.error()));
    Rebuild rebuild(*witnesses, import);
    if (auto done = rebuild.run(); !done)
        return std::unexpected(catalog_failure(done.error()));
    print_transfer(context, report_of(**catalog, *witnesses, import, rebuild),
                   fmt::format("rebuilt from what {} servers remember", witnesses->size()));
    return ExitCode::ok;
}

}  // namespace signpost
