// SPDX-License-Identifier: BSD-3-Clause
//
// LibvirtHost is a connection to one hypervisor's libvirt: the pools and machines that it knows, in
// our words and with our errors.
//
// Errors: not_found (no such pool or machine), denied, unavailable (libvirtd is away; the message
// says how to start it), conflict (it exists already, or is of another kind), io for the rest. Each
// message has libvirt's own sentence.
//
// Lifetime: what it returns are values, and stay good when it goes. Threads: any; libvirt's own
// rule. A call lasts as long as libvirtd takes; a daemon that is gone ends it.

#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "catalog/error.h"
#include "libvirt-pool/machine.h"

struct _virConnect;

namespace signpost {

struct PoolFacts {
    std::string name;
    std::string type;  // "dir"
    std::string path;  // of its directory
    bool active = false;
    bool autostart = false;

    bool operator==(const PoolFacts&) const = default;
};

class LibvirtHost {
   public:
    // URI as virsh --connect has it; empty: default_uri().
    static Result<LibvirtHost> connect(const std::string& uri);

    // $LIBVIRT_DEFAULT_URI, else qemu:///system for root, and qemu:///session for others.
    static std::string default_uri();

    const std::string& uri() const { return uri_; }

    // libvirt's own; for its events.
    _virConnect* connection() const { return connection_.get(); }

    // Of the hypervisor's libvirt: 9'000'000 is 9.0.0.
    unsigned long version() const;

    // <reconnect> of a network disk: QEMU then waits for a server that is away by itself.
    bool knows_reconnect() const;

    Result<PoolFacts> pool(const std::string& name) const;

    // Whether define_pool() would take it: not where one of another kind or place has the name.
    Result<void> check_pool(const std::string& name, const std::string& path) const;

    // A dir pool of that directory, which must exist: defined, started, and to be started with the
    // host. One that is the same already is left as it is.
    Result<void> define_pool(const std::string& name, const std::string& path) const;
    Result<void> undefine_pool(const std::string& name) const;

    // Makes libvirt look at the directory again; starts the pool if it is not active.
    Result<void> refresh_pool(const std::string& name) const;

    // Names of the pool's volumes as libvirt lists them.
    Result<std::vector<std::string>> volumes(const std::string& pool) const;

    Result<std::vector<MachineFacts>> machines() const;
    Result<Machine> machine(const std::string& name) const;

    // A new machine that is off, or a change to one of that name. invalid: XML that libvirt
    // refuses.
    Result<Machine> define_machine(const std::string& xml) const;

   private:
    struct Close {
        void operator()(_virConnect* connection) const;
    };

    explicit LibvirtHost(std::unique_ptr<_virConnect, Close> connection, std::string uri)
        : connection_(std::move(connection)), uri_(std::move(uri)) {}

    std::unique_ptr<_virConnect, Close> connection_;
    std::string uri_;
};

}  // namespace signpost
