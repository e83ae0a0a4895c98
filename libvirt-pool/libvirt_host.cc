// SPDX-License-Identifier: BSD-3-Clause

#include "libvirt-pool/libvirt_host.h"

#include <fmt/format.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <unistd.h>

#include <cstdlib>
#include <pugixml.hpp>
#include <sstream>

#include "catalog/disk_name.h"
#include "libvirt-pool/libvirt_error.h"

namespace signpost {

namespace {

struct PoolFree {
    void operator()(virStoragePool* pool) const { virStoragePoolFree(pool); }
};
using Pool = std::unique_ptr<virStoragePool, PoolFree>;

std::string pool_xml(const std::string& name, const std::string& path) {
    pugi::xml_document document;
    pugi::xml_node pool = document.append_child("pool");
    pool.append_attribute("type") = "dir";
    pool.append_child("name").text() = name.c_str();
    pool.append_child("target").append_child("path").text() = path.c_str();
    std::ostringstream text;
    document.save(text);
    return text.str();
}

Result<PoolFacts> facts_of(virStoragePool* pool) {
    PoolFacts facts;
    facts.name = virStoragePoolGetName(pool);
    const LibvirtText xml(virStoragePoolGetXMLDesc(pool, 0));
    pugi::xml_document document;
    if (!xml || !document.load_string(xml.get())) {
        return libvirt_failed(fmt::format("pool {}", escaped(facts.name)));
    }
    const pugi::xml_node root = document.child("pool");
    facts.type = root.attribute("type").as_string();
    facts.path = root.child("target").child("path").text().as_string();
    facts.active = virStoragePoolIsActive(pool) == 1;
    int autostart = 0;
    facts.autostart = virStoragePoolGetAutostart(pool, &autostart) == 0 && autostart != 0;
    return facts;
}

Result<Pool> find_pool(virConnect* connection, const std::string& name) {
    Pool pool(virStoragePoolLookupByName(connection, name.c_str()));
    if (!pool) {
        return libvirt_failed(fmt::format("pool {}", escaped(name)));
    }
    return pool;
}

}  // namespace

void LibvirtHost::Close::operator()(_virConnect* connection) const {
    virConnectClose(connection);
}

std::string LibvirtHost::default_uri() {
    const char* given = std::getenv("LIBVIRT_DEFAULT_URI");
    return given != nullptr && *given != '\0' ? given
           : ::geteuid() == 0                 ? "qemu:///system"
                                              : "qemu:///session";
}

Result<LibvirtHost> LibvirtHost::connect(const std::string& uri) {
    // libvirt would print each error by itself.
    virSetErrorFunc(nullptr, [](void*, virError*) {});
    std::string wanted = uri.empty() ? default_uri() : uri;
    std::unique_ptr<_virConnect, Close> connection(
        virConnectOpenAuth(wanted.c_str(), virConnectAuthPtrDefault, 0));
    if (!connection) {
        return libvirt_failed(fmt::format("libvirt at {}", escaped(wanted)));
    }
    return LibvirtHost(std::move(connection), std::move(wanted));
}

unsigned long LibvirtHost::version() const {
    unsigned long version = 0;
    virConnectGetLibVersion(connection_.get(), &version);
    return version;
}

bool LibvirtHost::knows_reconnect() const {
    return version() >= 9'002'000;
}

Result<PoolFacts> LibvirtHost::pool(const std::string& name) const {
    const auto pool = find_pool(connection_.get(), name);
    if (!pool) {
        return std::unexpected(pool.error());
    }
    return facts_of(pool->get());
}

Result<void> LibvirtHost::check_pool(const std::string& name, const std::string& path) const {
    const auto there = pool(name);
    if (there && (there->type != "dir" || there->path != path)) {
        return fail(Errc::conflict,
                    fmt::format("pool {} exists already, of type {} at {}: choose another name, or "
                                "remove it first (virsh pool-undefine)",
                                escaped(name), escaped(there->type), escaped(there->path)));
    }
    if (!there && there.error().code != Errc::not_found) {
        return std::unexpected(there.error());
    }
    return {};
}

Result<void> LibvirtHost::define_pool(const std::string& name, const std::string& path) const {
    if (const auto checked = check_pool(name, path); !checked) {
        return checked;
    }
    Pool pool(virStoragePoolLookupByName(connection_.get(), name.c_str()));
    if (!pool) {
        pool.reset(virStoragePoolDefineXML(connection_.get(), pool_xml(name, path).c_str(), 0));
    }
    if (!pool || virStoragePoolSetAutostart(pool.get(), 1) != 0 ||
        (virStoragePoolIsActive(pool.get()) != 1 && virStoragePoolCreate(pool.get(), 0) != 0)) {
        return libvirt_failed(fmt::format("pool {}", escaped(name)));
    }
    return {};
}

Result<void> LibvirtHost::undefine_pool(const std::string& name) const {
    const auto pool = find_pool(connection_.get(), name);
    if (!pool) {
        return std::unexpected(pool.error());
    }
    if ((virStoragePoolIsActive(pool->get()) == 1 && virStoragePoolDestroy(pool->get()) != 0) ||
        virStoragePoolUndefine(pool->get()) != 0) {
        return libvirt_failed(fmt::format("pool {}", escaped(name)));
    }
    return {};
}

Result<void> LibvirtHost::refresh_pool(const std::string& name) const {
    const auto pool = find_pool(connection_.get(), name);
    if (!pool) {
        return std::unexpected(pool.error());
    }
    const bool active = virStoragePoolIsActive(pool->get()) == 1;
    if ((active ? virStoragePoolRefresh(pool->get(), 0) : virStoragePoolCreate(pool->get(), 0)) !=
        0) {
        return libvirt_failed(fmt::format("pool {}", escaped(name)));
    }
    return {};
}

Result<std::vector<std::string>> LibvirtHost::volumes(const std::string& name) const {
    const auto pool = find_pool(connection_.get(), name);
    if (!pool) {
        return std::unexpected(pool.error());
    }
    virStorageVolPtr* list = nullptr;
    const int count = virStoragePoolListAllVolumes(pool->get(), &list, 0);
    if (count < 0) {
        return libvirt_failed(fmt::format("pool {}", escaped(name)));
    }
    std::vector<std::string> names;
    for (int i = 0; i < count; ++i) {
        names.emplace_back(virStorageVolGetName(list[i]));
        virStorageVolFree(list[i]);
    }
    std::free(list);
    return names;
}

Result<std::vector<MachineFacts>> LibvirtHost::machines() const {
    virDomainPtr* list = nullptr;
    const int count = virConnectListAllDomains(connection_.get(), &list, 0);
    if (count < 0) {
        return libvirt_failed("machines");
    }
    std::vector<Machine> held;
    for (int i = 0; i < count; ++i) {
        held.emplace_back(list[i]);
    }
    std::free(list);
    std::vector<MachineFacts> machines;
    for (const Machine& machine : held) {
        auto facts = machine.facts();
        if (facts) {
            machines.push_back(std::move(*facts));
        } else if (facts.error().code != Errc::not_found) {  // else it is gone meanwhile
            return std::unexpected(facts.error());
        }
    }
    return machines;
}

Result<Machine> LibvirtHost::machine(const std::string& name) const {
    virDomain* const machine = virDomainLookupByName(connection_.get(), name.c_str());
    if (machine == nullptr) {
        return libvirt_failed(fmt::format("machine {}", escaped(name)));
    }
    return Machine(machine);
}

Result<Machine> LibvirtHost::define_machine(const std::string& xml) const {
    virDomain* const machine =
        virDomainDefineXMLFlags(connection_.get(), xml.c_str(), VIR_DOMAIN_DEFINE_VALIDATE);
    if (machine == nullptr) {
        return libvirt_failed("the new machine");
    }
    return Machine(machine);
}

}  // namespace signpost
