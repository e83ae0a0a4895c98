// SPDX-License-Identifier: BSD-3-Clause

#include "cli/guest_walk.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

namespace signpost {

namespace {

constexpr std::size_t kMostEntries = 4'000'000;  // of one directory
constexpr int kDeepest = 250;

// What two directories have in common only if they are one, as far as their entries say.
std::uint64_t print_of(const std::vector<files::Entry>& entries) {
    std::string all;
    for (const files::Entry& entry : entries) {
        all += fmt::format("{}/{}/{}/{}/", entry.name, static_cast<int>(entry.type), entry.size,
                           entry.modified);
    }
    return std::hash<std::string>()(all);
}

class Walk {
   public:
    Walk(const GuestFile& root, const WalkWishes& wishes, GuestVisitor& visitor)
        : reader_(*root.reader), volume_(root.volume), wishes_(wishes), visitor_(visitor) {}

    Outcome<void> directory(const std::string& path, const files::Entry& entry, int depth) {
        if (depth > kDeepest || !seen_.insert(entry.inode).second) {
            visitor_.trouble(path, {Errc::corrupt, "the directory lies in itself, or too deep"});
            return {};
        }
        const auto entered = visitor_.enter(path, entry);
        if (!entered || !*entered) {
            return entered ? Outcome<void>() : std::unexpected(entered.error());
        }
        std::vector<files::Entry> entries;
        if (auto listed = list_sorted(
                reader_, {volume_, entry.inode, wishes_.attributes, wishes_.deleted}, entries);
            !listed) {
            visitor_.trouble(path, listed.error());
        }
        const std::uint64_t look = print_of(entries);
        if (!entries.empty() && std::ranges::find(above_, look) != above_.end()) {
            // GRUB follows symbolic links, and does not say so.
            visitor_.trouble(path, {Errc::corrupt,
                                    "the same as a directory above it: a link, it "
                                    "seems; left out"});
            return visitor_.leave(path, entry);
        }
        above_.push_back(look);
        for (const files::Entry& each : entries) {
            const std::string below = path + (path.ends_with('/') ? "" : "/") + each.name;
            // A deleted directory's inode may be another's by now.
            const bool into = each.type == files::FileType::directory && !each.deleted;
            auto visited = into ? directory(below, each, depth + 1) : visitor_.file(below, each);
            if (!visited) {
                return visited;
            }
        }
        return visitor_.leave(path, entry);
    }

   private:
    FileReader& reader_;
    files::Volume volume_;
    const WalkWishes& wishes_;
    GuestVisitor& visitor_;
    std::unordered_set<std::uint64_t> seen_;
    std::vector<std::uint64_t> above_;  // prints of the directories on the way here
};

}  // namespace

Result<void> list_sorted(FileReader& reader, const files::AskList& question,
                         std::vector<files::Entry>& entries) {
    bool too_many = false;
    auto listed = reader.list(question, [&](files::Entry entry) {
        too_many = entries.size() >= kMostEntries;
        if (!too_many) {
            entries.push_back(std::move(entry));
        }
    });
    std::ranges::sort(entries, {}, &files::Entry::name);
    return too_many ? fail(Errc::corrupt, "the directory has too many names") : listed;
}

Outcome<void> walk(const GuestFile& root, const std::string& path, const WalkWishes& wishes,
                   GuestVisitor& visitor) {
    return Walk(root, wishes, visitor).directory(path, root.entry, 0);
}

}  // namespace signpost
