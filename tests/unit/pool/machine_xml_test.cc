// SPDX-License-Identifier: BSD-3-Clause
#include "libvirt-pool/machine_xml.h"

#include <gtest/gtest.h>

namespace signpost::test {

TEST(MachineXml, DisksAreFoundByFileAndByVolume) {
    const auto sources = disk_sources(R"(<domain type='qemu'><devices>
        <disk type='file' device='disk'><source file='/pool/a.qcow2'/><target dev='vda'/></disk>
        <disk type='volume'><source pool='signpost' volume='b.qcow2'/><target dev='vdb'/></disk>
        <disk type='network'><source protocol='nbd' name='x'/><target dev='vdc'/></disk>
        <disk type='file' device='cdrom'><target dev='sda'/></disk>
        </devices></domain>)");
    ASSERT_TRUE(sources);
    EXPECT_EQ(*sources,
              (std::vector<DiskSource>{
                  {.target = "vda", .file = "/pool/a.qcow2", .pool = "", .volume = ""},
                  {.target = "vdb", .file = "", .pool = "signpost", .volume = "b.qcow2"}}));
}

TEST(MachineXml, WhatLiesBehindADiskIsFoundToo) {
    const auto sources = disk_sources(R"(<domain><devices><disk type='file'>
        <source file='/snap.qcow2'/><target dev='vda'/>
        <mirror type='file'><source file='/copy.qcow2'/></mirror>
        <backingStore type='file'><source file='/pool/a.qcow2'/>
          <backingStore type='network'><source protocol='nbd' name='a'/><backingStore/>
        </backingStore></backingStore></disk></devices></domain>)");
    ASSERT_TRUE(sources);
    ASSERT_EQ(sources->size(), 4U);
    EXPECT_EQ((*sources)[1].file, "/copy.qcow2");
    EXPECT_EQ((*sources)[2].file, "/pool/a.qcow2");
    EXPECT_TRUE((*sources)[2].backing);
    EXPECT_TRUE((*sources)[3].network);
}

TEST(MachineXml, AnythingElseIsRefused) {
    for (const char* text : {"", "domain", "<domain", "<pool><name>a</name></pool>", "\xff\xfe"}) {
        const auto refused = disk_sources(text);
        ASSERT_FALSE(refused) << text;
        EXPECT_EQ(refused.error().code, Errc::invalid);
    }
}

TEST(MachineXml, EntitiesAreNotFollowed) {
    const auto sources = disk_sources(
        "<!DOCTYPE domain [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>"
        "<domain><devices><disk><source file='&x;'/><target dev='vda'/></disk></devices></domain>");
    ASSERT_TRUE(sources);
    EXPECT_EQ((*sources)[0].file, "&x;");
}

TEST(MachineXml, FreeTargetsGoOnBehindTheLast) {
    EXPECT_EQ(free_target({}, "virtio"), "vda");
    EXPECT_EQ(free_target({"vda", "vdb", "sda"}, "virtio"), "vdc");
    EXPECT_EQ(free_target({"vda"}, "sata"), "sda");
    std::vector<std::string> all;
    for (char letter = 'a'; letter <= 'z'; ++letter) {
        all.push_back(std::string("vd") + letter);
    }
    EXPECT_EQ(free_target(all, "virtio"), "vdaa");
}

TEST(MachineXml, ADiskStopsItsMachineRatherThanFail) {
    const std::string xml =
        disk_device_xml({.target = "vdb", .bus = "virtio", .file = "/pool/a&b.qcow2"});
    EXPECT_NE(xml.find("error_policy=\"stop\""), std::string::npos) << xml;
    EXPECT_NE(xml.find("rerror_policy=\"stop\""), std::string::npos);
    EXPECT_NE(xml.find("/pool/a&amp;b.qcow2"), std::string::npos);
    EXPECT_EQ(xml.find("readonly"), std::string::npos);
}

TEST(MachineXml, AnExportItselfIsANetworkDisk) {
    DiskDevice disk{.target = "sda",
                    .bus = "sata",
                    .uri = *NbdUri::parse("nbd://[::1]:10810/w/v"),
                    .read_only = true,
                    .reconnects = true};
    const std::string xml = disk_device_xml(disk);
    for (const char* part : {"type=\"network\"", "protocol=\"nbd\"", "name=\"w/v\"", "name=\"::1\"",
                             "port=\"10810\"", "<readonly", "<reconnect delay"}) {
        EXPECT_NE(xml.find(part), std::string::npos) << part << " in " << xml;
    }
    disk.uri = *NbdUri::parse("nbd+unix:///v?socket=/run/s.sock");
    disk.reconnects = false;
    const std::string by_socket = disk_device_xml(disk);
    EXPECT_NE(by_socket.find("socket=\"/run/s.sock\""), std::string::npos) << by_socket;
    EXPECT_EQ(by_socket.find("reconnect"), std::string::npos);
}

TEST(MachineXml, ANewMachineHasItsDisksAndNoNetworkUnlessNamed) {
    NewMachine machine{.name = "lost <1>",
                       .disks = {{.target = "sda", .bus = "sata", .file = "/a"}}};
    const std::string xml = machine_xml(machine);
    EXPECT_NE(xml.find("lost &lt;1&gt;"), std::string::npos);
    EXPECT_EQ(xml.find("<interface"), std::string::npos);
    EXPECT_EQ(disk_sources(xml)->front().file, "/a");
    machine.network = "default";
    EXPECT_NE(machine_xml(machine).find("<interface"), std::string::npos);
}

constexpr const char* kNow = R"(<domain type='kvm' id='7'><name>web</name><devices>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2'/>
      <source file='/pool/web~vda.qcow2' index='1'/>
      <backingStore type='network' index='2'><format type='raw'/>
        <source protocol='nbd' name='web/vda'><host name='127.0.0.1' port='10809'/></source>
        <backingStore/></backingStore>
      <target dev='vda' bus='virtio'/></disk>
    <disk type='volume' device='disk'><source pool='p' volume='a.qcow2' index='3'/>
      <backingStore type='network' index='4'><format type='raw'/>
        <source protocol='nbd' name='a'><host name='127.0.0.1' port='10809'/></source>
        <backingStore/></backingStore>
      <target dev='vdb' bus='virtio'/></disk>
    </devices></domain>)";
