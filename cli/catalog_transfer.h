// SPDX-License-Identifier: BSD-3-Clause
//
// All of a catalog, out of one and into another, in pieces that fit into memory.
//
// Threads: one.

#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "cli/catalog_file.h"

namespace signpost {

struct TransferCounts {
    std::uint64_t servers = 0;
    std::uint64_t disks = 0;
};
using TransferProgress = std::function<void(const TransferCounts&)>;

// With a catalog that is unavailable: how long after the first failure to ask again, twice as long
// after each further one, and how often in all.
struct AskAgain {
    std::chrono::milliseconds after{1000};
    unsigned tries = 5;
};

// Everything in CATALOG, into SINK. Gives whether the catalog changed meanwhile: then what SINK got
// is not of one moment.
struct CatalogReading {
    TransferCounts counts;
    bool changed = false;
};
Result<CatalogReading> read_catalog(Catalog& catalog, CatalogSink& sink,
                                    const TransferProgress& progress, AskAgain rule = {});

// Takes what is read and only counts it: to see that a file is good.
class CheckingSink : public CatalogSink {
   public:
    explicit CheckingSink(TransferProgress progress = {}) : progress_(std::move(progress)) {}

    Result<void> add(const Server&) override { return {}; }
    Result<void> add(const SiteCost&) override { return {}; }
    Result<void> add(const DiskRecord&, const LastWriter&) override;
    Result<void> end(std::uint64_t) override { return {}; }

   private:
    const TransferProgress progress_;
    TransferCounts counts_;
};

// A catalog's disks, asked for in the order of their names: most come with a page of others.
class DiskLookAhead {
   public:
    explicit DiskLookAhead(Catalog& catalog) : catalog_(catalog) {}

    // NAME sorts after all that were asked for before.
    Result<std::optional<DiskRecord>> find(const DiskName& name);

   private:
    bool is_beyond_page(const DiskName& name) const;

    Catalog& catalog_;
    std::vector<DiskRecord> page_;
    bool is_last_ = false;
    std::string before_;  // asked for last
};

// Puts what is read into a catalog. Without MERGE the catalog must be empty, is opened with
// OpenMode::import, and is not whole until end(). With MERGE servers and site costs that it has are
// left as they are, and of two locations the newer is kept.
class CatalogImport : public CatalogSink {
   public:
    CatalogImport(Catalog& catalog, bool merge, TransferProgress progress)
        : catalog_(catalog), merge_(merge), progress_(std::move(progress)), held_(catalog) {}

    Result<void> begin();
    Result<void> add(const Server& server) override;
    Result<void> add(const SiteCost& cost) override;
    Result<void> add(const DiskRecord& disk, const LastWriter& writer) override;
    Result<void> end(std::uint64_t newest_generation) override;

    const TransferCounts& counts() const { return counts_; }

   private:
    Result<void> merge_disk(const DiskRecord& disk, const LastWriter& writer);
    Result<void> write_piece();
    Result<void> check_alone() const;

    Catalog& catalog_;
    const bool merge_;
    const TransferProgress progress_;
    DiskLookAhead held_;
    std::vector<SiteCost> held_costs_;
    Restoration piece_;
    std::size_t locations_ = 0;   // in the piece
    std::uint64_t sequence_ = 0;  // of changes, when nobody else makes any
    TransferCounts counts_;
};

}  // namespace signpost
