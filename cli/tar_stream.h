// SPDX-License-Identifier: BSD-3-Clause
//
// TarStream writes files of a disk as a tar archive (pax), holes left out, to a descriptor.
//
// Threads: one. Errors: io, full.

#pragma once

#include <memory>
#include <string>

#include "cli/file_content.h"

struct archive;

namespace signpost {

class TarStream {
   public:
    // FD stays the caller's.
    static Result<std::unique_ptr<TarStream>> open(int fd);

    // An entry without content.
    Result<void> add(const std::string& path, const files::Entry& entry);
    // A regular file; what it is made of is asked of READER.
    Result<void> add_file(const std::string& path, const files::Entry& entry, FileReader& reader,
                          files::Volume volume);
    Result<void> finish();

   private:
    struct Free {
        void operator()(archive* stream) const;
    };

    explicit TarStream(archive* stream) : stream_(stream) {}

    std::unexpected<Error> trouble() const;

    std::unique_ptr<archive, Free> stream_;
};

}  // namespace signpost
