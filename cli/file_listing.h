// SPDX-License-Identifier: BSD-3-Clause
//
// FileListing prints files of disks as they are found: names, a table of details, or JSON.
//
// Lifetime: the context outlives it. Threads: one.

#pragma once

#include <string>
#include <vector>

#include "cli/files_json.h"
#include "cli/verbs.h"

namespace signpost {

class FileListing {
   public:
    enum class Form { names, details };

    // WITH_DISK: more than one disk is listed, so each line says which.
    FileListing(const Context& context, Form form, bool with_disk);

    static Outcome<void> check(const Options& options);

    // False: nobody reads any more.
    bool add(FileLine line);
    // Writes what was kept until now.
    void finish();

    std::size_t count() const { return count_; }

   private:
    void add_row(const FileLine& line);

    const Context& context_;
    Form form_;
    bool with_disk_;
    Table table_;
    std::vector<FileLine> lines_;  // for one JSON value
    std::size_t count_ = 0;
    std::size_t rows_ = 0;
};

}  // namespace signpost
