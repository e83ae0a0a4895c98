// SPDX-License-Identifier: BSD-3-Clause
//
// Digester computes the digests of this server's own images in the background, and tells the
// catalog, so that equal copies back each other up without anybody having run `signpost verify`.
// One thread, one image at a time, at a bounded rate and with idle I/O priority. What has been done
// survives a restart (digest_store.h). Images that may be written have no digest.
//
// With an interval it also reads each image again when its last reading is that old (a *scrub*). A
// chunk that is not what it was under the same fingerprint has rotted: the location becomes
// `damaged` in the catalog, and the log names the bytes. One that is right again becomes ready.
//
// Lifetime: all that it is given outlives it; the destructor ends the thread after the chunk that
// it reads. Threads: any.

#pragma once

#include <memory>
#include <string>

#include "catalog/catalog.h"
#include "nbd-server/disk/digest_settings.h"
#include "nbd-server/disk/digest_store.h"
#include "nbd-server/disk/image_reading.h"
#include "nbd-server/disk/log.h"
#include "nbd-server/disk/publisher.h"
#include "nbd-server/disk/repository.h"

namespace signpost {

struct DigesterParts {
    std::string server;
    const RepositorySet& repositories;
    const Publisher& publisher;
    Catalog& catalog;
    DigestStore& store;
    ImageReading::Serve serve;
};

class Digester {
   public:
    Digester() = default;
    Digester(const Digester&) = delete;
    Digester& operator=(const Digester&) = delete;
    virtual ~Digester() = default;
};

std::unique_ptr<Digester> start_digester(DigesterParts parts, DigestSettings settings, Log& log);

}  // namespace signpost
