// SPDX-License-Identifier: BSD-3-Clause
//
// Large changes, written some thousand rows a statement: each field of the rows is an array.
//
// Threads: as PostgresConnection.

#pragma once

#include <algorithm>
#include <chrono>
#include <span>
#include <string>
#include <vector>

#include "catalog/postgres_connection.h"

namespace signpost {

inline constexpr std::size_t kPiece = 2000;

// Calls WRITE with a piece of ALL after the other, each with time of its own.
template <class Item, class Write>
void in_pieces(PostgresConnection& connection, std::chrono::milliseconds wait,
               const std::vector<Item>& all, Write write) {
    for (std::size_t done = 0; done < all.size() && !connection.failed(); done += kPiece) {
        connection.set_deadline(std::chrono::steady_clock::now() + wait);
        write(std::span<const Item>(all).subspan(done, std::min(kPiece, all.size() - done)));
    }
}

template <class Item, class Field>
std::string integers_of(std::span<const Item> items, Field field) {
    PostgresArray values;
    for (const Item& item : items)
        values.add(static_cast<std::int64_t>(field(item)));
    return values.text();
}

template <class Item, class Field>
std::string texts_of(std::span<const Item> items, Field field) {
    PostgresArray values;
    for (const Item& item : items)
        values.add(std::string_view(field(item)));
    return values.text();
}

}  // namespace signpost
