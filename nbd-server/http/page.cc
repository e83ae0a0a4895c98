// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/http/page.h"

#include <fmt/core.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>

#include <array>

namespace signpost {

extern const unsigned char kPageBytes[];
extern const std::size_t kPageSize;

namespace {

std::string sha256_base64(std::string_view text) {
    std::array<unsigned char, 32> hash{};
    gnutls_hash_fast(GNUTLS_DIG_SHA256, text.data(), text.size(), hash.data());
    const gnutls_datum_t plain{hash.data(), static_cast<unsigned>(hash.size())};
    gnutls_datum_t encoded{nullptr, 0};
    if (gnutls_base64_encode2(&plain, &encoded) != 0) {
        return {};
    }
    std::string result(reinterpret_cast<const char*>(encoded.data), encoded.size);
    gnutls_free(encoded.data);
    return result;
}

// A source for each element TAG of PAGE.
std::string sources_of(std::string_view page, std::string_view tag) {
    const std::string begin = fmt::format("<{}>", tag);
    const std::string end = fmt::format("</{}>", tag);
    std::string sources;
    for (std::size_t at = page.find(begin); at != page.npos; at = page.find(begin, at)) {
        at += begin.size();
        const auto stop = std::min(page.find(end, at), page.size());
        sources += fmt::format(" 'sha256-{}'", sha256_base64(page.substr(at, stop - at)));
        at = stop;
    }
    return sources.empty() ? " 'none'" : sources;
}

}  // namespace

std::string_view page_html() {
    return {reinterpret_cast<const char*>(kPageBytes), kPageSize};
}

std::string page_policy(std::string_view page) {
    return fmt::format(
        "default-src 'none'; script-src{}; style-src{}; connect-src 'self'; "
        "img-src 'self' data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'",
        sources_of(page, "script"), sources_of(page, "style"));
}

}  // namespace signpost
