// SPDX-License-Identifier: BSD-3-Clause
//
// StubStore is where a server keeps its stubs: what it was told of the catalog's disks and servers,
// so that it can do without the catalog, after a restart, too. Two files in its own state
// directory: `stubs.db`, a catalog of SQLite's with the usual tables and row checks, and
// `stubs.json`, the note that says whose they are, of which catalog, and as of when they were true.
//
// It is a copy and may be lost. One that is damaged, or that belongs to another server or another
// catalog, is moved aside (`.aside`) and begun anew; one of a newer release is left alone, and
// nothing is kept. Where nothing can be kept, the log gets one line, and all else goes on.
//
// Lifetime: LOG outlives it. Threads: look-ups from any; whatever changes them from one at a
// time.

#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>

#include "catalog/catalog.h"
#include "nbd-server/disk/log.h"
#include "nbd-server/disk/stub_note.h"

namespace signpost {

class StubStore {
   public:
    struct Settings {
        std::string directory;  // exists; empty: nothing is kept
        std::string server;
        std::string catalog;
    };

    StubStore(Settings settings, Log& log);
    StubStore(const StubStore&) = delete;
    StubStore& operator=(const StubStore&) = delete;

    // Null while there is none.
    std::shared_ptr<Catalog> rows() const;

    // As of the last start or set_note.
    StubNote note() const;

    // How often they were begun anew while this ran: each time nothing is known any more.
    unsigned beginnings() const { return beginnings_; }

    // False when it could not be written: it is tried again a while later.
    bool write(const Restoration& change);
    bool remove_server(std::string_view name);
    void set_note(const StubNote& note);

    // A look-up in them failed: when they are damaged or gone they are begun anew.
    void failed(const Error& error);

    std::string database_path() const { return settings_.directory + "/stubs.db"; }
    std::string note_path() const { return settings_.directory + "/stubs.json"; }

   private:
    void open();
    bool open_to_write();
    void move_aside(const std::string& why);
    bool wrote(const Result<void>& outcome);
    void complain(const std::string& what);

    const Settings settings_;
    Log& log_;
    std::atomic<unsigned> beginnings_{0};
    std::string complaint_;     // the last one; the writer's own
    mutable std::mutex mutex_;  // of what follows; held for no call of the store's
    std::shared_ptr<Catalog> rows_;
    StubNote note_;
};

// Another program's look at a server's stubs.
struct KeptStubs {
    std::unique_ptr<Catalog> rows;
    StubNote note;
};
// DIRECTORY: the server's own. Changes nothing there.
Result<KeptStubs> read_stubs(const std::string& directory);

}  // namespace signpost
