// SPDX-License-Identifier: BSD-3-Clause
//
// The answers of the statements in postgres_queries.h, as records.
//
// Pure functions. Threads: any.

#pragma once

#include <string>
#include <vector>

#include "catalog/postgres_connection.h"

namespace signpost {

// One row of an answer. A digest is hexadecimal there.
class PostgresRow : public StoreRow {
   public:
    PostgresRow(const PostgresAnswer& answer, int row) : answer_(answer), row_(row) {}

    std::optional<std::int64_t> integer(int column) const override;
    std::optional<std::string_view> text(int column) const override;
    std::optional<std::string_view> blob(int column) const override;
    bool is_null(int column) const override;

   private:
    const PostgresAnswer& answer_;
    const int row_;
    mutable std::string bytes_;
};

// The rows of one disk.
std::vector<DiskRecord> read_disks(const PostgresAnswer& answer, SkipCount& skipped);

std::vector<Server> read_servers(const PostgresAnswer& answer, SkipCount& skipped);

// A page, of which one answer may give only a part.
class PageReader {
   public:
    PageReader(std::size_t limit, SkipCount& skipped) : limit_(limit), collector_(skipped) {}

    // How many disks are still wanted.
    std::size_t wanted() const { return limit_ - collector_.size(); }
    // ANSWER: the rows of at most wanted() names; with ROW_LIMIT rows there may be more of the last
    // one. True when there is more to ask for, after last_name().
    bool add(const PostgresAnswer& answer, std::size_t row_limit);
    const std::string& last_name() const { return last_name_; }
    std::vector<DiskRecord> take_disks() { return collector_.take_disks(); }

   private:
    const std::size_t limit_;
    std::string last_name_;
    DiskCollector collector_;
};

}  // namespace signpost
