// SPDX-License-Identifier: BSD-3-Clause
//
// How operators write dates into the names of files and directories, so that a scan knows restore
// points: a file `web01/vda-2026-11-20.qcow2` is disk `web01/vda@2026-11-20` by the pattern
// `{disk}-{date}`.
//
// A pattern has `{disk}` once, and a date: `{date}` is any of the usual spellings, with a time of
// day or without, or %Y %m %d and perhaps %H %M and %S spell it out. All else stands for itself
// (%% for %). Without `/` it is about the file's name; `{date}/{disk}` is about a directory at any
// depth, and `{disk}/{date}` about files named by date alone. Of several patterns the first that
// fits decides. The word `chains` stands for layers of qcow2 (layer_chain.h), `off` alone for
// nothing at all.
//
// The name has its time in the extended form, `web01/vda@2026-11-20T02:00`; in the basic one, as
// `vda@20261120T0200`, where the disk's name has no `/`, because no `:` may be in its beginning.
//
// What is between names and paths goes both ways, and is bounded: a name gives a few hundred paths
// at most, so that an image is found without a scan.
//
// Values, cheap to copy; threads: any.

#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "catalog/disk_name.h"

namespace signpost {

class PointPatterns {
   public:
    static constexpr std::size_t kMostPatterns = 16;
    static constexpr std::size_t kLongestPattern = 200;
    static constexpr std::size_t kMostComponents = 16;  // of names with a date in their path

    // Those that count when nothing is said.
    PointPatterns();
    static std::span<const std::string_view> default_words();

    // None: every name is the path.
    static PointPatterns off();

    // invalid: a word that is no pattern, with a line that goes after the option's name. Empty, or
    // `off` alone: off().
    static Result<PointPatterns> parse(std::span<const std::string> words);

    // Which name a path without its extension gives; empty: it says no date, or is a point's name
    // as it is. The name's rules may be broken, when those of the path are.
    std::optional<std::string> name_of(std::string_view stem) const;

    // All paths, without extensions, that give NAME by a pattern; not NAME itself.
    std::vector<std::string> stems_of(const DiskName& name) const;

    bool chains() const { return chains_; }

   private:
    struct Spelled;  // a pattern with one spelling of the date
    using Group = std::vector<Spelled>;

    PointPatterns(std::vector<Group> groups, bool chains);
    static Result<Group> spelled_out(const std::string& word);

    std::shared_ptr<const std::vector<Group>> groups_;  // a group for each pattern
    bool chains_ = false;
};

}  // namespace signpost
