// SPDX-License-Identifier: BSD-3-Clause
//
// RememberingCatalog is a server's way to its catalog: a Catalog that answers look-ups from this
// server's stubs while the real one does not answer, and says of each answer how old it is
// (DiskRecord::as_of).
//
// The real one is always asked first, so that nothing old is served while it is there. The look-up
// on which it fails waits as long as the store waits; all others are answered at once, until the
// keeper's thread has found it again. What the stubs do not have is unavailable, not missing:
// "there is none" is never said from memory.
//
// Changes go to the real one alone. A server that publishes everything gives its own locations back
// first, where the catalog has lost them (give_back.h).
//
// Lifetime: LOG outlives it. Threads: any.

#pragma once

#include <memory>

#include "catalog/catalog.h"
#include "nbd-server/disk/log.h"
#include "nbd-server/disk/stub_keeper.h"

namespace signpost {

// STORE may keep nothing: then it only spares callers the waiting.
std::unique_ptr<Catalog> make_remembering_catalog(StubKeeperSettings settings,
                                                  std::unique_ptr<Catalog> live,
                                                  std::unique_ptr<StubStore> store, Log& log);

}  // namespace signpost
