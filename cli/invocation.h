// SPDX-License-Identifier: BSD-3-Clause
//
// Invocation is a command line, checked: what the operator wants, in types that cannot be wrong.
//
// Values; no thread rule.

#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "catalog/catalog.h"
#include "cli/disk_place.h"
#include "cli/job_plan.h"
#include "cli/probe.h"
#include "nbd-server/disk/point_patterns.h"
#include "terminal/console.h"
#include "terminal/table.h"

namespace signpost {

enum class JsonMode { none, whole, lines };

// What several verbs share.
struct Options {
    std::string catalog;        // URL
    std::string own_server;     // --server, else SIGNPOST_SERVER, else the host name
    bool server_given = false;  // by --server
    std::string disk_socket = {};  // `files` asks whoever serves there, and no catalog; empty: none
    std::optional<NbdUri> uri;
    JsonMode json = JsonMode::none;
    bool yes = false;
    bool dry_run = false;
    bool bytes = false;  // exact sizes
    ColorMode color = ColorMode::automatic;
    TableStyle table;
    std::optional<std::uint64_t> limit;
    PeerTls tls;

    // Set where a verb is carried out in a server, for its console. Empty: `catalog` is opened, and
    // servers are asked.
    std::function<std::unique_ptr<Catalog>()> open_catalog = {};
    std::function<std::optional<ProbeResult>(const std::string& server)> known_probe = {};
};

struct ListVerb {
    std::string pattern;
    bool points = false;
};

struct FindVerb {
    std::string text;
};

struct WhereVerb {
    DiskName disk;
    bool check;
};

struct InfoVerb {
    DiskName disk;
};

struct UriVerb {
    DiskName disk;
};

struct ServersListVerb {};

struct ServersAddVerb {
    std::string name;
    NbdUri uri;
    bool foreign;
    std::optional<std::string> site;  // empty, and so the next: as it was
    std::optional<int> priority;
    std::optional<PriorityClass> priority_class = std::nullopt;
};

struct ServersDrainVerb {
    std::string name;
    bool off;   // take clients again
    bool wait;  // until nobody uses it any more
};

struct SitesListVerb {};

struct SitesCostVerb {
    SiteCost cost;  // below 0: as if nothing had been said
};

struct ServersRemoveVerb {
    std::string name;
};

struct AddVerb {
    std::string path;
    std::string repository;  // empty: the directory of `path`
    PointPatterns points;
};

struct RemoveVerb {
    DiskName disk;
};

struct ScanVerb {
    std::vector<std::string> directories;
    bool prune;
    PointPatterns points;
};

struct VerifyVerb {
    std::vector<DiskName> disks;  // empty: all
    std::string glob;             // of these; empty: every name
    bool trust_holes;
};

struct DiffVerb {
    DiskName one;
    DiskName other;
};

struct ExplainVerb {
    DiskName disk;
    bool check;
};

struct CopyVerb {  // or move
    DiskName disk;
    JobWish wish;
    bool detach;
};

struct RepairVerb {
    std::string pattern;             // empty: as the configuration says
    std::optional<unsigned> copies;  // of what matches the pattern
    std::string config;              // file; empty: the usual one, if it is there
    std::uint64_t rate;
    bool detach;
};

struct JobsVerb {
    std::string id;  // or its beginning; empty: all
};

struct JobsCancelVerb {
    std::string id;
};

// What the file systems of a disk need beyond it.
struct GuestSources {
    std::vector<DiskPlace> with;  // other disks of the same volume group
    std::string key_file;         // of an encrypted partition; empty: none
    bool verbose = false;
};

struct MountVerb {
    DiskPlace place;
    std::string directory;
    bool background;
    GuestSources sources;
};

struct FilesListVerb {
    DiskPlace place;
    bool details;
    bool recursive;
    bool deleted;
    GuestSources sources;
};

struct FilesCatVerb {
    DiskPlace place;
    bool deleted;
    GuestSources sources;
};

struct FilesGetVerb {
    DiskPlace place;
    std::string destination;  // empty: the current directory; with tar: standard output
    bool recursive;
    bool tar;
    bool force;
    bool deleted;
    GuestSources sources;
};

struct FilesFindVerb {
    DiskPlace place;
    std::string name;  // a pattern; empty: the place's own path is one
    bool all_points;
    bool deleted;
    GuestSources sources;
};

struct RunVerb {
    DiskName disk;
    bool cow;                          // what is written goes into a file that is then removed
    std::vector<std::string> command;  // never empty; one word is a line for the shell
};

struct InitVerb {
    std::string file;                         // empty: the usual one
    std::optional<std::string> repositories;  // separated by commas; empty: ask
    std::string site;
    std::vector<std::string> listen;  // empty: as the address of the server wants it
    std::string http;                 // "on", "off" or an address
    bool catalog_given;
    bool writable;
    bool force;  // replace the file
};

struct BootVerb {
    DiskName disk;
    std::string machine;    // its name; empty: of the disk
    std::string directory;  // where what it writes goes; empty: the usual one
    unsigned memory;        // MiB
    std::string bus;
    std::string accel;
    bool start;
    bool print_xml;
};

struct DrillVerb {
    std::vector<DiskName> disks;
    std::string sign;    // auto, agent, serial or screen
    std::string expect;  // on the serial console; empty: a login
    std::chrono::seconds timeout;
    unsigned memory;  // MiB
    std::string bus;
    std::string accel;
    unsigned oldest;  // so many disks, instead of `disks`; 0: those
    bool history;     // only show it
};

struct StatusVerb {};

struct SessionsVerb {
    bool watch;
};

struct SessionsKillVerb {
    std::uint64_t id;
};

struct CacheVerb {
    std::string directory;
};

struct DoctorVerb {
    std::string config;  // file of this machine's server; empty: the usual one, if it is there
};
struct CatalogInitVerb {};

struct CatalogExportVerb {
    std::string file;  // empty or "-": standard output
};

struct CatalogImportVerb {
    std::string file;  // "-": standard input
    bool merge;
};

struct CatalogMigrateVerb {
    std::string to;  // URL
};

struct CatalogRebuildVerb {
    std::vector<std::string> from;  // never empty
    bool merge;
};

using Verb =
    std::variant<ListVerb, FindVerb, WhereVerb, InfoVerb, UriVerb, ServersListVerb, ServersAddVerb,
                 ServersRemoveVerb, ServersDrainVerb, SitesListVerb, SitesCostVerb, AddVerb,
                 RemoveVerb, ScanVerb, VerifyVerb, DiffVerb, ExplainVerb, CopyVerb, RepairVerb,
                 JobsVerb, JobsCancelVerb, FilesListVerb, FilesCatVerb, FilesGetVerb, FilesFindVerb,
                 MountVerb, RunVerb, BootVerb, DrillVerb, SessionsVerb, SessionsKillVerb,
                 StatusVerb, CacheVerb, DoctorVerb, InitVerb, CatalogInitVerb, CatalogExportVerb,
                 CatalogImportVerb, CatalogMigrateVerb, CatalogRebuildVerb>;

struct Invocation {
    Options options;
    Verb verb;
};

}  // namespace signpost
