// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/disk/format_helper.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <thread>

#include "nbd-server/disk/helper_sandbox.h"
#include "nbd-server/disk/image_fingerprint.h"
#include "nbd-server/disk/relay_engine.h"
#include "tests/unit/disk/kept_log.h"
#include "tests/unit/disk/programs.h"
#include "tests/unit/requires.h"

namespace signpost::test {
namespace {

constexpr std::size_t kSize = 8 * 1024 * 1024;

struct Layer {
    std::string file;
    ImageFormat format;
};

class FormatHelper : public testing::Test {
   protected:
    void SetUp() override {
        SIGNPOST_REQUIRES("qemu-nbd");
        SIGNPOST_REQUIRES("qemu-img");
        SIGNPOST_REQUIRES("qemu-io");
        restart({});
    }

    void restart(FormatHelperSettings settings) {
        helpers_.reset();
        engine_.reset();
        auto engine = make_relay_engine({}, log_);
        ASSERT_TRUE(engine) << engine.error().message;
        engine_ = std::move(*engine);
        helpers_ = make_format_helpers(std::move(settings), *engine_, log_);
    }

    std::string path(const std::string& name) const { return directory_.path(name); }

    // Half of it text that differs everywhere, with holes.
    void make_raw(const std::string& name) {
        std::string content(kSize, '\0');
        for (std::size_t i = 0; i < kSize; ++i) {
            if (i / 65536 % 4 != 3) {
                content[i] = static_cast<char>(i * 31 + i / 251);
            }
        }
        write_file(path(name), content);
    }

    void convert(const Words& options, const std::string& to) {
        if (!std::filesystem::exists(path("source.raw"))) {
            make_raw("source.raw");
        }
        Words words{"qemu-img", "convert", "-f", "raw"};
        words.insert(words.end(), options.begin(), options.end());
        words.insert(words.end(), {path("source.raw"), path(to)});
        run_program(words);
    }

    void qemu_io(const std::string& file, const std::string& command) {
        run_program({"qemu-io", "-f", "qcow2", "-c", command, path(file)});
    }

    // What a repository would give; it would refuse some of these.
    OpenImage image(const std::vector<Layer>& layers, bool writable = false,
                    std::uint64_t size = kSize) {
        OpenImage result{.name = *DiskName::parse("web01/" + layers.front().file),
                         .chain = {},
                         .size = size,
                         .writable = writable,
                         .fingerprint = {}};
        std::vector<int> fds;
        for (const Layer& layer : layers) {
            const int mode = writable && fds.empty() ? O_RDWR : O_RDONLY;
            UniqueFd fd(::open(path(layer.file).c_str(), mode | O_CLOEXEC));
            EXPECT_TRUE(fd) << layer.file;
            fds.push_back(fd.get());
            result.chain.push_back({std::move(fd), layer.file, layer.format});
        }
        result.fingerprint = *image_fingerprint(fds, writable);
        return result;
    }

    OpenImage qcow2(const std::string& file, bool writable = false) {
        return image({{file, ImageFormat::qcow2}}, writable);
    }

    std::shared_ptr<Disk> open(OpenImage opened) {
        auto disk = helpers_->open(std::move(opened), {});
        EXPECT_TRUE(disk) << disk.error().message;
        return disk ? *disk : nullptr;
    }

    static int transfer(Disk& disk, Op op, std::uint64_t offset, std::string& data) {
        Request request;
        request.op = op;
        request.offset = offset;
        request.length = data.size();
        request.buffer = reinterpret_cast<std::byte*>(data.data());
        return submit_and_wait(disk, request);
    }

    static int read(Disk& disk, std::uint64_t offset = 0, std::size_t length = 4096) {
        std::string data(length, '?');
        return transfer(disk, Op::read, offset, data);
    }

    static std::string content(Disk& disk) {
        std::string all;
        while (all.size() < disk.traits().size) {
            std::string part(std::min<std::size_t>(1024 * 1024, disk.traits().size - all.size()),
                             '?');
            const int error = transfer(disk, Op::read, all.size(), part);
            EXPECT_EQ(error, 0);
            if (error != 0) {
                break;
            }
            all += part;
        }
        return all;
    }

    // As qemu-img sees the image, following its header.
    std::string converted(const std::string& file, const std::string& format) {
        run_program(
            {"qemu-img", "convert", "-f", format, "-O", "raw", path(file), path("out.raw")});
        return read_whole_file(path("out.raw"));
    }

