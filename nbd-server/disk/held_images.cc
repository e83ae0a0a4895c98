// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/held_images.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "nbd-server/disk/tree_watch.h"

namespace signpost {

namespace {

constexpr std::size_t kMaxLinesPerScan = 100;
constexpr std::size_t kFewRefusals = 256;
constexpr std::chrono::seconds kLongestDelay{30};

bool same(const Image& a, const Image& b) {
    return a.size == b.size && a.format == b.format && a.read_only == b.read_only &&
           a.fingerprint == b.fingerprint && a.minimum_block == b.minimum_block &&
           a.export_name == b.export_name;
}

bool lies_in_any(const std::string& path, const std::vector<RepositoryPath>& directories) {
    return std::ranges::any_of(directories, [&](const RepositoryPath& directory) {
        return lies_beneath(path, directory.path);
    });
}

}  // namespace

std::vector<Image> HeldImages::images() const {
    const std::lock_guard lock(mutex_);
    std::vector<Image> all;
    all.reserve(images_.size());
    for (const auto& [name, image] : images_) {
        all.push_back(image);
    }
    return all;
}

std::vector<DiskName> HeldImages::names_beginning(std::string_view prefix) const {
    const std::lock_guard lock(mutex_);
    std::vector<DiskName> names;
    for (auto at = images_.lower_bound(prefix);
         at != images_.end() && at->first.str().starts_with(prefix); ++at) {
        names.push_back(at->first);
    }
    return names;
}

void HeldImages::set_backing(const DiskName& name, std::vector<RepositoryPath> backing) {
    if (const auto old = backing_of_.find(name); old != backing_of_.end()) {
        for (const RepositoryPath& file : old->second) {
            const auto disks = based_on_.find(file);
            disks->second.erase(name);
            if (disks->second.empty()) {
                based_on_.erase(disks);
            }
        }
        backing_of_.erase(old);
    }
    for (const RepositoryPath& file : backing) {
        based_on_[file].insert(name);
    }
    if (!backing.empty()) {
        // A file that is named twice is in a set on the one side: it is taken out once on the
        // other.
        std::ranges::sort(backing);
        backing.erase(std::ranges::unique(backing).begin(), backing.end());
        backing_of_.emplace(name, std::move(backing));
    }
}

void HeldImages::put(Image image, std::vector<RepositoryPath> backing) {
    const DiskName name = image.name;
    waiting_.erase(name);
    set_backing(name, std::move(backing));
    const auto known = images_.find(name);
    if (known != images_.end() && same(known->second, image)) {
        return;
    }
    news_.insert(name);
    const std::lock_guard lock(mutex_);
    images_.insert_or_assign(name, std::move(image));
}

void HeldImages::remove(const DiskName& name) {
    waiting_.erase(name);
    set_backing(name, {});
    const auto known = images_.find(name);
    if (known == images_.end()) {
        return;
    }
    news_.insert(name);
    const std::lock_guard lock(mutex_);
    images_.erase(known);
}

// What is known of a file that is being written is left as it is: its row in the catalog keeps what
// was computed for it until something else is certain.
void HeldImages::wait_for(const DiskName& name) {
    refused_.erase(name);
    auto& waiting = waiting_[name];
    waiting.delay = waiting.delay == waiting.delay.zero()
                        ? std::max<Clock::duration>(settle_, std::chrono::milliseconds(50))
                        : std::min<Clock::duration>(2 * waiting.delay, kLongestDelay);
    waiting.next = Clock::now() + waiting.delay;
}

// A directory that cannot be read now says nothing about the images in it.
bool HeldImages::may_be_unread(const DiskName& name,
                               const std::vector<RepositoryPath>& directories) const {
    const auto files = backing_of_.find(name);
    return lies_in_any(name.str(), directories) ||
           (files != backing_of_.end() &&
            std::ranges::any_of(files->second, [&](const RepositoryPath& file) {
                return lies_in_any(file.path, directories);
            }));
}

void HeldImages::replace(RepositorySet::Scan scan) {
    std::map<DiskName, std::vector<RepositoryPath>> backing;
    for (auto& [file, name] : scan.backing) {
        backing[name].push_back(std::move(file));
    }
    std::set<DiskName> held(scan.waiting.begin(), scan.waiting.end());
    for (const DiskName& name : scan.waiting) {
        wait_for(name);
    }
    for (Image& image : scan.images) {
        held.insert(image.name);
        auto files = std::move(backing[image.name]);
        put(std::move(image), std::move(files));
    }
    std::vector<DiskName> gone;
    for (const auto& [name, image] : images_) {
        if (!held.contains(name) && !may_be_unread(name, scan.unread)) {
            gone.push_back(name);
        }
    }
    for (const DiskName& name : gone) {
        remove(name);
    }
    log_new_notes(std::move(scan.notes));
    replace_refusals(scan);
}

void HeldImages::log_new_notes(std::vector<std::string> notes) {
    std::set<std::string> lines;
    for (std::string& line : notes) {
        if (lines.size() < kMaxLinesPerScan && !notes_.contains(line)) {
            log_.info(line);
        }
        lines.insert(std::move(line));
    }
    notes_ = std::move(lines);
}

void HeldImages::replace_refusals(const RepositorySet::Scan& scan) {
    refused_.clear();
    for (const auto& [name, line] : scan.refused) {
        refused_.emplace(name, line);
    }
    std::set<std::string> lines(scan.refusals.begin(), scan.refusals.end());
    std::size_t fresh = 0;
    for (const std::string& line : lines) {
        if (!refusals_.contains(line) && ++fresh <= kMaxLinesPerScan) {
            log_.error(line);
        }
    }
    if (fresh > kMaxLinesPerScan) {
        log_.error(fmt::format("{} more images are not served; `signpost scan` lists them",
                               fresh - kMaxLinesPerScan));
    }
    refusals_ = std::move(lines);
}

void HeldImages::update(const DiskName& name, Result<RepositorySet::Finding> finding) {
    if (finding && finding->unsettled) {
        wait_for(name);
        return;
    }
    // What is repaired and breaks again is said again.
    const auto before = refused_.find(name);
    if (before != refused_.end() && (finding || finding.error().message != before->second)) {
        refusals_.erase(before->second);
    }
    refused_.erase(name);
    if (finding) {
        put(std::move(finding->image), std::move(finding->backing));
        return;
    }
    remove(name);
    if (finding.error().code == Errc::not_found) {
        // Whoever brought it here may have published it at once, before it was ours to know.
        news_.insert(name);
    } else {
        refused_[name] = finding.error().message;
        refuse(finding.error().message);
    }
}

void HeldImages::refuse(const std::string& line) {
    if (refusals_.insert(line).second) {
        log_.error(line);
    }
}

std::set<DiskName> HeldImages::concerned(const RepositoryPath& where,
                                         const std::vector<DiskName>& bases) const {
    std::set<DiskName> names;
    for (const DiskName& base : bases) {
        if (!images_.contains(base) && !waiting_.contains(base)) {
            continue;
        }
        names.insert(base);
        if (const auto files = backing_of_.find(base); files != backing_of_.end()) {
            for (const RepositoryPath& file : files->second) {
                const auto& others = based_on_.at(file);
                names.insert(others.begin(), others.end());
            }
        }
    }
    for (auto at = based_on_.lower_bound(where);
         at != based_on_.end() && at->first.repository == where.repository &&
         at->first.path.starts_with(where.path);
         ++at) {
        if (lies_beneath(at->first.path, where.path)) {
            names.insert(at->second.begin(), at->second.end());
        }
    }
    const std::string directory = where.path + '/';
    for (auto at = images_.lower_bound(std::string_view(directory));
         at != images_.end() && at->first.str().starts_with(directory); ++at) {
        names.insert(at->first);
    }
    return names;
}

std::set<RepositoryPath> HeldImages::files_of(const std::set<DiskName>& names) const {
    std::set<RepositoryPath> all;
    for (const DiskName& name : names) {
        if (const auto files = backing_of_.find(name); files != backing_of_.end()) {
            all.insert(files->second.begin(), files->second.end());
        }
    }
    return all;
}

std::set<DiskName> HeldImages::worth_another_try() const {
    std::set<DiskName> names;
    if (refused_.size() <= kFewRefusals) {
        for (const auto& [name, line] : refused_) {
            names.insert(name);
        }
    }
    return names;
}

std::set<DiskName> HeldImages::due(Clock::time_point now) const {
    std::set<DiskName> names;
    for (const auto& [name, waiting] : waiting_) {
        if (waiting.next <= now) {
            names.insert(name);
        }
    }
    return names;
}

HeldImages::Clock::time_point HeldImages::next_due() const {
    auto next = Clock::time_point::max();
    for (const auto& [name, waiting] : waiting_) {
        next = std::min(next, waiting.next);
    }
    return next;
}

Publication HeldImages::news() const {
    Publication publication;
    publication.complete = all_is_news_;
    if (all_is_news_) {
        publication.images = images();
        for (const auto& [name, waiting] : waiting_) {
            publication.unsettled.push_back(name);
        }
        return publication;
    }
    for (const DiskName& name : news_) {
        if (const auto found = images_.find(name); found != images_.end()) {
            publication.images.push_back(found->second);
        } else {
            publication.vanished.push_back(name);
        }
    }
    return publication;
}

void HeldImages::news_told() {
    news_.clear();
    all_is_news_ = false;
}

}  // namespace signpost
