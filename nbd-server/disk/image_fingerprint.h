// SPDX-License-Identifier: BSD-3-Clause
//
// An image fingerprint is a short text that changes when the files of an image change: "r-" and 32
// hexadecimal digits over inode, birth time, size, mtime and ctime of each file of the chain when
// the image is served read-only; "w-" and the same over device, inode and birth time when it is
// served writable (its times then change by our own hand).
//
// ctime stays in it although a chmod or a rename then gives another fingerprint for the same bytes.
// It is the only time that nobody can set: `cp -p`, `rsync --times --inplace` and tools that unpack
// images with a fixed date put the mtime back after they have changed the bytes, and sizes of disks
// are often equal. Falsely "changed" costs a new verification, falsely "the same" costs wrong
// bytes. The device number is left out of "r-" because it changes when the file system is mounted
// again (btrfs, NFS, LVM), and inode, birth time and ctime tell files apart without it.
//
// A block device's content leaves no trace in its times: the device's number, size and node are all
// that is known. Do not write to a device while it is served read-only.
//
// A Signpost server shows it in the description of `local:NAME`, so that a relay that reconnects
// knows whether the same bytes are still there (the first invariant: never a wrong byte).
//
// Pure but for statx. Threads: any.

#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "catalog/error.h"

namespace signpost {

// FDS: the chain's files, top first. io when a file cannot be examined.
Result<std::string> image_fingerprint(std::span<const int> fds, bool writable);

// The description of `local:NAME` that carries it, and back; empty when TEXT carries none.
std::string describe_with_fingerprint(std::string_view text, std::string_view fingerprint);
std::optional<std::string> fingerprint_in(std::string_view description);

}  // namespace signpost