    static std::vector<pid_t> helper_pids() { return children_called("qemu-nbd", ::getpid()); }

    TempDirectory directory_;
    KeptLog log_;
    std::unique_ptr<RelayEngine> engine_;
    std::unique_ptr<FormatHelpers> helpers_;
};

// --- Never a wrong byte.

struct Conversion {
    const char* name;
    ImageFormat format;
    Words options;
};

class FormatConversion : public FormatHelper, public testing::WithParamInterface<Conversion> {};

TEST_P(FormatConversion, ReadsWhatQemuImgReads) {
    const Conversion& given = GetParam();
    const std::string format(to_string(given.format));
    Words options{"-O", format};
    options.insert(options.end(), given.options.begin(), given.options.end());
    convert(options, "image");
    const std::string expected = converted("image", format);
    ASSERT_GE(expected.size(), kSize);
    const auto disk = open(image({{"image", given.format}}, false, expected.size()));
    ASSERT_TRUE(disk);
    EXPECT_TRUE(content(*disk) == expected);
}

INSTANTIATE_TEST_SUITE_P(
    All, FormatConversion,
    testing::Values(
        Conversion{"Qcow2", ImageFormat::qcow2, {}},
        Conversion{"Qcow2Version2", ImageFormat::qcow2, {"-o", "compat=0.10"}},
        Conversion{"Qcow2Compressed", ImageFormat::qcow2, {"-c"}},
        Conversion{"Qcow2Zstd", ImageFormat::qcow2, {"-c", "-o", "compression_type=zstd"}},
        Conversion{"Vmdk", ImageFormat::vmdk, {}},
        Conversion{"VmdkStream", ImageFormat::vmdk, {"-o", "subformat=streamOptimized"}},
        Conversion{"Vhdx", ImageFormat::vhdx, {}}, Conversion{"Vdi", ImageFormat::vdi, {}},
        Conversion{"Vpc", ImageFormat::vpc, {}},
        Conversion{"VpcFixed", ImageFormat::vpc, {"-o", "subformat=fixed"}}),
    [](const auto& given) { return std::string(given.param.name); });

TEST_F(FormatHelper, ReadsAChainOfThree) {
    make_raw("base.raw");
    run_program({"qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", path("base.raw"),
                 path("middle.qcow2")});
    qemu_io("middle.qcow2", "write -P 7 1M 1M");
    run_program({"qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b",
                 path("middle.qcow2"), path("top.qcow2")});
    qemu_io("top.qcow2", "write -P 9 1536k 1M");
    const auto disk = open(image({{"top.qcow2", ImageFormat::qcow2},
                                  {"middle.qcow2", ImageFormat::qcow2},
                                  {"base.raw", ImageFormat::raw}}));
    ASSERT_TRUE(disk);
    EXPECT_TRUE(content(*disk) == converted("top.qcow2", "qcow2"));
}

TEST_F(FormatHelper, ShowsHoles) {
    run_program({"qemu-img", "create", "-q", "-f", "qcow2", path("a.qcow2"), "8M"});
    qemu_io("a.qcow2", "write -P 7 1M 1M");
    const auto disk = open(qcow2("a.qcow2"));
    ASSERT_TRUE(disk);
    std::vector<Extent> extents;
    Request request;
    request.op = Op::extents;
    request.length = kSize;
    request.extents = &extents;
    ASSERT_EQ(submit_and_wait(*disk, request), 0);
    ASSERT_GE(extents.size(), 2U);
    EXPECT_EQ(extents[0], (Extent{1024 * 1024, 3}));
    EXPECT_EQ(extents[1], (Extent{1024 * 1024, 0}));
}

TEST_F(FormatHelper, NeverFollowsABackingNameInAHeader) {
    for (const char* format : {"qcow2", "vmdk"}) {
        const std::string file = fmt::format("evil.{}", format);
        write_file(path("secret"), std::string(kSize, 'S'));
        if (std::string(format) == "vmdk") {
            run_program({"qemu-img", "create", "-q", "-f", "vmdk", path("secret.vmdk"), "8M"});
            run_program({"qemu-io", "-f", "vmdk", "-c", "write -P 83 0 8M", path("secret.vmdk")});
        }
        const bool vmdk = std::string(format) == "vmdk";
        run_program({"qemu-img", "create", "-q", "-f", format, "-b",
                     path(vmdk ? "secret.vmdk" : "secret"), "-F", vmdk ? "vmdk" : "raw",
                     path(file)});
        const auto disk = open(image({{file, *parse_image_format(format)}}));
        ASSERT_TRUE(disk);
        EXPECT_TRUE(content(*disk) == std::string(kSize, '\0')) << format;
    }
}

// The repository refuses such a descriptor; this is for one that was swapped in after it looked.
TEST_F(FormatHelper, CannotReachAnExtentFileThatItWasNotGiven) {
    if (!make_ruleset({}, false, "/bin/sh")) {
        GTEST_SKIP() << "this kernel has no Landlock";
    }
    write_file(path("secret"), std::string(kSize, 'S'));
    std::string descriptor = fmt::format(
        "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n"
        "createType=\"monolithicFlat\"\nRW {} FLAT \"{}\" 0\nddb.adapterType = \"ide\"\n",
        kSize / 512, path("secret"));
    descriptor.resize(4096, '\0');
    write_file(path("evil.vmdk"), descriptor);
    const auto disk = helpers_->open(image({{"evil.vmdk", ImageFormat::vmdk}}), {});
    ASSERT_FALSE(disk);
    EXPECT_NE(disk.error().message.find("Permission denied"), std::string::npos)
        << disk.error().message;
}

TEST_F(FormatHelper, GivesErrorsOnceTheImageHasChanged) {
    convert({"-O", "qcow2"}, "a.qcow2");
    const auto disk = open(qcow2("a.qcow2"));
    ASSERT_TRUE(disk);
    ASSERT_EQ(read(*disk), 0);
    write_file(path("a.qcow2"), read_whole_file(path("a.qcow2")) + "x");
    EXPECT_EQ(read(*disk), EIO);
    EXPECT_EQ(read(*disk), EIO);
    EXPECT_TRUE(log_.has("a.qcow2 has "));
}

TEST_F(FormatHelper, GivesErrorsOnceABackingFileHasChangedAlsoWhenWritable) {
    make_raw("base.raw");
    run_program({"qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", path("base.raw"),
                 path("top.qcow2")});
    const auto disk =
        open(image({{"top.qcow2", ImageFormat::qcow2}, {"base.raw", ImageFormat::raw}}, true));
    ASSERT_TRUE(disk);
    ASSERT_EQ(read(*disk), 0);
    std::string data(65536, 'w');
    ASSERT_EQ(transfer(*disk, Op::write, 0, data), 0);
    ASSERT_EQ(read(*disk), 0);
    make_raw("base.raw");
    EXPECT_EQ(read(*disk), EIO);
}

TEST_F(FormatHelper, ServesAChangedImageToWhoeverOpensItAnew) {
    convert({"-O", "qcow2"}, "a.qcow2");
    const auto old = open(qcow2("a.qcow2"));
    convert({"-O", "qcow2", "-o", "cluster_size=4096"}, "b.qcow2");
    write_file(path("a.qcow2"), read_whole_file(path("b.qcow2")));
    const auto disk = open(qcow2("a.qcow2"));
    ASSERT_TRUE(disk);
    EXPECT_TRUE(content(*disk) == read_whole_file(path("source.raw")));
    EXPECT_EQ(read(*old), EIO);
}

// --- The helper's life.

TEST_F(FormatHelper, ThatIsKilledIsStartedAgainUnnoticed) {
    convert({"-O", "qcow2"}, "a.qcow2");
    const auto disk = open(qcow2("a.qcow2"));
    ASSERT_TRUE(disk);
    const std::string before = content(*disk);
    const auto first = helper_pids();
    ASSERT_EQ(first.size(), 1U);
    ::kill(first[0], SIGKILL);
    ASSERT_TRUE(wait_until_gone(first[0]));
    EXPECT_TRUE(content(*disk) == before);
    const auto second = helper_pids();
    ASSERT_EQ(second.size(), 1U);
    EXPECT_NE(first[0], second[0]);
    EXPECT_TRUE(log_.has("ended by itself (signal 9"));
}

TEST_F(FormatHelper, DyingAgainAndAgainUnderLoadCostsNoError) {
    convert({"-O", "qcow2", "-c"}, "a.qcow2");
    const auto disk = open(qcow2("a.qcow2"));
    ASSERT_TRUE(disk);
    const std::string expected = read_whole_file(path("source.raw"));
    std::atomic<bool> stop{false};
    std::atomic<int> wrong{0};
    std::thread reader([&] {
        while (!stop) {
            wrong += content(*disk) == expected ? 0 : 1;
        }
    });
    for (int round = 0; round < 3; ++round) {
        std::vector<pid_t> pids;
        while (pids.empty()) {
            pids = helper_pids();
        }
        ::kill(pids[0], SIGKILL);
        EXPECT_TRUE(wait_until_gone(pids[0]));
    }
    EXPECT_TRUE(content(*disk) == expected);
    stop = true;
    reader.join();
    EXPECT_EQ(wrong, 0);
}

TEST_F(FormatHelper, IsSharedByTheSessionsOfAnImage) {
    convert({"-O", "qcow2"}, "a.qcow2");
    const auto one = open(qcow2("a.qcow2"));
    const auto two = open(qcow2("a.qcow2"));
    EXPECT_EQ(one, two);
    EXPECT_EQ(helper_pids().size(), 1U);
}

TEST_F(FormatHelper, StaysWarmForTheNextSession) {
    convert({"-O", "qcow2"}, "a.qcow2");
    open(qcow2("a.qcow2")).reset();
    const auto before = helper_pids();
    ASSERT_EQ(before.size(), 1U);
    const auto disk = open(qcow2("a.qcow2"));
    ASSERT_TRUE(disk);
    EXPECT_EQ(read(*disk), 0);
    EXPECT_EQ(helper_pids(), before);
}

TEST_F(FormatHelper, EndsWhenNobodyCameWhileItWasWarm) {
    restart({.keep_warm = std::chrono::seconds(0)});
    convert({"-O", "qcow2"}, "a.qcow2");
    auto disk = open(qcow2("a.qcow2"));
    const auto pids = helper_pids();
    ASSERT_EQ(pids.size(), 1U);
    disk.reset();
    EXPECT_TRUE(wait_until_gone(pids[0]));
    disk = open(qcow2("a.qcow2"));
    ASSERT_TRUE(disk);
    EXPECT_EQ(read(*disk), 0);
}

TEST_F(FormatHelper, MoreThanTheCapAreRefusedWhileAllAreInUse) {
    restart({.maximum = 1});
    convert({"-O", "qcow2"}, "a.qcow2");
    convert({"-O", "qcow2"}, "b.qcow2");
    const auto disk = open(qcow2("a.qcow2"));
    const auto refused = helpers_->open(qcow2("b.qcow2"), {});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::unavailable);
    EXPECT_NE(refused.error().message.find("b.qcow2"), std::string::npos);
    EXPECT_EQ(read(*disk), 0);
}

TEST_F(FormatHelper, TheLongestIdleMakesRoom) {
    restart({.maximum = 2});
    for (const char* file : {"a.qcow2", "b.qcow2", "c.qcow2"}) {
        convert({"-O", "qcow2"}, file);
    }
    open(qcow2("a.qcow2")).reset();
    const pid_t oldest = helper_pids().at(0);
    open(qcow2("b.qcow2")).reset();
    const auto disk = open(qcow2("c.qcow2"));
    ASSERT_TRUE(disk);
    EXPECT_TRUE(wait_until_gone(oldest));
    EXPECT_EQ(helper_pids().size(), 2U);
    EXPECT_EQ(read(*disk), 0);
}

TEST_F(FormatHelper, AllEndWithTheirOwner) {
    convert({"-O", "qcow2"}, "a.qcow2");
    open(qcow2("a.qcow2")).reset();
    ASSERT_EQ(helper_pids().size(), 1U);
    helpers_.reset();
    EXPECT_TRUE(helper_pids().empty());
}

// --- Refusals.

TEST_F(FormatHelper, NamesThePackageWhenTheProgramIsMissing) {
    restart({.program = "no-such-qemu-nbd"});
    convert({"-O", "qcow2"}, "a.qcow2");
    const auto disk = helpers_->open(qcow2("a.qcow2"), {});
    ASSERT_FALSE(disk);
    EXPECT_EQ(disk.error().code, Errc::not_found);
    EXPECT_NE(disk.error().message.find("qemu-utils"), std::string::npos);
}

TEST_F(FormatHelper, RepeatsWhatQemuSaysOfADamagedImage) {
    write_file(path("a.qcow2"), std::string(kSize, 'x'));
    const auto disk = helpers_->open(qcow2("a.qcow2"), {});
    ASSERT_FALSE(disk);
    EXPECT_EQ(disk.error().code, Errc::unavailable);
    EXPECT_NE(disk.error().message.find("not in qcow2 format"), std::string::npos)
        << disk.error().message;
}

TEST_F(FormatHelper, DoesNotServeAnImageThatSomebodyWrites) {
    convert({"-O", "qcow2"}, "a.qcow2");
    const auto writer = open(qcow2("a.qcow2", true));
    ASSERT_TRUE(writer);
    const auto reader = helpers_->open(qcow2("a.qcow2"), {});
    ASSERT_FALSE(reader);
    EXPECT_NE(reader.error().message.find("lock"), std::string::npos) << reader.error().message;
}

TEST_F(FormatHelper, FileThatChangedSinceItWasOpenedIsRefused) {
    convert({"-O", "qcow2"}, "a.qcow2");
    OpenImage opened = qcow2("a.qcow2");
    ASSERT_EQ(::truncate(path("a.qcow2").c_str(), 4096), 0);
    const auto disk = helpers_->open(std::move(opened), {});
    ASSERT_FALSE(disk);
    EXPECT_EQ(disk.error().code, Errc::conflict);
}

// --- Writing.

TEST_F(FormatHelper, FlushedWriteSurvivesTheHelpersDeath) {
    run_program({"qemu-img", "create", "-q", "-f", "qcow2", path("a.qcow2"), "8M"});
    auto disk = open(qcow2("a.qcow2", true));
    ASSERT_TRUE(disk);
    EXPECT_FALSE(disk->traits().read_only);
    std::string data(200'000, 'w');
    ASSERT_EQ(transfer(*disk, Op::write, 12345, data), 0);
    std::string none;
    Request flush;
    flush.op = Op::flush;
    ASSERT_EQ(submit_and_wait(*disk, flush), 0);
    const pid_t pid = helper_pids().at(0);
    ::kill(pid, SIGKILL);
    ASSERT_TRUE(wait_until_gone(pid));
    EXPECT_EQ(converted("a.qcow2", "qcow2").substr(12345, data.size()), data);

    std::string back(data.size(), '?');
    ASSERT_EQ(transfer(*disk, Op::read, 12345, back), 0);
    EXPECT_EQ(back, data);
}

TEST_F(FormatHelper, WritableImageIsCleanAndUnlockedAfterItsLastSession) {
    run_program({"qemu-img", "create", "-q", "-f", "qcow2", path("a.qcow2"), "8M"});
    auto disk = open(qcow2("a.qcow2", true));
    ASSERT_TRUE(disk);
    std::string data(4096, 'w');
    ASSERT_EQ(transfer(*disk, Op::write, 0, data), 0);
    const pid_t pid = helper_pids().at(0);
    disk.reset();
    ASSERT_TRUE(wait_until_gone(pid));
    EXPECT_TRUE(run_program({"qemu-img", "check", "-q", "-f", "qcow2", path("a.qcow2")}));
    qemu_io("a.qcow2", "write -P 8 4096 4096");
}

TEST_F(FormatHelper, WritableImageCanBeReopenedAtOnce) {
    run_program({"qemu-img", "create", "-q", "-f", "qcow2", path("a.qcow2"), "8M"});
    for (int round = 0; round < 8; ++round) {
        const auto disk = open(qcow2("a.qcow2", true));
        ASSERT_TRUE(disk);
        std::string data(4096, static_cast<char>('a' + round));
        ASSERT_EQ(transfer(*disk, Op::write, 4096U * static_cast<unsigned>(round), data), 0);
    }
}

TEST_F(FormatHelper, WarmReaderGivesWayToAWriterOfTheSameDisk) {
    convert({"-O", "qcow2"}, "a.qcow2");
    open(qcow2("a.qcow2")).reset();
    const auto disk = open(qcow2("a.qcow2", true));
    ASSERT_TRUE(disk);
    std::string data(4096, 'w');
    EXPECT_EQ(transfer(*disk, Op::write, 0, data), 0);
}

}  // namespace
}  // namespace signpost::test
