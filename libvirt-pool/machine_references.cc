// SPDX-License-Identifier: BSD-3-Clause

#include "libvirt-pool/machine_references.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <filesystem>
#include <set>

#include "catalog/disk_name.h"
#include "libvirt-pool/machine_disks.h"
#include "nbd-server/disk/unique_fd.h"

namespace signpost {

namespace {

namespace fs = std::filesystem;

// Empty: based on no file. Of a URL, and of JSON, the part before the first slash has a colon,
// which is never a path's.
fs::path backing_path(const fs::path& directory, const VolumeTerms& terms) {
    const bool is_file =
        !terms.backing.empty() && !terms.backing.substr(0, terms.backing.find('/')).contains(':');
    return is_file ? settled(directory / terms.backing) : fs::path();
}

class References {
   public:
    explicit References(const fs::path& home) : home_(home) {}

    // A settled image, and all that it is based on. Whose file it is does not count, nor whether it
    // is there: each name is followed once.
    void add(fs::path image, const std::string& machine) {
        while (!image.empty() && seen_.insert(image).second) {
            if (image.parent_path() == home_) {
                files_.emplace(image.filename(), machine);
            }
            image = backing_of(image);
        }
    }

    FileOwners finish() { return std::move(files_); }

   private:
    fs::path backing_of(const fs::path& image) const {
        const UniqueFd directory(
            ::open(image.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        const auto facts = inspect_volume(directory.get(), image.filename());
        return facts ? backing_path(image.parent_path(), facts->terms) : fs::path();
    }

    const fs::path& home_;
    std::set<fs::path> seen_;
    FileOwners files_;
};

}  // namespace

Result<FileOwners> referenced_files(const std::vector<MachineFacts>& machines,
                                    const std::string& pool, const PoolDirectory& directory,
                                    const std::vector<PresentVolume>& present) {
    References references(directory.home());
    for (const MachineFacts& machine : machines) {
        for (const std::string* xml : {&machine.xml, &machine.next_xml}) {
            const auto sources = disk_sources(*xml);
            if (!sources) {
                return fail(Errc::invalid, fmt::format("machine {}: {}", escaped(machine.name),
                                                       sources.error().message));
            }
            for (const DiskSource& source : *sources) {
                references.add(image_of(source, pool, directory), machine.name);
            }
        }
    }
    // Images that no machine has yet, such as one that `virsh vol-create-as --backing-vol` made.
    for (const PresentVolume& volume : present) {
        if (volume.facts.state == VolumeState::written) {
            references.add(backing_path(directory.home(), volume.facts.terms), "");
        }
    }
    return references.finish();
}

}  // namespace signpost