constexpr const char* kNext = R"(<domain type='kvm'><name>web</name><devices>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2' discard='unmap'/>
      <source file='/pool/web~vda.qcow2'/><target dev='vda' bus='virtio'/></disk>
    <disk type='volume' device='disk'><source pool='p' volume='a.qcow2'/>
      <target dev='vdb' bus='virtio'/></disk>
    </devices></domain>)";

TEST(MachineXml, TheNextStartKeepsTheChainUnderAnotherSpelling) {
    EXPECT_EQ(chain_of(kNext, "vda", kNow), Chain::none);
    const auto kept = with_chain(kNext, "vda", "/pool/web~vda.qcow2", kNow);
    ASSERT_TRUE(kept) << kept.error().message;
    EXPECT_NE(kept->find("file=\"/pool/./web~vda.qcow2\""), std::string::npos) << *kept;
    EXPECT_NE(kept->find("name=\"web/vda\""), std::string::npos) << *kept;
    EXPECT_NE(kept->find("discard=\"unmap\""), std::string::npos) << *kept;
    EXPECT_EQ(kept->find("index"), std::string::npos) << *kept;
    EXPECT_EQ(chain_of(*kept, "vda", kNow), Chain::kept);
    // A machine that was started so has that spelling, and needs another one.
    EXPECT_EQ(chain_of(*kept, "vda", *kept), Chain::spelled_out);
    const auto again = with_chain(*kept, "vda", "/pool/web~vda.qcow2", *kept);
    ASSERT_TRUE(again) << again.error().message;
    EXPECT_EQ(again->find("/./"), std::string::npos) << *again;
    EXPECT_EQ(chain_of(*again, "vda", *kept), Chain::kept);
    const auto settled = without_chain(*again, "vda", "/pool/web~vda.qcow2", *kept);
    ASSERT_TRUE(settled) << settled.error().message;
    EXPECT_EQ(chain_of(*settled, "vda", *kept), Chain::none) << *settled;
    EXPECT_EQ(settled->find("nbd"), std::string::npos) << *settled;
}

TEST(MachineXml, AVolumeIsAVolumeAgainAfterwards) {
    const auto kept = with_chain(kNext, "vdb", "/pool/a.qcow2", kNow);
    ASSERT_TRUE(kept) << kept.error().message;
    EXPECT_EQ(chain_of(*kept, "vdb", kNow), Chain::kept);
    const auto settled = without_chain(*kept, "vdb", "/pool/a.qcow2", kNow);
    ASSERT_TRUE(settled) << settled.error().message;
    EXPECT_EQ(*disk_sources(*settled), *disk_sources(kNext));
}

