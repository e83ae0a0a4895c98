// SPDX-License-Identifier: BSD-3-Clause
//
// GuestDisk is a disk with its file systems, open for reading: a connection to a server that has or
// relays the disk, and file readers behind it: one that knows most file systems, and, begun when it
// is needed, GRUB's tools for the others and for volume groups, which may lie on several disks. An
// encrypted partition is, by its passphrase, a disk of its own. It chooses the partition that a
// place means.
//
// Lifetime: as long as the files of it are read; the context and the sources outlive it.
// Threads: one.

#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cli/disk_place.h"
#include "cli/file_reader.h"
#include "cli/verbs.h"

namespace signpost {

// A file system on the disk, or on a logical volume of it.
struct GuestVolume {
    std::string name;  // "p2", "vg0/root"; empty: the whole disk
    files::Partition what;
    FileReader* reader;     // null: nobody reads it, or not yet
    files::Volume address;  // for the reader
    bool within = false;    // it lies in others: a logical volume, an array, what was encrypted
};

// One file or directory of the disk.
struct GuestFile {
    FileReader* reader;
    files::Volume volume;  // for the reader
    std::string path;      // as it was asked for
    files::Entry entry;
};

class GuestDisk {
   public:
    static Outcome<std::unique_ptr<GuestDisk>> open(const Context& context, const DiskPlace& place,
                                                    const GuestSources& sources);

    const std::string& name() const { return name_; }

    // What is on it; logical volumes, too.
    Outcome<std::vector<GuestVolume>> all_volumes();

    // The file system that PLACE means: its own, or the only one.
    Outcome<GuestVolume> choose(const DiskPlace& place);

    // The file that PLACE means; without a partition: on the only file system, or the only one that
    // has it. Fails with no_such_disk when there is none.
    Outcome<GuestFile> find(const DiskPlace& place, bool follow, bool deleted);

    // ERROR with the names of the disk and the file in front.
    Failure about(const std::string& path, const Error& error) const;

   private:
    struct OneDisk {
        std::string name;  // of an encrypted partition: the partition's
        NbdUri uri;
        std::unique_ptr<DiskBlocks> blocks;
        std::unique_ptr<FileReader> reader;  // before the blocks that it reads from
    };

    // What GRUB is given, and the volume that it is.
    struct Slice {
        RawVolume raw;
        std::string name;
        bool within;
    };

    GuestDisk(const Context& context, const GuestSources& sources)
        : context_(context), sources_(sources) {}

    Outcome<void> add(const DiskPlace& place);
    Outcome<void> look();
    void unlock(std::size_t disk, const std::vector<files::Partition>& partitions);
    Result<void> unlock_one(std::size_t disk, const files::Partition& partition);
    Outcome<void> stage();
    void take_devices(const std::vector<files::Partition>& devices,
                      const std::vector<Slice>& slices);
    Outcome<void> add_slices(const OneDisk& disk, const std::string& name, bool within,
                             std::vector<Slice>& slices) const;
    std::vector<GuestVolume> those_within(const std::string& name) const;
    Outcome<std::vector<GuestVolume>> candidates(const DiskPlace& place, bool staged);
    Outcome<std::vector<GuestFile>> find_among(const std::vector<GuestVolume>& among,
                                               const DiskPlace& place, bool follow, bool deleted);
    Failure nothing_to_read(const DiskPlace& place, const std::vector<GuestVolume>& there) const;
    Failure no_such_file(const DiskPlace& place, const GuestVolume& volume);
    std::string volume_list() const;
    std::string passphrase_hint() const;
    std::string guestfish_hint(const char* words, const NbdUri& uri) const;
    void say_route(const GuestVolume& volume) const;

    const Context& context_;
    const GuestSources& sources_;
    std::string name_;
    std::vector<OneDisk> disks_;     // the first is the one that is asked for
    std::vector<OneDisk> unlocked_;  // of those of the first disk, what lies within is in volumes_
    std::unique_ptr<FileReader> grub_;
    std::vector<GuestVolume> volumes_;  // of the first disk; then what GRUB has found
    bool looked_ = false;
    bool staged_ = false;
    std::string stage_trouble_;
    std::string unlock_trouble_;
};

}  // namespace signpost
