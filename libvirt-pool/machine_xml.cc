// SPDX-License-Identifier: BSD-3-Clause

#include "libvirt-pool/machine_xml.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <pugixml.hpp>
#include <sstream>

#include "catalog/disk_name.h"

namespace signpost {

namespace {

namespace fs = std::filesystem;

constexpr int kMostInAChain = 200;  // as libvirt has it
constexpr int kSparePorts = 8;
constexpr std::string_view kNetwork = "network";
constexpr std::string_view kOtherSpelling = "/./";  // of a slash
constexpr int kReconnectDelay = 60;                 // seconds that QEMU waits for a server

void add_source(const pugi::xml_node& holder, const std::string& target, bool backing,
                std::vector<DiskSource>& sources) {
    const pugi::xml_node source = holder.child("source");
    DiskSource found{.target = target,
                     .file = source.attribute("file").as_string(),
                     .pool = source.attribute("pool").as_string(),
                     .volume = source.attribute("volume").as_string(),
                     .backing = backing,
                     .network = holder.attribute("type").as_string() == kNetwork};
    if (!found.file.empty() || !found.volume.empty() || (found.network && backing)) {
        sources.push_back(std::move(found));
    }
}

Result<pugi::xml_node> machine_in(pugi::xml_document& document, std::string_view xml) {
    const auto parsed = document.load_buffer(xml.data(), xml.size());
    if (!parsed) {
        return fail(Errc::invalid, fmt::format("machine: XML that does not parse, at byte {}: {}",
                                               parsed.offset, parsed.description()));
    }
    const pugi::xml_node domain = document.child("domain");
    if (!domain) {
        return fail(Errc::invalid, "machine: the XML is not of a <domain>");
    }
    return domain;
}

bool is_disk(const pugi::xml_node& drive) {
    return std::string_view(drive.attribute("device").as_string("disk")) == "disk";
}

std::string text_of(const pugi::xml_document& document) {
    std::ostringstream text;
    document.save(text, "  ", pugi::format_default | pugi::format_no_declaration);
    return text.str();
}

std::string_view prefix_of(std::string_view bus) {
    return bus == "virtio" ? "vd" : bus == "ide" ? "hd" : bus == "fdc" ? "fd" : "sd";
}

// Names as Linux gives them: vda to vdz, vdaa on.
std::string target_name(std::string_view prefix, std::size_t index) {
    std::string letters;
    for (std::size_t rest = index + 1; rest > 0; rest = (rest - 1) / 26) {
        letters.insert(letters.begin(), static_cast<char>('a' + (rest - 1) % 26));
    }
    return std::string(prefix) + letters;
}

// All of that name: what is left of two would count.
void remove_all(pugi::xml_node node, const char* name) {
    while (node.remove_child(name)) {
    }
}

pugi::xml_node disk_of(const pugi::xml_node& domain, const std::string& target) {
    for (const pugi::xml_node& disk : domain.child("devices").children("disk")) {
        if (disk.child("target").attribute("dev").as_string() == target) {
            return disk;
        }
    }
    return {};
}

// libvirt numbers the images of a machine that runs; elsewhere the numbers mean nothing.
void forget_numbers(pugi::xml_node node) {
    node.remove_attribute("index");
    for (const pugi::xml_node& child : node.children()) {
        forget_numbers(child);
    }
}

std::string_view file_of(const pugi::xml_node& disk) {
    return disk.child("source").attribute("file").as_string();
}

// A disk as it would be at the machine's next start, and as it is now.
struct DiskTwice {
    pugi::xml_document document = {};
    pugi::xml_document running_document = {};
    pugi::xml_node disk = {};
    pugi::xml_node running = {};

    static Result<std::unique_ptr<DiskTwice>> find(std::string_view next, const std::string& target,
                                                   std::string_view now) {
        auto both = std::make_unique<DiskTwice>();
        const auto machine = machine_in(both->document, next);
        const auto running = machine_in(both->running_document, now);
        if (!machine || !running) {
            return std::unexpected(machine ? running.error() : machine.error());
        }
        both->disk = disk_of(*machine, target);
        both->running = disk_of(*running, target);
        if (!both->disk || !both->running) {
            return fail(Errc::invalid, fmt::format("machine: no disk {}", escaped(target)));
        }
        return both;
    }

