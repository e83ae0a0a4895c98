// SPDX-License-Identifier: BSD-3-Clause
//
// Confinement is what a file reader gives up before it reads the first byte of a disk: all system
// calls but those that move memory, and read and write what is open. What unlocks may also read
// files, of which Landlock leaves few, and begin threads.
//
// Threads: the only one.

#pragma once

namespace signpost::files {

// False: the kernel does not have what is needed; the reader must not go on.
bool confine();
bool confine_unlocking();

// The next question may take as much of the processor as one may.
void renew_processor_time();

}  // namespace signpost::files
