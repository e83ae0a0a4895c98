// SPDX-License-Identifier: BSD-3-Clause
//
// Table lays rows out under a header, in columns as wide as their widest cell; or, for scripts, one
// tab between cells and no header. Cells are UTF-8; each character counts as one place.
//
// Values; no thread rule.

#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "terminal/console.h"
#include "terminal/outcome.h"

namespace signpost {

struct Column {
    std::string_view key;  // as -o names it; in capitals it is the header
    bool right = false;    // numbers
};

struct Cell {
    std::string text;
    Tone tone = Tone::plain;
};

struct TableStyle {
    bool header = true;
    bool tabs = false;
    std::vector<std::string> columns;  // which ones, in this order; empty: all
};

// Checks -o's columns against those that there are; usage names a wrong one and lists the right
// ones.
Outcome<void> check_columns(const std::vector<std::string>& wanted,
                            const std::vector<Column>& columns);

class Table {
   public:
    // STYLE's columns have been checked.
    Table(std::vector<Column> columns, const TableStyle& style);

    void add(std::vector<Cell> row);  // one cell for each column of the constructor

    // Writes the rows added so far, and forgets them; the header above the first. Widths only grow,
    // so that the pages of a long list line up. False: nobody reads any more.
    bool write(Console& console);

   private:
    std::string header_line() const;
    std::string line(const std::vector<Cell>& row, const Console& console) const;

    std::vector<Column> columns_;
    std::vector<std::size_t> shown_;  // indices into columns_
    std::vector<std::size_t> widths_;
    bool header_;
    bool tabs_;
    std::vector<std::vector<Cell>> rows_;
};

}  // namespace signpost
