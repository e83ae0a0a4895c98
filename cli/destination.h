// SPDX-License-Identifier: BSD-3-Clause
//
// Destination is a directory of this machine into which files of a disk are brought. Names come
// from the disk, so each is one component, opened in its directory by the kernel's own rule: no
// symbolic link that lies there, or was just brought, is ever gone through. What exists is left
// alone unless it may be replaced. A file appears under its name when it is whole.
//
// What a file is restored with: permissions without setuid, setgid and sticky, the time of its last
// change, and, for root, its owner.
//
// Threads: one. Errors: conflict (it exists), denied, full, io.

#pragma once

#include <memory>
#include <string>

#include "cli/file_content.h"
#include "nbd-server/disk/unique_fd.h"

namespace signpost {

class NewFile;

class Destination {
   public:
    // PATH is the operator's own and may go through links.
    static Result<Destination> open(const std::string& path, bool replace);

    // The directory NAME in it, which is made unless it is there.
    Result<Destination> enter(const std::string& name) const;

    Result<std::unique_ptr<NewFile>> create(const std::string& name) const;
    Result<void> link(const files::Entry& entry, const std::string& name) const;

    // Its own attributes, when nothing more comes into it.
    Result<void> restore(const files::Entry& entry) const;

   private:
    friend class NewFile;

    Destination(UniqueFd directory, bool replace)
        : directory_(std::move(directory)), replace_(replace) {}

    UniqueFd directory_;
    bool replace_;
};

// A file on its way; gone if it is not kept.
class NewFile : public ContentSink {
   public:
    NewFile(const NewFile&) = delete;
    NewFile& operator=(const NewFile&) = delete;
    ~NewFile() override;

    Result<void> bytes(std::uint64_t offset, std::span<const std::byte> bytes) override;
    Result<void> hole(std::uint64_t offset, std::uint64_t length) override;

    // Gives it its size, its attributes and its name.
    Result<void> keep(const files::Entry& entry);

   private:
    friend class Destination;

    NewFile(const Destination& into, std::string name) : into_(into), name_(std::move(name)) {}

    Result<void> give_name();

    const Destination& into_;
    std::string name_;
    std::string temporary_;  // empty: the file has no name yet
    UniqueFd file_;
};

}  // namespace signpost
