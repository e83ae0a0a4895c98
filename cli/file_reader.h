// SPDX-License-Identifier: BSD-3-Clause
//
// FileReader is the command's side of signpost-files: a process of its own that reads the file
// systems of one disk and is trusted with nothing. It has no network and no files; what it wants of
// the disk is read for it here, and what it says is checked (files/messages.h).
//
// Lifetime: the disk outlives it; it ends the process. Threads: one; the one that began it stays,
// because the process dies with that.
// Errors: not_found (no such file), corrupt (a damaged file system; the process crashed), invalid
// (what cannot be read this way), unavailable (the disk's server does not answer), io.

#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/disk_blocks.h"
#include "cli/raw_view.h"
#include "files/messages.h"
#include "nbd-server/disk/helper_process.h"

namespace signpost {

class FileReader {
   public:
    static Result<std::unique_ptr<FileReader>> start(DiskBlocks& disk);

    // One that reads by GRUB what the other does not (files/grub_stage.h): over all VOLUMES at
    // once, each a part of a disk. Its partitions are the devices that GRUB finds in these.
    static Result<std::unique_ptr<FileReader>> start_grub(std::vector<RawVolume> volumes);

    // Where the programs are that the command at PATH starts: directories.
    static std::vector<std::string> programs_of(const std::string& path);

    // How an encrypted VOLUME is to be read, by the passphrase in KEY_FILE (files/luks.h), found in
    // a process of its own. not_found: it is another's passphrase.
    static Result<files::Unlocked> unlock(DiskBlocks& disk, const files::Volume& volume,
                                          const std::string& key_file);

    FileReader(const FileReader&) = delete;
    FileReader& operator=(const FileReader&) = delete;
    ~FileReader();

    Result<std::vector<files::Partition>> partitions();
    Result<files::Entry> find(const files::AskPath& question);

    // Each entry as it comes. A failure may follow good ones.
    Result<void> list(const files::AskList& question, const std::function<void(files::Entry)>& see);

    // From OFFSET on without gaps; at least one unless OFFSET is the end.
    Result<std::vector<files::Piece>> pieces(const files::AskPieces& question);

    // Serves the process and moves the disks' replies; WAIT at most, and no longer than until ALSO
    // can be read.
    Result<void> turn(std::chrono::milliseconds wait, int also = -1);

    DiskBlocks& disk() { return *disks_.front(); }

   private:
    static constexpr char kProgram[] = "signpost-files";

    using Clock = std::chrono::steady_clock;
    using See = std::function<Result<void>(files::Answer&&)>;

    FileReader(std::vector<DiskBlocks*> disks, SpawnedHelper process, UniqueFd socket,
               const char* program = kProgram);

    Result<void> receive_fuse(std::vector<RawVolume> volumes);

    Result<void> ask(const files::Question& question, const See& see);
    Result<void> receive();
    Result<void> take_frames();
    Result<void> serve_want();
    Result<void> send();
    Result<void> check_patience();
    std::unexpected<Error> ended();
    std::unexpected<Error> give_up(Error error);

    std::vector<DiskBlocks*> disks_;  // never empty
    std::unique_ptr<RawView> raw_;
    SpawnedHelper process_;
    const char* program_;
    UniqueFd socket_;
    std::string in_;
    std::string out_;
    std::optional<files::Want> want_;
    const See* see_ = nullptr;
    std::optional<files::End> end_;
    std::optional<Error> broken_;  // for good
    Clock::time_point last_word_ = Clock::now();
    Clock::time_point last_reply_ = Clock::now();  // or nothing was under way
    Clock::time_point last_news_ = Clock::now();   // a reply from a disk
    std::uint64_t replies_ = 0;
};

}  // namespace signpost
