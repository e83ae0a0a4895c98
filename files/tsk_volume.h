// SPDX-License-Identifier: BSD-3-Clause
//
// TskVolume is one file system, as The Sleuth Kit reads it: names, attributes, and where content
// lies. Content that is stored as it is, is not read here: pieces say where on the disk it is, and
// the command reads that itself.
//
// Lifetime: the link outlives it. Threads: one.
// Failures are an End that is not ok.

#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "files/tsk_image.h"

namespace signpost::files {

class TskVolume {
   public:
    // Whether there is a reader for what libblkid calls so.
    static bool reads(const std::string& type);

    // Null, and the reason in TROUBLE.
    static std::unique_ptr<TskVolume> open(DiskLink& link, Volume volume, const std::string& type,
                                           End& trouble);

    const Volume& volume() const { return image_.volume(); }

    End find(const AskPath& question, Entry& found);
    End list(const AskList& question, const std::function<void(const Entry&)>& see);
    End pieces(const AskPieces& question, const std::function<void(const Piece&)>& see);

   private:
    struct CloseFs {
        void operator()(TSK_FS_INFO* fs) const { ::tsk_fs_close(fs); }
    };
    struct CloseDirectory {
        void operator()(TSK_FS_DIR* directory) const { ::tsk_fs_dir_close(directory); }
    };
    struct CloseFile {
        void operator()(TSK_FS_FILE* file) const { ::tsk_fs_file_close(file); }
    };
    using Directory = std::unique_ptr<TSK_FS_DIR, CloseDirectory>;
    using File = std::unique_ptr<TSK_FS_FILE, CloseFile>;

    TskVolume(DiskLink& link, Volume volume) : image_(link, volume) {}

    End trouble(std::string_view what);
    bool is_shown(const TSK_FS_NAME& name, bool deleted) const;
    bool same_name(std::string_view wanted, std::string_view there, bool exactly) const;
    bool add_attributes(Entry& entry);
    std::optional<std::vector<Entry>> chained_entries(std::uint64_t directory);
    bool each_name(std::uint64_t inode, bool deleted, const std::function<bool(Entry&&)>& see);
    End step(std::uint64_t directory, std::string_view name, bool deleted, Entry& found);
    End walk(std::string path, bool follow, bool deleted, Entry& found);
    End stored_pieces(const TSK_FS_ATTR& attribute, const AskPieces& question,
                      const std::function<void(const Piece&)>& see);
    End decoded_pieces(const TSK_FS_ATTR& attribute, const AskPieces& question,
                       const std::function<void(const Piece&)>& see);

    TskImage image_;
    std::unique_ptr<TSK_FS_INFO, CloseFs> fs_;
};

}  // namespace signpost::files
