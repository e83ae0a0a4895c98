// SPDX-License-Identifier: BSD-3-Clause
//
// Rows of any store, as records: which column holds what, and what becomes of rows that break a
// rule. They are skipped and counted, never returned.
//
// Threads: as the row; a count may be shared.

#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "catalog/records.h"

namespace signpost {

using SkipCount = std::atomic<std::uint64_t>;

// One row of a statement's answer. What it gives is valid until the next row.
class StoreRow {
   public:
    virtual ~StoreRow() = default;

    // Nothing when the column holds another type.
    virtual std::optional<std::int64_t> integer(int column) const = 0;
    virtual std::optional<std::string_view> text(int column) const = 0;
    virtual std::optional<std::string_view> blob(int column) const = 0;
    virtual bool is_null(int column) const = 0;
};

// The columns of a location statement: those of a LocationRow, and the disk's name.
struct LocationColumn {
    enum : int {
        server,
        export_name,
        size,
        format,
        read_only,
        generation,
        digest,
        state,
        priority,
        last_seen,
        fingerprint,
        minimum_block,
        verified,
        disk,
    };
};

// The columns of a server statement: those of a ServerRow, the row's id, and one URI or NULL.
struct ServerColumn {
    enum : int {
        name,
        site,
        kind,
        priority,
        last_heartbeat,
        heartbeat_sequence,
        instance,
        priority_class,
        draining,
        sessions,
        id,
        uri,
    };
};

// What a row of a location statement holds. An export name of NULL is the disk's name.
std::optional<Location> location_in(const StoreRow& row, std::string_view disk);

// Collects rows of a location statement, which come in the order of their disks' names, into disks.
class DiskCollector {
   public:
    explicit DiskCollector(SkipCount& skipped) : skipped_(skipped) {}

    bool is_current(std::string_view name) const { return started_ && name == name_; }
    void start(std::string_view name);
    void add(const StoreRow& row);
    // A disk whose name breaks the rules takes its locations with it.
    void finish();
    // Forgets the disk that was started last.
    void drop_current() { locations_.clear(); }

    std::size_t size() const { return disks_.size(); }
    std::vector<DiskRecord> take_disks() { return std::move(disks_); }

   private:
    SkipCount& skipped_;
    bool started_ = false;
    std::string name_;
    std::vector<Location> locations_;
    std::vector<DiskRecord> disks_;
};

// Collects rows of a server statement, those of one server one after the other.
class ServerCollector {
   public:
    explicit ServerCollector(SkipCount& skipped) : skipped_(skipped) {}

    void add(const StoreRow& row);
    std::vector<Server> take_servers() { return std::move(servers_); }

   private:
    SkipCount& skipped_;
    std::optional<std::int64_t> id_;
    bool usable_ = false;
    std::vector<Server> servers_;
};

}  // namespace signpost
