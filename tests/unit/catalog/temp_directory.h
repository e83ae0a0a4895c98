// SPDX-License-Identifier: BSD-3-Clause
//
// A directory of a test's own, removed with all that is in it.

#pragma once

#include <stdlib.h>

#include <filesystem>
#include <string>

namespace signpost::test {

class TempDirectory {
   public:
    TempDirectory() {
        std::string pattern = (std::filesystem::temp_directory_path() / "signpost-XXXXXX").string();
        if (mkdtemp(pattern.data()) == nullptr)
            abort();
        path_ = pattern;
    }
    TempDirectory(const TempDirectory&) = delete;
    TempDirectory& operator=(const TempDirectory&) = delete;
    ~TempDirectory() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }

    const std::string& path() const { return path_; }
    std::string file(const std::string& name) const { return path_ + "/" + name; }

   private:
    std::string path_;
};

}  // namespace signpost::test
