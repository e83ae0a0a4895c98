// SPDX-License-Identifier: BSD-3-Clause
//
// The command line's words as the parser of options leaves them, before any is believed; and the
// step that checks each and makes an Invocation of them. Every refusal names the word and shows a
// good one.
//
// Values and a pure function; no thread rule.

#pragma once

#include <string>
#include <vector>

#include "cli/invocation.h"

namespace signpost {

// What the environment gives when the command line does not.
struct Defaults {
    std::string catalog;  // SIGNPOST_CATALOG, else the place of the embedded catalog
    std::string server;   // SIGNPOST_SERVER; empty: the host name
    std::string host_name;
    std::string state_directory = {};  // where servers of this machine keep what they know
    std::string disk_socket = {};      // SIGNPOST_DISK_SOCKET
};

struct RawArguments {
    std::string verb;                        // "ls", "servers add", …: the canonical name
    std::vector<std::string> given_options;  // long names without dashes, as far as they were given

    std::string catalog, server, uri, json, color, columns, limit;
    std::string tls_certificates, tls_psk, tls_username;
    bool yes = false, dry_run = false, bytes = false, no_header = false;

    bool watch = false;
    std::string session;

    std::string pattern, text, disk, name, server_uri, path, repository, site, priority, file, to;
    std::string source, rate, job, copies, config, glob, priority_class, site_a, site_b, cost;
    std::vector<std::string> disks, directories, from, points;
    bool check = false, foreign = false, prune = false, trust_holes = false, merge = false;
    std::string place, destination, directory, key;
    std::vector<std::string> with;
    std::vector<std::string> command, listen;
    std::string http = "on";
    std::string vm, memory = "1024", bus = "virtio", accel = "auto", sign = "auto", expect;
    std::string timeout = "300", oldest, at;
    bool start = false, print_xml = false, print_command = false, history = false;
    bool writable = false;
    bool background = false, verbose = false, cow = false;
    bool detach = false, off = false, wait = false, list_points = false;
    bool details = false, recursive = false, deleted = false, tar = false, force = false;
    bool all_points = false;
};

// Fails with usage.
Outcome<Invocation> check_arguments(const RawArguments& raw, const Defaults& defaults);

}  // namespace signpost