    void set_file(const std::string& image) {
        disk.attribute("type") = "file";
        remove_all(disk, "backingStore");
        remove_all(disk, "source");
        disk.prepend_child("source").append_attribute("file") = image.c_str();
    }
};

// Says what is behind DISK, and how QEMU shall treat it; its target and address stay.
void set_source(pugi::xml_node disk, const DiskDevice& device) {
    for (const char* old : {"driver", "source", "backingStore", "mirror", "auth", "encryption",
                            "readonly", "shareable", "transient"}) {
        remove_all(disk, old);
    }
    disk.remove_attribute("type");
    disk.prepend_attribute("type") = device.uri ? "network" : "file";
    pugi::xml_node source = disk.prepend_child("source");
    if (device.uri) {
        source.append_attribute("protocol") = "nbd";
        source.append_attribute("name") = device.uri->export_name.c_str();
        if (device.uri->tls) {
            source.append_attribute("tls") = "yes";
        }
        pugi::xml_node host = source.append_child("host");
        if (device.uri->is_unix()) {
            host.append_attribute("transport") = "unix";
            host.append_attribute("socket") = device.uri->socket_path.c_str();
        } else {
            host.append_attribute("name") = device.uri->host.c_str();
            host.append_attribute("port") = device.uri->port;
        }
        if (device.reconnects) {
            source.append_child("reconnect").append_attribute("delay") = kReconnectDelay;
        }
    } else {
        source.append_attribute("file") = device.file.c_str();
    }
    pugi::xml_node driver = disk.prepend_child("driver");
    driver.append_attribute("name") = "qemu";
    driver.append_attribute("type") = device.uri ? "raw" : "qcow2";
    driver.append_attribute("cache") = "none";
    driver.append_attribute("error_policy") = "stop";
    driver.append_attribute("rerror_policy") = "stop";
    driver.append_attribute("discard") = "unmap";
    if (device.read_only) {
        disk.append_child("readonly");
    }
}

void append_disk(pugi::xml_node devices, const DiskDevice& device) {
    pugi::xml_node disk = devices.append_child("disk");
    disk.append_attribute("device") = "disk";
    pugi::xml_node target = disk.append_child("target");
    target.append_attribute("dev") = device.target.c_str();
    target.append_attribute("bus") = device.bus.c_str();
    set_source(disk, device);
}

}  // namespace

Result<std::vector<DiskSource>> disk_sources(std::string_view machine_xml) {
    pugi::xml_document document;
    const auto domain = machine_in(document, machine_xml);
    if (!domain) {
        return std::unexpected(domain.error());
    }
    std::vector<DiskSource> sources;
    for (const pugi::xml_node& disk : domain->child("devices").children("disk")) {
        const std::string target = disk.child("target").attribute("dev").as_string();
        add_source(disk, target, false, sources);
        add_source(disk.child("mirror"), target, false, sources);
        pugi::xml_node behind = disk.child("backingStore");
        for (int i = 0; behind && i < kMostInAChain; ++i) {
            add_source(behind, target, true, sources);
            behind = behind.child("backingStore");
        }
    }
    return sources;
}

Result<std::vector<std::string>> disk_targets(std::string_view machine_xml, DriveKind kind) {
    pugi::xml_document document;
    const auto domain = machine_in(document, machine_xml);
    if (!domain) {
        return std::unexpected(domain.error());
    }
    std::vector<std::string> targets;
    for (const pugi::xml_node& disk : domain->child("devices").children("disk")) {
        if (kind == DriveKind::any || is_disk(disk)) {
            targets.emplace_back(disk.child("target").attribute("dev").as_string());
        }
    }
    return targets;
}

Result<std::string> with_chain(std::string_view next, const std::string& target,
                               const fs::path& image, std::string_view now) {
    const auto both = DiskTwice::find(next, target, now);
    if (!both) {
        return std::unexpected(both.error());
    }
    const pugi::xml_node behind = (*both)->running.child("backingStore");
    if (!behind.child("source")) {
        return fail(Errc::invalid, fmt::format("machine: nothing is behind {}", escaped(target)));
    }
    const bool plain = file_of((*both)->running) != image.native();
    (*both)->set_file(plain ? image.native()
                            : fmt::format("{}{}{}", image.parent_path().native(), kOtherSpelling,
                                          image.filename().native()));
    forget_numbers((*both)->disk.append_copy(behind));
    return text_of((*both)->document);
}

Result<std::string> without_chain(std::string_view next, const std::string& target,
                                  const fs::path& image, std::string_view now) {
    const auto both = DiskTwice::find(next, target, now);
    if (!both) {
        return std::unexpected(both.error());
    }
    (*both)->set_file(image);
    if (const pugi::xml_node source = (*both)->running.child("source"); source.attribute("pool")) {
        (*both)->disk.attribute("type") = "volume";
        (*both)->disk.remove_child("source");
        forget_numbers((*both)->disk.prepend_copy(source));
    }
    return text_of((*both)->document);
}

Chain chain_of(std::string_view next, const std::string& target, std::string_view now) {
    const auto both = DiskTwice::find(next, target, now);
    if (!both) {
        return Chain::none;
    }
    const std::string_view file = file_of((*both)->disk);
    const bool explicit_chain = !(*both)->disk.child("backingStore").child("source").empty();
    return explicit_chain && file != file_of((*both)->running) ? Chain::kept
           : explicit_chain || file.contains(kOtherSpelling)   ? Chain::spelled_out
                                                               : Chain::none;
}

std::string free_target(const std::vector<std::string>& taken, std::string_view bus) {
    for (std::size_t i = 0;; ++i) {
        std::string name = target_name(prefix_of(bus), i);
        if (std::ranges::find(taken, name) == taken.end()) {
            return name;
        }
    }
}

std::string disk_device_xml(const DiskDevice& disk) {
    pugi::xml_document document;
    append_disk(document, disk);
    return text_of(document);
}

std::string machine_xml(const NewMachine& machine) {
    pugi::xml_document document;
    pugi::xml_node domain = document.append_child("domain");
    domain.append_attribute("type") = machine.type.c_str();
    domain.append_child("name").text() = machine.name.c_str();
    pugi::xml_node memory = domain.append_child("memory");
    memory.append_attribute("unit") = "MiB";
    memory.text() = machine.memory_mib;
    domain.append_child("vcpu").text() = machine.cpus;
    pugi::xml_node os = domain.append_child("os");
    if (machine.efi) {
        os.append_attribute("firmware") = "efi";
        // A boot loader that nobody has signed shall start, too.
        pugi::xml_node firmware = os.append_child("firmware");
        for (const char* name : {"enrolled-keys", "secure-boot"}) {
            pugi::xml_node feature = firmware.append_child("feature");
            feature.append_attribute("enabled") = "no";
            feature.append_attribute("name") = name;
        }
    }
    pugi::xml_node type = os.append_child("type");
    type.append_attribute("machine") = "q35";
    type.text() = "hvm";
    os.append_child("boot").append_attribute("dev") = "hd";
    pugi::xml_node features = domain.append_child("features");
    features.append_child("acpi");
    features.append_child("apic");
    if (machine.type == "kvm") {
        domain.append_child("cpu").append_attribute("mode") = "host-model";
    }
    domain.append_child("on_crash").text() = "destroy";
    pugi::xml_node devices = domain.append_child("devices");
    pugi::xml_node root = devices.append_child("controller");
    root.append_attribute("type") = "pci";
    root.append_attribute("index") = 0;  // else libvirt would make the first port the root
    root.append_attribute("model") = "pcie-root";
    // Room for devices that are attached while it runs.
    for (int i = 0; i < kSparePorts; ++i) {
        pugi::xml_node port = devices.append_child("controller");
        port.append_attribute("type") = "pci";
        port.append_attribute("model") = "pcie-root-port";
    }
    for (const DiskDevice& disk : machine.disks) {
        append_disk(devices, disk);
    }
    if (!machine.network.empty()) {
        pugi::xml_node interface = devices.append_child("interface");
        interface.append_attribute("type") = "network";
        interface.append_child("source").append_attribute("network") = machine.network.c_str();
        interface.append_child("model").append_attribute("type") = "e1000e";
    }
    devices.append_child("serial").append_attribute("type") = "pty";
    devices.append_child("console").append_attribute("type") = "pty";
    pugi::xml_node screen = devices.append_child("graphics");
    screen.append_attribute("type") = "vnc";
    screen.append_attribute("autoport") = "yes";
    devices.append_child("video").append_child("model").append_attribute("type") = "vga";
    return text_of(document);
}

Result<std::string> adapt_machine(std::string_view xml, const std::string& name,
                                  const std::vector<DiskDevice>& disks, bool isolated) {
    pugi::xml_document document;
    const auto domain = machine_in(document, xml);
    if (!domain) {
        return std::unexpected(domain.error());
    }
    pugi::xml_node machine = *domain;
    machine.remove_attribute("id");
    remove_all(machine, "uuid");
    remove_all(machine.child("os"), "nvram");  // a file of the other machine's; it gets its own
    remove_all(machine, "name");
    machine.prepend_child("name").text() = name.c_str();
    pugi::xml_node devices = machine.child("devices");
    std::size_t next = 0;
    for (pugi::xml_node disk : devices.children("disk")) {
        if (!is_disk(disk)) {
            // The medium in a drive, which is not there now.
            for (const char* medium : {"source", "backingStore", "mirror"}) {
                remove_all(disk, medium);
            }
        } else if (next < disks.size()) {
            set_source(disk, disks[next++]);
        } else {
            ++next;
        }
    }
    if (next != disks.size()) {
        return fail(Errc::invalid, fmt::format("machine: the XML has {} disks, and {} were named: "
                                               "name one for each, in the XML's order",
                                               next, disks.size()));
    }
    if (isolated) {
        remove_all(devices, "interface");
        remove_all(devices, "hostdev");
    }
    return text_of(document);
}

}  // namespace signpost
