// SPDX-License-Identifier: BSD-3-Clause
#include "catalog/postgres_rows.h"

#include <charconv>

namespace signpost {

namespace {

// Nothing when TEXT is not hexadecimal.
std::optional<std::string> bytes_of(std::string_view text) {
    std::string bytes;
    for (; text.size() >= 2; text.remove_prefix(2)) {
        unsigned value = 0;
        const auto parsed = std::from_chars(text.data(), text.data() + 2, value, 16);
        if (parsed.ptr != text.data() + 2)
            return std::nullopt;
        bytes += static_cast<char>(value);
    }
    return text.empty() ? std::optional(std::move(bytes)) : std::nullopt;
}

}  // namespace

std::optional<std::int64_t> PostgresRow::integer(int column) const {
    return answer_.integer(row_, column);
}

std::optional<std::string_view> PostgresRow::text(int column) const {
    return answer_.text(row_, column);
}

std::optional<std::string_view> PostgresRow::blob(int column) const {
    const auto hex = answer_.text(row_, column);
    auto bytes = hex ? bytes_of(*hex) : std::nullopt;
    if (!bytes)
        return std::nullopt;
    bytes_ = std::move(*bytes);
    return bytes_;
}

bool PostgresRow::is_null(int column) const {
    return !answer_.text(row_, column).has_value();
}

std::vector<DiskRecord> read_disks(const PostgresAnswer& answer, SkipCount& skipped) {
    PageReader page(1, skipped);
    page.add(answer, static_cast<std::size_t>(answer.rows()) + 1);
    return page.take_disks();
}

std::vector<Server> read_servers(const PostgresAnswer& answer, SkipCount& skipped) {
    ServerCollector collector(skipped);
    for (int row = 0; row < answer.rows(); ++row)
        collector.add(PostgresRow(answer, row));
    return collector.take_servers();
}

bool PageReader::add(const PostgresAnswer& answer, std::size_t row_limit) {
    const std::size_t wanted_names = wanted();
    std::size_t names = 0;
    std::string before_last;
    for (int row = 0; row < answer.rows(); ++row) {
        const std::string_view name = answer.text(row, LocationColumn::disk).value_or("");
        if (!collector_.is_current(name)) {
            collector_.start(name);
            before_last = std::exchange(last_name_, std::string(name));
            ++names;
        }
        collector_.add(PostgresRow(answer, row));
    }
    const bool cut = static_cast<std::size_t>(answer.rows()) >= row_limit;
    // A disk of which the end may be missing is asked for again, unless it is all there is.
    if (cut && names > 1) {
        collector_.drop_current();
        last_name_ = before_last;
    }
    collector_.finish();
    return (cut || names == wanted_names) && wanted() > 0;
}

}  // namespace signpost
