// SPDX-License-Identifier: BSD-3-Clause

#include "cli/guest_machine.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <string_view>

namespace signpost {

namespace {

constexpr const char* kFirmware[] = {"/usr/share/OVMF/OVMF_CODE_4M.fd",
                                     "/usr/share/OVMF/OVMF_CODE.fd"};

std::string xml_text(std::string_view text) {
    std::string escaped;
    for (const char c : text) {
        switch (c) {
            case '&':
                escaped += "&amp;";
                break;
            case '<':
                escaped += "&lt;";
                break;
            case '\'':
                escaped += "&apos;";
                break;
            default:
                escaped += c;
        }
    }
    return escaped;
}

bool is_plain(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

}  // namespace

std::string efi_firmware() {
    for (const char* path : kFirmware) {
        if (::access(path, R_OK) == 0) {
            return path;
        }
    }
    return "";
}

std::vector<std::string> qemu_words(const GuestMachine& machine) {
    std::vector<std::string> words{"qemu-system-x86_64",
                                   "-name",
                                   machine.name,
                                   "-nodefaults",
                                   "-no-user-config",
                                   "-machine",
                                   fmt::format("q35,accel={}", machine.accel),
                                   "-cpu",
                                   machine.accel == "kvm" ? "host" : "max",
                                   "-m",
                                   std::to_string(machine.memory),
                                   "-smp",
                                   std::to_string(machine.cpus),
                                   "-vga",
                                   "std",
                                   "-nic",
                                   "none"};
    if (machine.efi) {
        words.insert(words.end(), {"-drive", fmt::format("if=pflash,format=raw,readonly=on,file={}",
                                                         efi_firmware())});
    }
    return words;
}

std::string qemu_disk_device(const GuestMachine& machine, const std::string& drive) {
    const std::string_view kind = machine.bus == "virtio" ? "virtio-blk-pci" : "ide-hd";
    return fmt::format("{},drive={},bootindex=1", kind, drive);
}

std::string domain_xml(const GuestMachine& machine, const std::string& file) {
    const bool kvm = machine.accel == "kvm";
    const bool virtio = machine.bus == "virtio";
    return fmt::format(
        "<domain type='{}'>\n"
        "  <name>{}</name>\n"
        "  <memory unit='MiB'>{}</memory>\n"
        "  <vcpu>{}</vcpu>\n"
        "  <os{}><type arch='x86_64' machine='q35'>hvm</type></os>\n"
        "  <features><acpi/><apic/></features>\n"
        "  <cpu mode='{}'/>\n"
        "  <on_reboot>restart</on_reboot>\n"
        "  <devices>\n"
        "    <disk type='file' device='disk'>\n"
        "      <driver name='qemu' type='qcow2' error_policy='stop' rerror_policy='stop'/>\n"
        "      <source file='{}'/>\n"
        "      <target dev='{}' bus='{}'/>\n"
        "    </disk>\n"
        "    <graphics type='vnc' autoport='yes' listen='127.0.0.1'/>\n"
        "    <video><model type='vga'/></video>\n"
        "    <serial type='pty'/>\n"
        "    <channel type='unix'>\n"
        "      <target type='virtio' name='org.qemu.guest_agent.0'/>\n"
        "    </channel>\n"
        "  </devices>\n"
        "</domain>\n",
        kvm ? "kvm" : "qemu", xml_text(machine.name), machine.memory, machine.cpus,
        machine.efi ? " firmware='efi'" : "", kvm ? "host-passthrough" : "maximum", xml_text(file),
        virtio ? "vda" : "sda", virtio ? "virtio" : "sata");
}

std::string machine_name(const std::string& disk) {
    std::string name;
    for (const char c : disk) {
        name += is_plain(c) || c == '.' || c == '_' ? c : '-';
    }
    return name.substr(0, 64);
}

std::string shell_line(const std::vector<std::string>& words) {
    std::string line;
    for (const std::string& word : words) {
        line += line.empty() ? "" : " ";
        const bool plain = !word.empty() && std::ranges::all_of(word, [](char c) {
            return is_plain(c) || std::string_view("-_./:=,@+").find(c) != std::string_view::npos;
        });
        if (plain) {
            line += word;
            continue;
        }
        line += '\'';
        for (const char c : word) {
            line += c == '\'' ? std::string("'\\''") : std::string(1, c);
        }
        line += '\'';
    }
    return line;
}

}  // namespace signpost
