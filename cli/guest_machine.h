// SPDX-License-Identifier: BSD-3-Clause
//
// GuestMachine is a virtual machine for one disk, as QEMU's command line and libvirt's XML have it.
//
// Values and pure functions, but for the search for firmware. Threads: any.

#pragma once

#include <string>
#include <vector>

namespace signpost {

struct GuestMachine {
    std::string name;
    unsigned memory = 1024;  // MiB
    unsigned cpus = 1;
    bool efi = false;
    std::string bus = "virtio";  // of the disk: virtio, sata or ide
    std::string accel = "kvm";   // kvm or tcg
};

// QEMU's words for the machine without its disk, screen and ports; nothing that QEMU would add by
// itself, no network.
std::vector<std::string> qemu_words(const GuestMachine& machine);

// "virtio-blk-pci,…" for the drive DRIVE, as the disk to boot from.
std::string qemu_disk_device(const GuestMachine& machine, const std::string& drive);

// The firmware of Debian's package ovmf; empty: it is not installed.
std::string efi_firmware();

// A transient domain with the qcow2 file FILE as its disk.
std::string domain_xml(const GuestMachine& machine, const std::string& file);

// "web01/vda@2026" as a machine may be called.
std::string machine_name(const std::string& disk);

// WORDS as a line for a shell.
std::string shell_line(const std::vector<std::string>& words);

}  // namespace signpost
