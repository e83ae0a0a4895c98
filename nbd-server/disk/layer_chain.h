// SPDX-License-Identifier: BSD-3-Clause
//
// Layers of one disk in one directory: qcow2 files, each based on the one before, whose names are
// the first one's with something behind a `.`, `-`, `_` or `@`, as libvirt's external snapshots
// have it: `vda.qcow2`, `vda.snap1` on it, `vda.snap2` on that. The last one is the disk, `vda`;
// the others are its restore points, each named by when it was last written.
//
// Where two files are based on one, there is no chain: each file keeps the name of its path. So it
// is, too, in directories with very many files, because a name must be found without a scan.
//
// Bounded by kMostFiles and kMostLayers. Threads: any.

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "nbd-server/disk/repository.h"

namespace signpost {

struct Layer {
    std::string file;  // in the directory
    ImageFormat format = ImageFormat::qcow2;
    DiskName name;
};

// The files of one directory; reads headers when it is asked, and each once. REPOSITORY outlives
// it.
class LayerFinder {
   public:
    static constexpr std::size_t kMostFiles = 10'000;  // in a directory, for there to be chains
    static constexpr std::size_t kMostMembers = 1000;  // with names that begin like one file's
    static constexpr std::size_t kMostLayers = 200;

    // FILES: the entries of DIRECTORY (relative to the root) that are no directories.
    LayerFinder(const Repository& repository, std::string directory,
                std::vector<std::string> files);

    // The layers that FILE is one of, the base first; two at least, or none.
    std::vector<Layer> layers_of(const std::string& file);

    // All chains. NOTES gets a line for each file that more than one layer is based on.
    std::vector<std::vector<Layer>> all(std::vector<std::string>& notes);

   private:
    struct Facts {
        std::optional<ImageFormat> format;  // empty: it can be no layer
        std::string base;                   // the file in this directory that it is based on
        std::int64_t written = 0;           // seconds since 1970
    };

    const Facts& facts(const std::string& file);
    Facts read(const std::string& file) const;
    std::string base_in_directory(const std::string& reference) const;
    bool has_date(const std::string& file) const;
    std::string path_of(const std::string& file) const;
    std::string root_of(const std::string& file);
    void each_longer(std::string_view stem,
                     const std::function<bool(const std::string&)>& see) const;
    std::vector<Layer> layers_from(const std::string& root, std::string* note);
    std::vector<Layer> named(std::string_view stem, const std::vector<std::string>& files);

    const Repository& repository_;
    const std::string directory_;
    const std::vector<std::string> files_;  // sorted
    std::map<std::string, Facts> facts_;
};

// The files of DIRECTORY that may be layers of one disk with FILE; none when it cannot be read or
// has more than kMostFiles.
std::vector<std::string> files_for_layers(const Repository& repository,
                                          const std::string& directory, std::string_view file);

}  // namespace signpost
