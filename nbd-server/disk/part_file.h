// SPDX-License-Identifier: BSD-3-Clause
//
// PartFile is an image in the making: the file `ID.part` in a repository's directory `.signpost`,
// and beside it the record `ID.state`, which says what the image is to be and, for each chunk that
// was written, its SHA-256. Nobody is served from either: a repository does not see names that
// begin with a dot.
//
// After a crash the record is no more than a hint: a chunk counts as there when the file's bytes,
// read again, have the digest that the record says. So nothing has to be synced while the copy
// runs, a record may be torn, and a file that was tampered with is found out.
//
// Once complete, land() moves it to its place in one step: before, nothing is to be seen there;
// after it the whole image, durable.
//
// Lifetime: holds a lock on the file, so that two processes never make the same image. Threads:
// write(), known() and remember() of different chunks from any; all else one at a time.

#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "nbd-server/disk/chunk_sweep.h"
#include "nbd-server/disk/digest_tree.h"
#include "nbd-server/disk/repository.h"

namespace signpost {

// The directory in which images are made, opened; CREATE makes it if it is missing. not_found,
// denied, io; the message names it.
inline constexpr const char* kStagingDirectory = ".signpost";
Result<UniqueFd> open_staging(const Repository& repository, bool create);

// True for what may name a copy's files: 32 hexadecimal digits.
bool is_job_id(std::string_view text);

class PartFile {
   public:
    struct Purpose {
        std::string id;
        std::string content;  // what it will hold, in any words; lines are allowed; at most 3 KiB
        std::uint64_t size = 0;
    };

    // Goes on with the file of that id if it was begun for the same content and size, else begins
    // it anew. conflict: another process has it; full, denied, io.
    static Result<PartFile> open(const Repository& repository, Purpose purpose);

    // Removes what there is of that id.
    static void remove(const Repository& repository, const std::string& id);

    bool resumed() const { return resumed_; }

    // The file as a disk, to read what is there already; PartFile outlives it.
    std::unique_ptr<Disk> disk() const;

    // Bytes at their place; runs of zeroes stay holes, also where other bytes were before. full: no
    // space is left.
    Result<void> write(const Chunk& chunk);

    // What the record says of a chunk; empty: nothing.
    std::optional<DigestTree::ChunkDigest> known(std::uint64_t index) const;
    Result<void> remember(std::uint64_t index, const DigestTree::ChunkDigest& digest);

    // The digest of all, from the record; invalid when a chunk is missing.
    Result<std::string> digest() const;

    // Bytes that are free where it lies, less what is left to others: a hundredth, at most 1 GiB.
    std::uint64_t room() const;

    // Makes it durable and moves it to PATH, with the directories that are missing. REPLACE: over
    // what may be there; else conflict. The object is of no further use.
    Result<void> land(const Repository& repository, const std::string& path, bool replace);

    // Removes both files.
    void drop();

   private:
    PartFile(Purpose purpose, UniqueFd directory, UniqueFd data, UniqueFd record)
        : purpose_(std::move(purpose)),
          directory_(std::move(directory)),
          data_(std::move(data)),
          record_(std::move(record)) {}

    Result<void> begin();
    Result<void> make_hole(std::uint64_t offset, std::uint64_t length);
    std::unexpected<Error> trouble(const char* what, int error) const;

    Purpose purpose_;
    UniqueFd directory_;
    UniqueFd data_;
    UniqueFd record_;
    bool resumed_ = false;
};

// Ids of files in STAGING that are older than AGE, or of any age.
std::vector<std::string> staged_ids(const Repository& repository);

}  // namespace signpost
