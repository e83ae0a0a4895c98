// SPDX-License-Identifier: BSD-3-Clause
//
// The pattern matcher against a plain one that tries everything, on texts short enough for it; and
// networks and names of certificates, which are read as they come.

#include <stdlib.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "nbd-server/server/access_rules.h"

namespace {

void require(bool holds) {
    if (!holds)
        abort();
}

// ASCII only, where a character is a byte.
bool plainly_matches(std::string_view pattern, std::string_view text) {
    if (pattern.empty())
        return text.empty();
    if (pattern.front() == '*')
        return plainly_matches(pattern.substr(1), text) ||
               (!text.empty() && plainly_matches(pattern, text.substr(1)));
    return !text.empty() && (pattern.front() == '?' || pattern.front() == text.front()) &&
           plainly_matches(pattern.substr(1), text.substr(1));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view all(reinterpret_cast<const char*>(data), size);
    const std::size_t cut = all.find('\n');
    const std::string_view pattern = all.substr(0, cut);
    const std::string_view text = cut == all.npos ? "" : all.substr(cut + 1);
    const bool matches = signpost::glob_matches(pattern, text);
    const bool ascii = all.find_first_of("\x80\x81") == all.npos &&
                       std::string_view(all).find_first_not_of(
                           "abcdefghijklmnopqrstuvwxyz*?/.\n0123456789") == all.npos;
    const auto stars = std::ranges::count(pattern, '*');
    if (ascii && pattern.size() <= 24 && text.size() <= 24 && stars <= 4)
        require(matches == plainly_matches(pattern, text));
    require(signpost::glob_matches("*", text));
    if (const auto network = signpost::IpNetwork::parse(pattern)) {
        require(network->bits <= 128 && network->contains(network->address));
    }
    const std::string dn = signpost::normal_dn(all);
    require(signpost::normal_dn(dn) == dn);
    return 0;
}
