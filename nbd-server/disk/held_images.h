// SPDX-License-Identifier: BSD-3-Clause
//
// HeldImages is what the publisher knows: the images that this server holds, as they were last
// seen; what of that the catalog has not been told yet; which files to look at again, because they
// were still being written; and what was refused, so that each refusal is logged once.
//
// Lifetime: the log outlives it. Threads: the publisher's own; images() and names_beginning()
// from any.

#pragma once

#include <chrono>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "catalog/catalog.h"
#include "nbd-server/disk/log.h"
#include "nbd-server/disk/repository.h"

namespace signpost {

class HeldImages {
   public:
    using Clock = std::chrono::steady_clock;

    HeldImages(std::chrono::milliseconds settle, Log& log) : settle_(settle), log_(log) {}
    HeldImages(const HeldImages&) = delete;
    HeldImages& operator=(const HeldImages&) = delete;

    std::vector<Image> images() const;
    std::vector<DiskName> names_beginning(std::string_view prefix) const;

    // What a whole scan found takes the place of all that was known.
    void replace(RepositorySet::Scan scan);

    // What a look at one image found.
    void update(const DiskName& name, Result<RepositorySet::Finding> finding);

    // Logs the line, unless it was logged and still holds.
    void refuse(const std::string& line);

    // Disks that a change at WHERE, a file or a whole directory, may concern. BASES: those that may
    // have a layer there.
    std::set<DiskName> concerned(const RepositoryPath& where,
                                 const std::vector<DiskName>& bases) const;

    // All files that they are made of, as far as these are not just the files of their names.
    std::set<RepositoryPath> files_of(const std::set<DiskName>& names) const;

    bool has(const DiskName& name) const { return images_.contains(name); }

    // Refused disks, when there are few: what was missing may have come.
    std::set<DiskName> worth_another_try() const;

    // Something happened to the file: what is known of its writing is out of date.
    void forget_waiting(const DiskName& name) { waiting_.erase(name); }

    // Files to look at again, and when.
    std::set<DiskName> due(Clock::time_point now) const;
    Clock::time_point next_due() const;  // time_point::max() for never

    bool has_news() const { return all_is_news_ || !news_.empty(); }
    Publication news() const;
    void news_told();
    void tell_everything() { all_is_news_ = true; }

   private:
    struct Waiting {
        Clock::time_point next{};
        Clock::duration delay{};
    };

    // Byte order, and a disk name may be looked for by any text.
    struct ByText {
        using is_transparent = void;
        bool operator()(const DiskName& a, const DiskName& b) const { return a < b; }
        bool operator()(const DiskName& a, std::string_view b) const { return a.str() < b; }
        bool operator()(std::string_view a, const DiskName& b) const { return a < b.str(); }
    };

    void put(Image image, std::vector<RepositoryPath> backing);
    void remove(const DiskName& name);
    void set_backing(const DiskName& name, std::vector<RepositoryPath> backing);
    void wait_for(const DiskName& name);
    bool may_be_unread(const DiskName& name, const std::vector<RepositoryPath>& directories) const;
    void log_new_notes(std::vector<std::string> notes);
    void replace_refusals(const RepositorySet::Scan& scan);

    const std::chrono::milliseconds settle_;
    Log& log_;

    mutable std::mutex mutex_;  // of images_, which only the publisher's thread changes
    std::map<DiskName, Image, ByText> images_;

    std::map<DiskName, std::vector<RepositoryPath>> backing_of_;
    std::map<RepositoryPath, std::set<DiskName>> based_on_;  // the other way round
    std::map<DiskName, Waiting> waiting_;
    std::map<DiskName, std::string> refused_;
    std::set<std::string> refusals_;  // lines logged, of what is still refused
    std::set<std::string> notes_;     // lines logged, as long as they hold
    std::set<DiskName> news_;
    bool all_is_news_ = true;
};

}  // namespace signpost
