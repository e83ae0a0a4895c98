// SPDX-License-Identifier: BSD-3-Clause
//
// All of a catalog, out of one and into another, in pieces that fit into memory.
//
// Threads: one.

#pragma once

#include <functional>
#include <vector>

#include "cli/catalog_file.h"

namespace signpost {

struct TransferCounts {
    std::uint64_t servers = 0;
    std::uint64_t disks = 0;
};
using TransferProgress = std::function<void(const TransferCounts&)>;

// Everything in CATALOG, into SINK. Gives whether the catalog changed meanwhile: then what SINK got
// is not of one moment.
Result<bool> read_catalog(Catalog& catalog, CatalogSink& sink, const TransferProgress& progress);

// Takes what is read and does nothing with it: to see that a file is good.
class CheckingSink : public CatalogSink {
   public:
    Result<void> add(const Server&) override { return {}; }
    Result<void> add(const SiteCost&) override { return {}; }
    Result<void> add(const DiskRecord&) override { return {}; }
    Result<void> end(std::uint64_t) override { return {}; }
};

// Puts what is read into a catalog. Without MERGE the catalog must be empty, is opened with
// OpenMode::import, and is not whole until end(). With MERGE servers that it has are left as they
// are, and of two locations the newer is kept.
class CatalogImport : public CatalogSink {
   public:
    CatalogImport(Catalog& catalog, bool merge, TransferProgress progress)
        : catalog_(catalog), merge_(merge), progress_(std::move(progress)) {}

    Result<void> begin();
    Result<void> add(const Server& server) override;
    Result<void> add(const SiteCost& cost) override;
    Result<void> add(const DiskRecord& disk) override;
    Result<void> end(std::uint64_t newest_generation) override;

    const TransferCounts& counts() const { return counts_; }

   private:
    Result<void> write_piece();

    Catalog& catalog_;
    const bool merge_;
    const TransferProgress progress_;
    Restoration piece_;
    std::size_t locations_ = 0;  // in the piece
    TransferCounts counts_;
};

}  // namespace signpost
