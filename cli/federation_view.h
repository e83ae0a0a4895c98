// SPDX-License-Identifier: BSD-3-Clause
//
// The catalog as the verbs look at it: opened for reading or for writing, with errors that name the
// next command, and the questions that several verbs ask of it.
//
// Lifetime: owns the catalog's handle. Threads: one.

#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "catalog/catalog.h"
#include "cli/invocation.h"

namespace signpost {

enum class CatalogUse { read, write };

class FederationView {
   public:
    // USE write makes a catalog that is missing.
    static Outcome<FederationView> open(const Options& options, CatalogUse use);

    // What a server remembers, in place of the catalog.
    static FederationView of(const Options& options, std::unique_ptr<Catalog> catalog) {
        return FederationView(options, std::move(catalog));
    }

    Catalog& catalog() const { return *catalog_; }
    const Options& options() const { return *options_; }

    // Fails with no_such_disk, and says how to look for it.
    Outcome<DiskRecord> disk(const DiskName& name) const;

    // Every server, by name; asked once.
    Outcome<const std::vector<Server>*> servers();

    // Seconds since 1970 by the store's clock: heartbeats are by no other.
    Outcome<std::int64_t> now() const;

    // Null when there is none of that name. Call servers() before.
    const Server* server(std::string_view name) const;

    // Every disk whose name begins with PREFIX, in byte order, a page at a time. SEE returns false
    // to stop.
    Outcome<void> each_disk(std::string_view prefix,
                            const std::function<bool(const DiskRecord&)>& see) const;

   private:
    FederationView(const Options& options, std::unique_ptr<Catalog> catalog)
        : options_(&options), catalog_(std::move(catalog)) {}

    const Options* options_;
    std::unique_ptr<Catalog> catalog_;
    std::vector<Server> servers_;
    bool servers_known_ = false;
};

inline constexpr std::size_t kPage = 1000;

// The disk that NAME means: of that name, else the newest restore point that it asks for, which is
// then said on standard error. Fails with no_such_disk.
Outcome<DiskRecord> meant_disk(const FederationView& view, Console& console, const DiskName& name);

// Locations that may stand in for each other, as groups of server names; each location is in
// exactly one group.
std::vector<std::vector<std::string>> same_content(const DiskRecord& disk);

// Where clients ask SERVER for the disk: its first URI with the export's name. Empty without a URI.
std::optional<NbdUri> location_uri(const Server* server, const Location& location);

// A name as a terminal may have it; elsewhere as it is.
std::string shown_name(const Console& console, std::string_view name);

// A size as --bytes wants it.
std::string shown_size(const Options& options, std::uint64_t bytes);

}  // namespace signpost
