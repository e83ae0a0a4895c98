// SPDX-License-Identifier: BSD-3-Clause
//
// Our header readers beside QEMU's: for images that qemu-img made, both must give the same size.

#include <gtest/gtest.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "nbd-server/disk/repository.h"
#include "tests/unit/disk/temp_tree.h"
#include "tests/unit/requires.h"

namespace signpost::test {
namespace {

struct Variant {
    std::string extension;
    std::string format;   // as qemu-img calls it
    std::string options;  // for -o; may be empty
    std::string size;
};

std::ostream& operator<<(std::ostream& out, const Variant& variant) {
    return out << variant.format << " " << variant.options << " " << variant.size;
}

class QemuImage : public testing::TestWithParam<Variant> {
   protected:
    // Runs a shell command in the directory and gives what it says; the test fails if it does.
    std::string run(const std::string& command) {
        const std::string line = "cd '" + tree.root() + "' && " + command + " 2>&1";
        std::FILE* pipe = ::popen(line.c_str(), "r");
        std::string output;
        char buffer[4096];
        for (std::size_t got; (got = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;) {
            output.append(buffer, got);
        }
        EXPECT_EQ(::pclose(pipe), 0) << line << "\n" << output;
        return output;
    }

    std::uint64_t size_by_qemu(const std::string& file, const std::string& format) {
        const auto info = run("qemu-img info --output=json -f " + format + " " + file);
        return nlohmann::json::parse(info).at("virtual-size").get<std::uint64_t>();
    }

    Result<OpenImage> open(const std::string& disk) {
        std::vector<Repository> all;
        all.push_back(Repository::open(tree.root(), {}).value());
        return RepositorySet(std::move(all)).open_image(DiskName::parse(disk).value());
    }

    TempTree tree;
};

TEST_P(QemuImage, HasTheSizeThatQemuSees) {
    SIGNPOST_REQUIRES("qemu-img");
    const Variant& variant = GetParam();
    const std::string options = variant.options.empty() ? "" : " -o " + variant.options;
    const std::string file = "a." + variant.extension;
    run("qemu-img create -q -f " + variant.format + options + " " + file + " " + variant.size);
    const auto image = open("a");
    ASSERT_TRUE(image.has_value()) << image.error().message;
    EXPECT_EQ(image->size, size_by_qemu(file, variant.format));
}

INSTANTIATE_TEST_SUITE_P(
    AllFormats, QemuImage,
    testing::Values(
        Variant{"raw", "raw", "", "5M"}, Variant{"img", "raw", "", "1G"},
        Variant{"qcow2", "qcow2", "", "1G"}, Variant{"qcow2", "qcow2", "", "0"},
        Variant{"qcow2", "qcow2", "", "1000"}, Variant{"qcow2", "qcow2", "", "16T"},
        Variant{"qcow2", "qcow2", "compat=0.10", "3G"},
        Variant{"qcow2", "qcow2", "cluster_size=512", "7M"},
        Variant{"qcow2", "qcow2", "cluster_size=2M,extended_l2=on", "40G"},
        Variant{"qcow2", "qcow2", "compression_type=zstd,lazy_refcounts=on", "1G"},
        Variant{"qcow2", "qcow2", "preallocation=metadata", "64M"},
        Variant{"vmdk", "vmdk", "", "1G"}, Variant{"vmdk", "vmdk", "", "1000K"},
        Variant{"vmdk", "vmdk", "subformat=streamOptimized", "64M"},
        Variant{"vmdk", "vmdk", "compat6=on", "3G"}, Variant{"vhdx", "vhdx", "", "1G"},
        Variant{"vhdx", "vhdx", "", "3000K"}, Variant{"vhdx", "vhdx", "block_size=8M", "10G"},
        Variant{"vhdx", "vhdx", "subformat=fixed", "16M"}, Variant{"vdi", "vdi", "", "1G"},
        Variant{"vdi", "vdi", "", "1000"}, Variant{"vdi", "vdi", "static=on", "5M"},
        Variant{"vpc", "vpc", "", "1G"}, Variant{"vpc", "vpc", "", "5000K"},
        Variant{"vpc", "vpc", "subformat=fixed", "16M"},
        Variant{"vpc", "vpc", "force_size=on", "5000K"}, Variant{"vpc", "vpc", "", "200G"}));

using QemuFiles = QemuImage;

TEST_F(QemuFiles, StreamConvertedFromDataHasItsSize) {
    SIGNPOST_REQUIRES("qemu-img");
    tree.write("source", std::string(3 << 20, 'x'));
    run("qemu-img convert -f raw -O vmdk -o subformat=streamOptimized source a.vmdk");
    EXPECT_EQ(open("a").value().size, 3u << 20);
}

TEST_F(QemuFiles, BackingChainIsTheOneThatQemuNames) {
    SIGNPOST_REQUIRES("qemu-img");
    run("mkdir sub && qemu-img create -q -f raw sub/base.raw 1M && "
        "qemu-img create -q -f qcow2 -b base.raw -F raw sub/mid.qcow2 && "
        "qemu-img create -q -f qcow2 -b sub/mid.qcow2 -F qcow2 top.qcow2 2M");
    const auto image = open("top");
    ASSERT_TRUE(image.has_value()) << image.error().message;
    ASSERT_EQ(image->chain.size(), 3u);
    EXPECT_EQ(image->chain[1].path, "sub/mid.qcow2");
    EXPECT_EQ(image->chain[2].path, "sub/base.raw");
    EXPECT_EQ(image->size, 2u << 20);
}

TEST_F(QemuFiles, WhatNamesOtherFilesIsRefused) {
    SIGNPOST_REQUIRES("qemu-img");
    run("qemu-img create -q -f qcow2 -o data_file=data.bin a.qcow2 1M && "
        "qemu-img create -q -f vmdk -o subformat=monolithicFlat b.vmdk 1M && "
        "qemu-img create -q -f vmdk -o subformat=twoGbMaxExtentSparse c.vmdk 1M && "
        "qemu-img create -q -f vmdk d.vmdk 1M && "
        "qemu-img create -q -f vmdk -b d.vmdk -F vmdk e.vmdk");
    for (const char* disk : {"a", "b", "b-flat", "c", "c-s001", "e"}) {
        const auto image = open(disk);
        ASSERT_FALSE(image.has_value()) << disk;
        EXPECT_EQ(image.error().code, Errc::invalid) << image.error().message;
    }
    EXPECT_TRUE(open("d").has_value());
}

TEST_F(QemuFiles, EncryptedImageIsRefused) {
    SIGNPOST_REQUIRES("qemu-img");
    run("qemu-img create -q -f qcow2 --object secret,id=s,data=abc123 "
        "-o encrypt.format=aes,encrypt.key-secret=s a.qcow2 1M");
    const auto image = open("a");
    ASSERT_FALSE(image.has_value());
    EXPECT_NE(image.error().message.find("encrypted"), std::string::npos);
}

}  // namespace
}  // namespace signpost::test
