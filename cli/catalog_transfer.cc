// SPDX-License-Identifier: BSD-3-Clause
#include "cli/catalog_transfer.h"

#include "catalog/record_merge.h"

namespace signpost {

namespace {

constexpr std::size_t kPageDisks = 1000;
constexpr std::size_t kPieceLocations = 2000;

template <class Record>
Result<void> add_all(Result<std::vector<Record>> records, CatalogSink& sink) {
    if (!records)
        return std::unexpected(std::move(records.error()));
    for (const Record& record : *records)
        if (auto added = sink.add(record); !added)
            return added;
    return {};
}

}  // namespace

Result<bool> read_catalog(Catalog& catalog, CatalogSink& sink, const TransferProgress& progress) {
    const auto sequence = catalog.change_sequence();
    if (!sequence)
        return std::unexpected(sequence.error());
    if (auto added = add_all(catalog.servers(), sink); !added)
        return std::unexpected(std::move(added.error()));
    if (auto added = add_all(catalog.site_costs(), sink); !added)
        return std::unexpected(std::move(added.error()));
    TransferCounts counts;
    std::string after;
    for (std::size_t got = kPageDisks; got == kPageDisks;) {
        const auto page = catalog.list("", after, kPageDisks);
        if (!page)
            return std::unexpected(page.error());
        if (auto added = add_all<DiskRecord>(*page, sink); !added)
            return std::unexpected(std::move(added.error()));
        got = page->size();
        counts.disks += got;
        progress(counts);
        if (got > 0)
            after = page->back().name.str();
    }
    const auto newest = catalog.newest_generation();
    const auto now = catalog.change_sequence();
    if (!newest || !now)
        return std::unexpected(newest ? now.error() : newest.error());
    if (auto ended = sink.end(*newest); !ended)
        return std::unexpected(std::move(ended.error()));
    return *now != *sequence;
}

Result<void> CatalogImport::begin() {
    return merge_ ? Result<void>() : catalog_.begin_import();
}

Result<void> CatalogImport::add(const Server& server) {
    ++counts_.servers;
    if (merge_) {
        const auto held = catalog_.find_server(server.name);
        if (!held)
            return std::unexpected(held.error());
        if (*held)
            return {};
    }
    piece_.servers.push_back(server);
    return {};
}

Result<void> CatalogImport::add(const SiteCost& cost) {
    return catalog_.put_site_cost(cost);
}

Result<void> CatalogImport::add(const DiskRecord& disk) {
    ++counts_.disks;
    DiskRecord put = disk;
    if (merge_) {
        auto held = catalog_.find(disk.name);
        if (!held)
            return std::unexpected(std::move(held.error()));
        if (*held)
            put = merge_newest(disk, **held);
    }
    locations_ += put.locations.size();
    piece_.disks.push_back(std::move(put));
    return locations_ < kPieceLocations ? Result<void>() : write_piece();
}

Result<void> CatalogImport::write_piece() {
    auto written = catalog_.restore(piece_);
    piece_ = {};
    locations_ = 0;
    if (written)
        progress_(counts_);
    return written;
}

Result<void> CatalogImport::end(std::uint64_t newest_generation) {
    piece_.generation_floor = newest_generation;
    if (auto written = write_piece(); !written)
        return written;
    return merge_ ? Result<void>() : catalog_.end_import();
}

}  // namespace signpost
