// SPDX-License-Identifier: BSD-3-Clause
//
// Luks opens an encrypted volume of LUKS1 or LUKS2: from its header and a passphrase, by
// libcryptsetup, to the key that its sectors are encrypted with. Nothing is decrypted here: the
// command does that where it reads the disk.
//
// Threads: one.

#pragma once

#include <string>

#include "files/disk_link.h"

namespace signpost::files {

// Reads of the disk what the key slots need. The passphrase is a file's content: a line end behind
// it is not part of it, unless it is.
End unlock(DiskLink& link, const AskUnlock& question, Unlocked& found);

}  // namespace signpost::files
