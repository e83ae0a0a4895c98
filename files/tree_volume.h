// SPDX-License-Identifier: BSD-3-Clause
//
// TreeVolume is a file system that somebody has mounted for us in a directory.
//
// Threads: one. Failures are an End that is not ok.

#pragma once

#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include "files/messages.h"

namespace signpost::files {

class TreeVolume {
   public:
    explicit TreeVolume(std::string directory) : paths_{std::move(directory)} {}

    End find(const AskPath& question, Entry& found);
    End list(const AskList& question, const std::function<void(const Entry&)>& see);
    End pieces(const AskPieces& question, const std::function<void(const Piece&)>& see);

   private:
    bool take(const std::string& path, std::string_view name, Entry& entry);
    std::uint64_t number_of(const std::string& path);
    const std::string* path_of(std::uint64_t inode) const;

    std::vector<std::string> paths_;  // by inode; these are ours alone
    std::unordered_map<std::string, std::uint64_t> numbers_;
};

}  // namespace signpost::files
