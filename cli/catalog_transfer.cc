// SPDX-License-Identifier: BSD-3-Clause
#include "cli/catalog_transfer.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "catalog/record_merge.h"

namespace signpost {

namespace {

constexpr std::size_t kPageDisks = 1000;
constexpr std::size_t kHeldDisks = 200;
constexpr std::size_t kPieceLocations = 2000;

// An hour's reading does not end because of one busy moment.
template <class Look>
auto patiently(AskAgain rule, Look look) -> decltype(look()) {
    for (;;) {
        auto answer = look();
        if (answer || answer.error().code != Errc::unavailable || --rule.tries == 0)
            return answer;
        std::this_thread::sleep_for(rule.after);
        rule.after *= 2;
    }
}

template <class Record>
Result<void> add_all(Result<std::vector<Record>> records, CatalogSink& sink) {
    if (!records)
        return std::unexpected(std::move(records.error()));
    for (const Record& record : *records)
        if (auto added = sink.add(record); !added)
            return added;
    return {};
}

// Where there is only one copy, it is the newest.
Result<LastWriter> writer_of_many(Catalog& catalog, const DiskRecord& disk, AskAgain rule) {
    const bool writable = std::ranges::any_of(
        disk.locations, [](const Location& location) { return !location.read_only; });
    if (disk.locations.size() < 2 || !writable)
        return std::nullopt;
    auto writer = patiently(rule, [&] { return catalog.last_writer(disk.name); });
    if (writer && *writer && (*writer)->server.empty())
        return std::nullopt;
    return writer;
}

Result<void> add_disks(Catalog& catalog, const std::vector<DiskRecord>& page, CatalogSink& sink,
                       AskAgain rule) {
    for (const DiskRecord& disk : page) {
        auto writer = writer_of_many(catalog, disk, rule);
        if (!writer)
            return std::unexpected(std::move(writer.error()));
        if (auto added = sink.add(disk, *writer); !added)
            return added;
    }
    return {};
}

}  // namespace

Result<CatalogReading> read_catalog(Catalog& catalog, CatalogSink& sink,
                                    const TransferProgress& progress, AskAgain rule) {
    const auto change_sequence = [&] { return catalog.change_sequence(); };
    const auto sequence = patiently(rule, change_sequence);
    if (!sequence)
        return std::unexpected(sequence.error());
    CatalogReading reading;
    auto servers = patiently(rule, [&] { return catalog.servers(); });
    reading.counts.servers = servers ? servers->size() : 0;
    if (auto added = add_all(std::move(servers), sink); !added)
        return std::unexpected(std::move(added.error()));
    auto costs = patiently(rule, [&] { return catalog.site_costs(); });
    if (auto added = add_all(std::move(costs), sink); !added)
        return std::unexpected(std::move(added.error()));
    std::string after;
    for (std::size_t got = kPageDisks; got == kPageDisks;) {
        const auto page = patiently(rule, [&] { return catalog.list("", after, kPageDisks); });
        if (!page)
            return std::unexpected(page.error());
        if (auto added = add_disks(catalog, *page, sink, rule); !added)
            return std::unexpected(std::move(added.error()));
        got = page->size();
        reading.counts.disks += got;
        progress(reading.counts);
        if (got > 0)
            after = page->back().name.str();
    }
    const auto newest = patiently(rule, [&] { return catalog.newest_generation(); });
    const auto now = patiently(rule, change_sequence);
    if (!newest || !now)
        return std::unexpected(newest ? now.error() : newest.error());
    if (auto ended = sink.end(*newest); !ended)
        return std::unexpected(std::move(ended.error()));
    reading.changed = *now != *sequence;
    return reading;
}

Result<void> CheckingSink::add(const DiskRecord&, const LastWriter&) {
    if (++counts_.disks % kPageDisks == 0 && progress_)
        progress_(counts_);
    return {};
}

bool DiskLookAhead::is_beyond_page(const DiskName& name) const {
    return !is_last_ && (page_.empty() || page_.back().name < name);
}

Result<std::optional<DiskRecord>> DiskLookAhead::find(const DiskName& name) {
    if (is_beyond_page(name)) {
        auto page = catalog_.list("", before_, kHeldDisks);
        if (!page)
            return std::unexpected(std::move(page.error()));
        page_ = std::move(*page);
        is_last_ = page_.size() < kHeldDisks;
    }
    before_ = name.str();
    if (is_beyond_page(name))
        return catalog_.find(name);
    const auto found = std::ranges::lower_bound(page_, name, {}, &DiskRecord::name);
    return found != page_.end() && found->name == name ? std::optional(*found) : std::nullopt;
}

Result<void> CatalogImport::begin() {
    if (merge_) {
        auto costs = catalog_.site_costs();
        if (!costs)
            return std::unexpected(std::move(costs.error()));
        held_costs_ = std::move(*costs);
        return {};
    }
    if (auto begun = catalog_.begin_import(); !begun)
        return begun;
    const auto sequence = catalog_.change_sequence();
    if (!sequence)
        return std::unexpected(sequence.error());
    sequence_ = *sequence;
    return {};
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
    const bool held = std::ranges::any_of(held_costs_, [&](const SiteCost& other) {
        return other.from == cost.from && other.to == cost.to;
    });
    if (held)
        return {};
    ++sequence_;
    return catalog_.put_site_cost(cost);
}

Result<void> CatalogImport::merge_disk(const DiskRecord& disk, const LastWriter& writer) {
    auto held = held_.find(disk.name);
    if (!held)
        return std::unexpected(std::move(held.error()));
    piece_.disks.push_back(*held ? merge_newest(disk, **held) : disk);
    if (!writer)
        return {};
    const auto known = catalog_.last_writer(disk.name);
    if (!known)
        return std::unexpected(known.error());
    if (!*known)
        piece_.writers.push_back(*writer);
    return {};
}

Result<void> CatalogImport::add(const DiskRecord& disk, const LastWriter& writer) {
    ++counts_.disks;
    if (merge_) {
        if (auto merged = merge_disk(disk, writer); !merged)
            return merged;
    } else {
        piece_.disks.push_back(disk);
        if (writer)
            piece_.writers.push_back(*writer);
    }
    locations_ += piece_.disks.back().locations.size();
    return locations_ < kPieceLocations ? Result<void>() : write_piece();
}

Result<void> CatalogImport::write_piece() {
    auto written = catalog_.restore(piece_);
    piece_ = {};
    locations_ = 0;
    ++sequence_;
    if (written)
        progress_(counts_);
    return written;
}

// Two imports at the same time would make one catalog of both: neither is declared whole.
Result<void> CatalogImport::check_alone() const {
    const auto sequence = catalog_.change_sequence();
    if (!sequence)
        return std::unexpected(sequence.error());
    if (*sequence == sequence_)
        return {};
    return fail(Errc::conflict, fmt::format("catalog {} was changed by somebody else while it was "
                                            "filled, so it is half imported; do it again, alone",
                                            catalog_.description()));
}

Result<void> CatalogImport::end(std::uint64_t newest_generation) {
    piece_.generation_floor = newest_generation;
    if (auto written = write_piece(); !written || merge_)
        return written;
    if (auto alone = check_alone(); !alone)
        return alone;
    return catalog_.end_import();
}

}  // namespace signpost
