// SPDX-License-Identifier: BSD-3-Clause
//
// DigestStore keeps the chunk digests of this server's own images, in a file of the server's own
// state (digests.db, SQLite): so that work goes on where a restart has stopped it, and so that they
// can be given to whoever wants to check a chunk. They belong to one state of an image, its
// fingerprint; whatever else has that name has digests of its own.
//
// All of it can be computed again. So a file that is damaged is thrown away, and nothing in it is
// believed by others: leaves are proven against the digest in the catalog.
//
// Threads: any; calls take turns.

#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "catalog/disk_name.h"
#include "nbd-server/disk/digest_tree.h"
#include "nbd-server/disk/log.h"

namespace signpost {

class Connection;

class DigestStore {
   public:
    // Leaves are stored in runs of so many chunks (256 MiB of a disk).
    static constexpr std::uint64_t kRun = 64;

    struct Image {
        DiskName disk;
        std::string fingerprint;
        std::uint64_t size = 0;
    };

    struct Entry {
        std::int64_t id = 0;           // never used twice
        std::uint64_t done = 0;        // chunks whose digests are there, from the first on
        std::string digest;            // of the whole; empty: not all are there
        std::int64_t read = 0;         // when it was last read from end to end; seconds since 1970
        std::uint64_t read_again = 0;  // chunks that the next such reading has behind it
    };

    // Makes the file if it is missing, and anew if it is damaged (a line says so). Fails with
    // denied, full, io or unavailable.
    static Result<std::unique_ptr<DigestStore>> open(const std::string& path, Log& log);
    DigestStore(const DigestStore&) = delete;
    DigestStore& operator=(const DigestStore&) = delete;
    ~DigestStore();

    Result<std::optional<Entry>> find(const Image& image);

    // As find, but makes an entry when there is none.
    Result<Entry> begin(const Image& image);

    // LEAVES of the chunks from FIRST on, a multiple of kRun; at most kRun.
    Result<void> add(std::int64_t id, std::uint64_t first, const DigestTree::Leaves& leaves);

    Result<void> finish(std::int64_t id, const std::string& digest);
    Result<void> note_reading(std::int64_t id, std::uint64_t chunks, std::int64_t read);

    // At most kRun leaves from the multiple of kRun FIRST on; not_found when they are not there any
    // more.
    Result<DigestTree::Leaves> leaves(std::int64_t id, std::uint64_t first);

    // All at once, where a copy has computed them on its way: LEAF gives that of each chunk. What
    // is there already stays.
    using LeafOf = std::function<std::optional<DigestTree::ChunkDigest>(std::uint64_t chunk)>;
    Result<void> keep(const Image& image, const std::string& digest, const LeafOf& leaf);

    // Removes what no find or begin has asked for since BEFORE.
    Result<void> forget(std::int64_t before);

   private:
    explicit DigestStore(std::unique_ptr<Connection> connection);

    Result<std::optional<Entry>> look_up(const Image& image);
    Result<void> settled();
    void start_call();

    std::mutex mutex_;  // of the connection
    std::unique_ptr<Connection> connection_;
};

}  // namespace signpost
