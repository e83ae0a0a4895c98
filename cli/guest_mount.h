// SPDX-License-Identifier: BSD-3-Clause
//
// GuestMount shows a file system of a disk in a directory of this machine, read-only, by FUSE:
// until it is unmounted, or the process is told to end. Only who mounted it sees it, and sees all
// of it, whatever the permissions in it say; nothing in it is setuid or a device.
//
// Lifetime: what it shows outlives it. Threads: one.

#pragma once

#include <list>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "cli/guest_disk.h"

struct fuse_session;

namespace signpost {

class GuestMount {
   public:
    // ROOT is a directory.
    static Result<std::unique_ptr<GuestMount>> make(const GuestFile& root,
                                                    const std::string& directory,
                                                    const std::string& disk);

    GuestMount(const GuestMount&) = delete;
    GuestMount& operator=(const GuestMount&) = delete;
    ~GuestMount();

    // Until the end. unavailable: the disk is gone.
    Result<void> serve();

   private:
    friend struct GuestMountCalls;

    struct Node {
        files::Entry entry;
        std::vector<files::Piece> pieces;  // those that were asked for last
    };

    // By name; a listing that is not the last of some is asked for again.
    struct Listing {
        std::uint64_t node;
        std::vector<files::Entry> entries;
    };

    explicit GuestMount(const GuestFile& root);

    Node* node(std::uint64_t number);
    std::uint64_t number_of(const files::Entry& entry);
    Result<const std::vector<files::Entry>*> list(std::uint64_t number);
    Result<void> read(Node& node, std::uint64_t offset, std::span<std::byte> to);
    Result<const files::Piece*> piece_at(Node& node, std::uint64_t offset);
    Result<void> read_disk(std::uint64_t offset, std::span<std::byte> to);
    Result<void> take_request();

    FileReader& reader_;
    files::Volume volume_;
    std::vector<std::unique_ptr<Node>> nodes_;                  // by number, from the root on
    std::unordered_map<std::uint64_t, std::uint64_t> numbers_;  // by inode
    std::list<Listing> listings_;                               // the last one first
    fuse_session* session_ = nullptr;
    bool mounted_ = false;
};

}  // namespace signpost
