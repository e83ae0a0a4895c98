// SPDX-License-Identifier: BSD-3-Clause
//
// GrubStage reads the file systems that The Sleuth Kit does not, by GRUB's tools over FUSE: XFS,
// btrfs, volume groups, arrays. It is a process in namespaces of its own, as the user
// nobody if root began it: a root directory with programs, read-only, no network, and no process
// but its own, all of which end with it.
//
// The volumes are files of a FUSE mount that the command serves. What GRUB finds in them are
// devices, numbered in the order in which they are listed; a Volume of this reader is such a
// number. GRUB knows sizes and times, but neither owners nor permissions, and it follows symbolic
// links itself.
//
// Threads: one.

#pragma once

#include "files/disk_link.h"

namespace signpost::files {

// Sends the FUSE descriptor on SOCKET, and answers questions about so many VOLUMES. Returns a line
// when there can be no such process here.
std::string serve_by_grub(int socket, unsigned volumes);

}  // namespace signpost::files
