// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/disk/own_images.h"

#include <algorithm>
#include <utility>

namespace signpost {

namespace {

OwnImages::Snapshot sorted(std::vector<Image> images) {
    std::ranges::sort(images, {}, &Image::name);
    return std::make_shared<const std::vector<Image>>(std::move(images));
}

}  // namespace

OwnImages::Snapshot OwnImages::get() {
    if (repositories_.empty()) {
        return std::make_shared<const std::vector<Image>>();
    }
    if (publisher_ != nullptr) {
        // Empty may only mean that its first scan has not ended.
        if (auto images = publisher_->images(); !images.empty()) {
            return sorted(std::move(images));
        }
    }
    return scanned();
}

std::vector<NamedPoint> OwnImages::points_of(const std::string& disk) {
    std::vector<NamedPoint> points;
    const auto note = [&](const DiskName& name) {
        if (auto point = RestorePoint::of(name); point && point->disk == disk) {
            points.push_back({std::move(*point), name});
        }
    };
    const std::string prefix = disk + '@';
    if (publisher_ != nullptr) {
        std::ranges::for_each(publisher_->names_beginning(prefix), note);
        return points;
    }
    const Snapshot all = get();
    for (auto image = std::ranges::lower_bound(
             *all, prefix, {},
             [](const Image& each) -> const std::string& { return each.name.str(); });
         image != all->end() && image->name.str().starts_with(prefix); ++image) {
        note(image->name);
    }
    return points;
}

OwnImages::Snapshot OwnImages::scanned() {
    std::unique_lock lock(mutex_);
    if (scanning_) {
        scan_ended_.wait(lock, [this] { return !scanning_; });
        return last_;
    }
    const auto start = Clock::now();
    if (last_ && start < good_until_) {
        return last_;
    }
    scanning_ = true;
    lock.unlock();
    Snapshot found = sorted(repositories_.scan().images);
    const auto end = Clock::now();
    lock.lock();
    scanning_ = false;
    last_ = found;
    good_until_ = end + std::max<Clock::duration>(std::chrono::seconds(1), 10 * (end - start));
    scan_ended_.notify_all();
    return found;
}

}  // namespace signpost
