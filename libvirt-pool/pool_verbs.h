// SPDX-License-Identifier: BSD-3-Clause
//
// What each verb of signpost-pool does, and what several of them begin with.
//
// Threads: one verb per process.

#pragma once

#include "libvirt-pool/libvirt_host.h"
#include "libvirt-pool/machine_disks.h"
#include "libvirt-pool/pool_directory.h"
#include "libvirt-pool/pool_invocation.h"
#include "libvirt-pool/pool_settings.h"
#include "terminal/outcome.h"

namespace signpost {

// What a verb works with; both outlive it.
struct PoolContext {
    const PoolOptions& options;
    Console& console;
};

// ok, or problems_found.
using PoolResult = Outcome<ExitCode>;

PoolResult run(const PoolContext& context, const DefineVerb& verb);
PoolResult run(const PoolContext& context, const SyncVerb& verb);
PoolResult run(const PoolContext& context, const PoolStatusVerb& verb);
PoolResult run(const PoolContext& context, const RepairVerb& verb);
PoolResult run(const PoolContext& context, const AttachVerb& verb);
PoolResult run(const PoolContext& context, const RecoverVerb& verb);
PoolResult run(const PoolContext& context, const HydrateVerb& verb);
PoolResult run(const PoolContext& context, const CommitVerb& verb);
PoolResult run(const PoolContext& context, const ResumeVerb& verb);
PoolResult run(const PoolContext& context, const AbandonVerb& verb);
PoolResult run(const PoolContext& context, const WatchVerb& verb);

// A pool that `define` has made: libvirt's, its directory, and what it shows, with what the command
// line says otherwise.
struct OpenPool {
    LibvirtHost host;
    PoolDirectory directory;
    PoolSettings settings;
};

Outcome<OpenPool> open_pool(const PoolOptions& options);

// As much of it as there is without libvirt: at --path, or else where `define` puts a pool.
struct PoolPlace {
    PoolDirectory directory;
    PoolSettings settings;
};

Outcome<PoolPlace> open_pool_place(const PoolOptions& options);

// What `define` has written there, with what the command line says otherwise.
Outcome<PoolSettings> settings_in(const PoolDirectory& directory, const PoolOptions& options);

// usage: a name that no directory can have.
Outcome<void> check_pool_name(const std::string& pool);

// Where `define` puts a pool unless it is told; URI: libvirt's.
std::string default_pool_path(const std::string& uri, const std::string& pool);

// A machine, with its disks that lie in the pool.
struct OpenMachine {
    OpenPool pool;
    Machine machine;
    MachineFacts facts;
    std::vector<MachineDisk> disks;
};

Outcome<OpenMachine> open_machine(const PoolOptions& options, const std::string& name);

// A machine that a killed call had held goes on; in a dry run it stays.
Outcome<void> let_go(const PoolContext& context, const OpenMachine& open);

// The catalog that the settings name, for reading.
Outcome<std::unique_ptr<Catalog>> open_pool_catalog(const PoolSettings& settings);

// One pass, with progress and its report on the console. WANTED: what the catalog has, if it was
// read just now.
PoolResult sync_and_report(const PoolContext& context, const OpenPool& pool, bool refresh_always,
                           const std::vector<WantedVolume>* wanted = nullptr);

// What an error of libvirt's or of the pool's directory means to the operator.
inline Failure pool_failure(const Error& error) {
    return peer_failure(error);
}
Failure making_failure(const Error& error);  // of what was to be made there

}  // namespace signpost
