// SPDX-License-Identifier: BSD-3-Clause
//
// The words of configuration values, read. Each fails with invalid and a message that fits behind
// the option's name: `is not ...`. Pure functions; threads: any.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "catalog/error.h"

namespace signpost {

Result<std::uint64_t> number_in(std::string_view text, std::uint64_t least, std::uint64_t most);

// "512M": K, M, G and T are powers of 1024; an `iB` or `B` behind them changes nothing.
Result<std::uint64_t> size_in(std::string_view text, std::uint64_t least, std::uint64_t most);

Result<bool> truth_of(std::string_view text);

// Absolute; a relative one begins at BASE.
Result<std::string> path_from(std::string_view base, std::string_view text);

// A catalog's URL, its path absolute.
Result<std::string> catalog_from(std::string_view base, std::string_view text);

// 1 to LIMIT bytes of plain text.
Result<std::string> plain_text(std::string_view text, std::size_t limit);

// The word of WORDS that is most like TEXT, when it is like enough to be meant.
template <class Words>
std::optional<std::string_view> likely_word(std::string_view text, const Words& words);

std::size_t edit_distance(std::string_view a, std::string_view b);

template <class Words>
std::optional<std::string_view> likely_word(std::string_view text, const Words& words) {
    std::optional<std::string_view> best;
    std::size_t least = text.size() / 3 + 2;
    for (const std::string_view word : words) {
        const std::size_t distance = edit_distance(text, word);
        if (distance < least) {
            least = distance;
            best = word;
        }
    }
    return best;
}

}  // namespace signpost
