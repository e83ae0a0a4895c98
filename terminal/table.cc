// SPDX-License-Identifier: BSD-3-Clause

#include "terminal/table.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <ranges>

#include "catalog/disk_name.h"

namespace signpost {

namespace {

std::size_t width_of(std::string_view text) {
    return static_cast<std::size_t>(std::ranges::count_if(
        text, [](char byte) { return (static_cast<unsigned char>(byte) & 0xc0) != 0x80; }));
}

std::string capitals(std::string_view key) {
    std::string text(key);
    std::ranges::transform(text, text.begin(), [](char byte) {
        return byte >= 'a' && byte <= 'z' ? static_cast<char>(byte - 'a' + 'A') : byte;
    });
    return text;
}

}  // namespace

Outcome<void> check_columns(const std::vector<std::string>& wanted,
                            const std::vector<Column>& columns) {
    for (const std::string& name : wanted) {
        if (std::ranges::find(columns, name, &Column::key) == columns.end()) {
            return failure(
                ExitCode::usage,
                fmt::format("there is no column {} here; -o takes {}", escaped(name),
                            fmt::join(columns | std::views::transform(&Column::key), ",")));
        }
    }
    return {};
}

Table::Table(std::vector<Column> columns, const TableStyle& style)
    : columns_(std::move(columns)),
      widths_(columns_.size(), 0),
      header_(style.header),
      tabs_(style.tabs) {
    for (const std::string& name : style.columns) {
        const auto column = std::ranges::find(columns_, name, &Column::key);
        if (column != columns_.end()) {
            shown_.push_back(static_cast<std::size_t>(column - columns_.begin()));
        }
    }
    if (style.columns.empty()) {
        for (std::size_t i = 0; i < columns_.size(); ++i) {
            shown_.push_back(i);
        }
    }
}

void Table::add(std::vector<Cell> row) {
    row.resize(columns_.size());
    rows_.push_back(std::move(row));
}

std::string Table::header_line() const {
    std::vector<Cell> names;
    for (const Column& column : columns_) {
        names.push_back({capitals(column.key)});
    }
    std::string text;
    for (const std::size_t i : shown_) {
        const std::size_t room = widths_[i] - names[i].text.size();
        const std::string padding(room, ' ');
        text += text.empty() ? "" : "  ";
        text += columns_[i].right ? padding + names[i].text : names[i].text + padding;
    }
    text.erase(text.find_last_not_of(' ') + 1);
    return text + "\n";
}

std::string Table::line(const std::vector<Cell>& row, const Console& console) const {
    std::string text;
    for (std::size_t position = 0; position < shown_.size(); ++position) {
        const std::size_t i = shown_[position];
        const bool last = position + 1 == shown_.size();
        if (tabs_) {
            text += row[i].text + (last ? "" : "\t");
            continue;
        }
        const std::string padding(widths_[i] - width_of(row[i].text), ' ');
        const std::string cell = console.toned(row[i].tone, row[i].text);
        text += columns_[i].right ? padding + cell : cell;
        if (!last) {
            text += (columns_[i].right ? "" : padding) + "  ";
        }
    }
    return text + "\n";
}

bool Table::write(Console& console) {
    for (const auto& row : rows_) {
        for (const std::size_t i : shown_) {
            widths_[i] = std::max(widths_[i], width_of(row[i].text));
        }
    }
    if (header_ && !tabs_ && !rows_.empty()) {
        for (const std::size_t i : shown_) {
            widths_[i] = std::max(widths_[i], columns_[i].key.size());
        }
        header_ = false;
        console.out(header_line());
    }
    bool reader = true;
    for (const auto& row : rows_) {
        reader = console.out(line(row, console));
        if (!reader) {
            break;
        }
    }
    rows_.clear();
    return reader;
}

}  // namespace signpost
