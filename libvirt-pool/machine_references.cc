// SPDX-License-Identifier: BSD-3-Clause

#include "libvirt-pool/machine_references.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <filesystem>

#include "catalog/disk_name.h"
#include "libvirt-pool/machine_xml.h"
#include "nbd-server/disk/unique_fd.h"

namespace signpost {

namespace {

namespace fs = std::filesystem;

// The names of PATH's directory and of its last part; symbolic links followed, as far as they go.
fs::path settled(const fs::path& path) {
    std::error_code error;
    const fs::path settled = fs::weakly_canonical(path, error);
    return error ? path.lexically_normal() : settled;
}

// Empty: based on no file. Of a URL, and of JSON, the part before the first slash has a colon,
// which is never a path's.
fs::path backing_path(const fs::path& directory, const VolumeTerms& terms) {
    const bool is_file =
        !terms.backing.empty() && !terms.backing.substr(0, terms.backing.find('/')).contains(':');
    return is_file ? settled(directory / terms.backing) : fs::path();
}

class References {
   public:
    explicit References(const PoolDirectory& directory) : home_(settled(directory.path())) {}

    void add_volume(const std::string& name) { add(home_ / name); }

    // An image, and all that it is based on. Whose file it is does not count, nor whether it is
    // there: each name is followed once.
    void add(const fs::path& image) {
        fs::path next = image.empty() ? fs::path() : settled(image);
        while (!next.empty() && seen_.insert(next).second) {
            if (next.parent_path() == home_) {
                files_.insert(next.filename());
            }
            next = backing_of(next);
        }
    }

    std::set<std::string> finish() { return std::move(files_); }

   private:
    fs::path backing_of(const fs::path& image) const {
        const UniqueFd directory(
            ::open(image.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        const auto facts = inspect_volume(directory.get(), image.filename());
        return facts ? backing_path(image.parent_path(), facts->terms) : fs::path();
    }

    fs::path home_;
    std::set<fs::path> seen_;
    std::set<std::string> files_;
};

}  // namespace

Result<std::set<std::string>> referenced_files(const std::vector<MachineFacts>& machines,
                                               const std::string& pool,
                                               const PoolDirectory& directory,
                                               const std::vector<PresentVolume>& present) {
    References references(directory);
    for (const MachineFacts& machine : machines) {
        for (const std::string* xml : {&machine.xml, &machine.next_xml}) {
            const auto sources = disk_sources(*xml);
            if (!sources) {
                return fail(Errc::invalid, fmt::format("machine {}: {}", escaped(machine.name),
                                                       sources.error().message));
            }
            for (const DiskSource& source : *sources) {
                if (!source.file.empty()) {
                    references.add(source.file);
                } else if (source.pool == pool) {
                    references.add_volume(source.volume);
                }
            }
        }
    }
    // Images that no machine has yet, such as one that `virsh vol-create-as --backing-vol` made.
    for (const PresentVolume& volume : present) {
        if (volume.facts.state == VolumeState::written) {
            references.add(backing_path(directory.path(), volume.facts.terms));
        }
    }
    return references.finish();
}

}  // namespace signpost
