// SPDX-License-Identifier: BSD-3-Clause
//
// JsonLine writes one JSON object on one line: for logs, which must not be held up by a library's
// exceptions, and for tickets. Keys are ours and are written as they are. Text is escaped so that
// it reads back the same; what is not UTF-8 becomes U+FFFD.
//
// A value; threads: one.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace signpost {

class JsonLine {
   public:
    JsonLine& add(std::string_view key, std::string_view text);
    JsonLine& add(std::string_view key, std::int64_t number);
    JsonLine& add(std::string_view key, const std::vector<std::string>& texts);
    JsonLine& add_object(std::string_view key, const JsonLine& object);

    // As add, unless there is nothing to say.
    JsonLine& add_if(std::string_view key, std::string_view text);
    JsonLine& add_if(std::string_view key, std::uint64_t number);

    std::string str() const { return "{" + text_ + "}"; }

   private:
    void begin(std::string_view key);

    std::string text_;
};

// "TEXT" with its quotes.
std::string json_quoted(std::string_view text);

}  // namespace signpost
