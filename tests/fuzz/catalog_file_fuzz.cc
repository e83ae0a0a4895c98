// SPDX-License-Identifier: BSD-3-Clause
//
// Catalogs as files: what is read from one, whatever stands in it, is written again and read to the
// same; and a mistake is one line that names the line.

#include <stdlib.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "cli/catalog_file.h"

namespace {

using namespace signpost;

void require(bool holds) {
    if (!holds)
        abort();
}

// Gives on what it gets to a writer.
class Copying : public CatalogSink {
   public:
    explicit Copying(std::vector<std::string>& lines)
        : writer_([&lines](std::string_view line) {
              require(line.ends_with('\n'));
              lines.emplace_back(line.substr(0, line.size() - 1));
              return Result<void>();
          }) {}

    Result<void> add(const Server& server) override { return writer_.add(server); }
    Result<void> add(const SiteCost& cost) override { return writer_.add(cost); }
    Result<void> add(const DiskRecord& disk, const LastWriter& writer) override {
        return writer_.add(disk, writer);
    }
    Result<void> end(std::uint64_t newest) override {
        ended = true;
        return writer_.end(newest);
    }

    bool ended = false;

   private:
    CatalogFileWriter writer_;
};

// The file that a copy of them is, as far as they are not refused.
std::vector<std::string> copied(const std::vector<std::string>& lines) {
    std::vector<std::string> copy;
    Copying sink(copy);
    CatalogFileReader reader(sink);
    for (const std::string& line : lines) {
        if (const auto taken = reader.line(line); !taken) {
            require(taken.error().message.starts_with("line "));
            require(taken.error().message.find('\n') == std::string::npos);
            break;
        }
    }
    if (!sink.ended)
        require(sink.end(7).has_value());
    return copy;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    std::string_view text(reinterpret_cast<const char*>(data), size);
    std::vector<std::string> lines;
    while (!text.empty()) {
        const auto end = std::min(text.find('\n'), text.size());
        lines.emplace_back(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    const auto once = copied(lines);
    require(copied(once) == once);
    return 0;
}
