// SPDX-License-Identifier: BSD-3-Clause
//
// DiskName is the name by which the whole federation knows a disk: the path of its image relative
// to the repository's root, without the image's extension. ExportName is what a client asks for: a
// disk name, or `local:` and a disk name, which means "only if you hold it yourself" (the hop
// rule), or `digests:` and a disk name: the digests of the chunks of the image that you hold.
//
// Grammar: UTF-8, 1 to 1,024 bytes, components separated by `/`; no empty, `.` or `..` component;
// no NUL or other control character; no `:` in the first component. An object that breaks these
// rules cannot be built.
//
// Values; copyable, ordered by bytes; no thread rule.

#pragma once

#include <compare>
#include <cstddef>
#include <string>
#include <string_view>

#include "catalog/error.h"

namespace signpost {

class DiskName {
   public:
    static constexpr std::size_t kMaxBytes = 1024;

    // Fails with Errc::invalid and a message that quotes the name, escaped and shortened, and names
    // the rule that it breaks.
    static Result<DiskName> parse(std::string_view text);

    const std::string& str() const { return text_; }

    auto operator<=>(const DiskName&) const = default;

   private:
    explicit DiskName(std::string_view text) : text_(text) {}

    std::string text_;
};

struct ExportName {
    static constexpr std::string_view kLocalPrefix = "local:";
    static constexpr std::string_view kDigestsPrefix = "digests:";

    DiskName disk;
    bool local_only;  // this server's own, in either form
    bool digests = false;

    static Result<ExportName> parse(std::string_view text);
};

// TEXT made safe for one line of a terminal or log: control characters and bytes that are not UTF-8
// become \xNN, bidirectional controls \u{NNNN}; cut with "..." after LIMIT bytes of output.
std::string escaped(std::string_view text, std::size_t limit = 200);

// True when TEXT is well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms).
bool is_utf8(std::string_view text);

}  // namespace signpost
