// SPDX-License-Identifier: BSD-3-Clause

#include "libvirt-pool/pool_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <utility>

#include "libvirt-pool/volume_name.h"

namespace signpost {

namespace {

using Step = PoolPlan::Step;
using Matter = PoolPlan::Matter;

class Planning {
   public:
    void want(std::vector<WantedVolume> wanted) {
        for (WantedVolume& volume : wanted) {
            auto name = volume_name(volume.disk);
            if (name && check_terms(*name, volume.terms)) {
                wanted_.emplace(std::move(*name), std::move(volume.terms));
            } else {
                plan_.remarks.push_back({Matter::unnameable, volume.disk.str()});
            }
        }
    }

    void look_at(PresentVolume& present) {
        const auto found = wanted_.find(present.file);
        const bool is_wanted = found != wanted_.end();
        if (!is_wanted && !disk_of_volume(present.file)) {
            plan_.remarks.push_back({Matter::not_ours, std::move(present.file)});
            ++others_;
            return;
        }
        if (is_wanted) {
            seen_.push_back(present.file);
        }
        if (present.facts.state == VolumeState::damaged) {
            keep(Matter::damaged, std::move(present.file));
        } else if (present.facts.state == VolumeState::written) {
            keep(is_wanted ? Matter::overlay : Matter::orphan, std::move(present.file));
        } else if (is_wanted && present.facts.terms == found->second) {
            ++plan_.unchanged;
        } else if (present.referenced) {
            keep(Matter::held_back, std::move(present.file));
        } else if (is_wanted) {
            changes_.push_back({Step::replace, std::move(present.file), found->second});
        } else {
            plan_.actions.push_back({Step::remove, std::move(present.file), {}});
        }
    }

    Result<PoolPlan> finish() {
        for (const std::string& file : seen_) {
            kept_ += wanted_.erase(file);
        }
        const std::size_t total = wanted_.size() + kept_ + others_;
        if (total > kMaxVolumes) {
            return fail(Errc::invalid,
                        fmt::format("the pool would have {} volumes, and libvirt lists no pool "
                                    "with more than 16,384: make several, each with some of the "
                                    "disks (--match, --server)",
                                    total));
        }
        for (auto& [file, terms] : wanted_) {
            changes_.push_back({Step::create, file, std::move(terms)});
        }
        std::ranges::move(changes_, std::back_inserter(plan_.actions));
        return std::move(plan_);
    }

   private:
    void keep(Matter matter, std::string file) {
        if (matter == Matter::orphan || matter == Matter::held_back || matter == Matter::damaged) {
            others_ += wanted_.contains(file) ? 0 : 1;
        }
        plan_.remarks.push_back({matter, std::move(file)});
    }

    std::map<std::string, VolumeTerms> wanted_;
    std::vector<std::string> seen_;
    std::size_t kept_ = 0;    // wanted ones that are there
    std::size_t others_ = 0;  // files that stay though no disk of the selection has them
    std::vector<PoolPlan::Action> changes_;
    PoolPlan plan_;  // its actions are the removals until the end
};

}  // namespace

Result<PoolPlan> plan_pool(std::vector<WantedVolume> wanted, std::vector<PresentVolume> present) {
    Planning planning;
    planning.want(std::move(wanted));
    for (PresentVolume& volume : present) {
        planning.look_at(volume);
    }
    return planning.finish();
}

}  // namespace signpost