TEST(MachineXml, AChainOfNothingIsNotKept) {
    EXPECT_EQ(with_chain(kNext, "vda", "/pool/x", kNext).error().code, Errc::invalid);
    EXPECT_EQ(with_chain(kNext, "vdz", "/pool/x", kNow).error().code, Errc::invalid);
    EXPECT_EQ(without_chain("<x/>", "vda", "/pool/x", kNow).error().code, Errc::invalid);
}

constexpr const char* kLost = R"(<domain type='kvm' id='7'><name>web</name>
    <uuid>11111111-2222-3333-4444-555555555555</uuid>
    <os firmware='efi'><nvram>/var/lib/libvirt/qemu/nvram/web_VARS.fd</nvram></os><devices>
    <disk type='block' device='disk'><driver name='qemu' type='raw' cache='writeback'/>
      <source dev='/dev/gone'/><target dev='vda' bus='virtio'/><serial>S1</serial></disk>
    <disk type='file' device='cdrom'><source file='/gone.iso'/><target dev='sda'/></disk>
    <disk type='file' device='disk'><source file='/gone'/><target dev='vdb'/></disk>
    <interface type='bridge'><mac address='52:54:00:00:00:01'/></interface>
    </devices></domain>)";

TEST(MachineXml, ALostMachineComesBackWithOtherDisks) {
    const auto xml = adapt_machine(kLost, "web-test", {{.file = "/x"}, {.file = "/y"}}, false);
    ASSERT_TRUE(xml) << xml.error().message;
    const auto sources = disk_sources(*xml);
    ASSERT_EQ(sources->size(), 2U) << *xml;
    EXPECT_EQ((*sources)[0], (DiskSource{"vda", "/x", "", "", false}));
    EXPECT_EQ((*sources)[1], (DiskSource{"vdb", "/y", "", "", false}));
    EXPECT_NE(xml->find("<name>web-test</name>"), std::string::npos);
    EXPECT_EQ(xml->find("uuid"), std::string::npos);
    EXPECT_EQ(xml->find("gone"), std::string::npos);
    EXPECT_EQ(xml->find("nvram"), std::string::npos);
    EXPECT_NE(xml->find("<serial>S1</serial>"), std::string::npos);
    EXPECT_NE(xml->find("52:54:00"), std::string::npos);
}

TEST(MachineXml, ADriveIsNoDisk) {
    EXPECT_EQ(*disk_targets(kLost), (std::vector<std::string>{"vda", "sda", "vdb"}));
    EXPECT_EQ(*disk_targets(kLost, DriveKind::disk), (std::vector<std::string>{"vda", "vdb"}));
}

// A second of what is there once only would count when the first has been removed.
TEST(MachineXml, NothingOfTheLostMachineIsLeftOver) {
    const auto xml = adapt_machine(R"(<domain><name>web</name><uuid>1</uuid><uuid>2</uuid><devices>
        <disk><source file='/gone'/><source file='/gone2'/><backingStore/><backingStore>
          <source file='/gone3'/></backingStore><target dev='vda'/></disk>
        <disk device='cdrom'><source file='/gone.iso'/><mirror><source file='/gone4'/></mirror>
          <backingStore><source file='/gone5'/></backingStore><target dev='sda'/></disk>
        </devices></domain>)",
                                   "web", {{.file = "/x"}}, false);
    ASSERT_TRUE(xml);
    EXPECT_EQ(xml->find("gone"), std::string::npos) << *xml;
    EXPECT_EQ(xml->find("uuid"), std::string::npos);
    EXPECT_EQ(disk_sources(*xml)->size(), 1U);
}

TEST(MachineXml, AnIsolatedMachineHasNoNetwork) {
    const auto xml = adapt_machine(kLost, "web", {{.file = "/x"}, {.file = "/y"}}, true);
    ASSERT_TRUE(xml);
    EXPECT_EQ(xml->find("interface"), std::string::npos);
}

TEST(MachineXml, EachDiskOfTheLostMachineHasToBeNamed) {
    for (std::size_t count : {0U, 1U, 3U}) {
        const auto refused =
            adapt_machine(kLost, "web", std::vector<DiskDevice>(count, {.file = "/x"}), false);
        ASSERT_FALSE(refused);
        EXPECT_NE(refused.error().message.find("the XML has 2 disks"), std::string::npos);
    }
}

}  // namespace signpost::test
