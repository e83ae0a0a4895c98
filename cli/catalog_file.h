// SPDX-License-Identifier: BSD-3-Clause
//
// A catalog as a text file, one JSON object a line: a header with the format's version, the
// servers, the site costs, the disks with their locations and who wrote them last, and an end with
// what was counted and the sum of all lines before. Each kind is ordered by its names, so equal
// catalogs give equal files, byte for byte, and a reader needs no memory to see that a name is
// there twice.
//
// A file is not trusted: whatever breaks a rule is refused with the number of its line.
//
// Threads: one at a time.

#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "catalog/catalog.h"

namespace signpost {

// Who wrote a disk last, where that tells which of several copies is the newest.
using LastWriter = std::optional<WriterLease>;

// Takes a catalog's records, in the order of a file.
class CatalogSink {
   public:
    virtual ~CatalogSink() = default;
    virtual Result<void> add(const Server& server) = 0;
    virtual Result<void> add(const SiteCost& cost) = 0;
    virtual Result<void> add(const DiskRecord& disk, const LastWriter& writer) = 0;
    // All was added; NEWEST_GENERATION was given out by the catalog that they are from.
    virtual Result<void> end(std::uint64_t newest_generation) = 0;
};

// SHA-256 over lines.
class LineSum {
   public:
    LineSum();
    void add(std::string_view line);
    std::string hex() const;  // of what was added so far

   private:
    struct Free {
        void operator()(void* hash) const;
    };
    std::unique_ptr<void, Free> hash_;
};

class CatalogFileWriter : public CatalogSink {
   public:
    // WRITE gets a line with its end.
    using Write = std::function<Result<void>(std::string_view line)>;
    explicit CatalogFileWriter(Write write) : write_(std::move(write)) {}

    Result<void> add(const Server& server) override;
    Result<void> add(const SiteCost& cost) override;
    Result<void> add(const DiskRecord& disk, const LastWriter& writer) override;
    Result<void> end(std::uint64_t newest_generation) override;

   private:
    Result<void> line(std::string text);
    Result<void> begin();

    Write write_;
    LineSum sum_;
    bool begun_ = false;
    std::uint64_t servers_ = 0;
    std::uint64_t site_costs_ = 0;
    std::uint64_t disks_ = 0;
};

class CatalogFileReader {
   public:
    explicit CatalogFileReader(CatalogSink& sink) : sink_(sink) {}

    // The next line, without its end. invalid ("line 7: …"), too_new, or what the sink says.
    Result<void> line(std::string_view text);
    // There are no more.
    Result<void> finish() const;

    static constexpr std::size_t kMaxLine = 16 << 20;

   private:
    enum class Part { header, servers, site_costs, disks, ended };

    Result<void> take(std::string_view text);
    Result<void> come_to(Part part);
    Result<void> follow(std::string_view name);

    CatalogSink& sink_;
    LineSum sum_;
    Part part_ = Part::header;
    std::uint64_t line_ = 0;
    std::uint64_t servers_ = 0;
    std::uint64_t site_costs_ = 0;
    std::uint64_t disks_ = 0;
    std::string last_;  // name, within the part
};

}  // namespace signpost
