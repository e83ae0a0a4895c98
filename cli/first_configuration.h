// SPDX-License-Identifier: BSD-3-Clause
//
// FirstConfiguration is what `init` writes for signpostd: enough to serve, and to be added to by
// hand. And what the machine itself can answer of it: where images lie, which port is free.
//
// Values and functions that look and change nothing. Threads: any.

#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "catalog/nbd_uri.h"

namespace signpost {

struct FirstConfiguration {
    std::vector<std::string> repositories;  // empty: a gateway
    std::string catalog;                    // URL
    std::string server;
    std::string site;  // empty: none
    NbdUri uri;
    std::vector<std::string> listen;
    std::string http;          // where the console is; empty: nowhere
    std::string certificates;  // directory; empty: no TLS
    bool writable = false;
};

// A file for --config, with a word on each key.
std::string first_configuration_text(const FirstConfiguration& configuration);

// A text of TOML, quotes included, whatever is in it.
std::string toml_text(std::string_view text);

struct ImagePlace {
    std::string directory;
    std::uint64_t images;
};

// Those of DIRECTORIES that hold images, none beneath another. Each is looked through for a second
// at most, some levels deep; the pools of libvirt that show a federation are not taken for images.
std::vector<ImagePlace> find_images(std::span<const std::string> directories);

// Where images usually lie.
std::vector<std::string> usual_directories();

bool is_loopback(std::string_view host);

// The first port from PORT on that nobody listens on, at the loopback or at all addresses.
std::optional<std::uint16_t> free_port_from(std::uint16_t port, bool loopback);

}  // namespace signpost
