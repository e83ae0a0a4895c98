// SPDX-License-Identifier: BSD-3-Clause
//
// A directory of its own for a test, removed with all that is in it, and short ways to fill it.

#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>

#include "nbd-server/disk/unique_fd.h"

namespace signpost::test {

class TempTree {
   public:
    TempTree() {
        std::string pattern =
            (std::filesystem::temp_directory_path() / "signpost-test-XXXXXX").string();
        if (::mkdtemp(pattern.data()) == nullptr) {
            ADD_FAILURE() << "mkdtemp failed";
        }
        root_ = pattern;
    }
    TempTree(const TempTree&) = delete;
    TempTree& operator=(const TempTree&) = delete;
    ~TempTree() {
        std::error_code ignored;
        std::filesystem::remove_all(root_, ignored);
    }

    const std::string& root() const { return root_; }
    std::string path(std::string_view name) const { return root_ + '/' + std::string(name); }

    // Makes the file, and the directories that it lies in.
    void write(std::string_view name, std::string_view content) const {
        const std::filesystem::path full(path(name));
        std::filesystem::create_directories(full.parent_path());
        const UniqueFd fd(::open(full.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
        ASSERT_TRUE(fd) << full;
        ASSERT_EQ(::write(fd.get(), content.data(), content.size()),
                  static_cast<ssize_t>(content.size()));
    }

    // A file that is all hole.
    void make_sparse(std::string_view name, std::uint64_t size) const {
        write(name, "");
        ASSERT_EQ(::truncate(path(name).c_str(), static_cast<off_t>(size)), 0);
    }

    void link(std::string_view target, std::string_view name) const {
        ASSERT_EQ(::symlink(std::string(target).c_str(), path(name).c_str()), 0);
    }

    void rename(std::string_view from, std::string_view to) const {
        ASSERT_EQ(::rename(path(from).c_str(), path(to).c_str()), 0);
    }

   private:
    std::string root_;
};

}  // namespace signpost::test
