// SPDX-License-Identifier: BSD-3-Clause

#include "cli/foreign_exports.h"

#include <gtest/gtest.h>

namespace signpost {
namespace {

ForeignExport export_of(std::string name, std::uint64_t size = 4096) {
    ExportFacts facts;
    facts.size = size;
    return {std::move(name), facts};
}

std::vector<std::string> names(const ImportPlan& plan) {
    std::vector<std::string> names;
    for (const Image& image : plan.images) {
        names.push_back(image.name.str());
    }
    return names;
}

TEST(ImportPlan, NamesDisksAsExportsWithoutAnImagesExtension) {
    const auto plan =
        plan_import("vault", {export_of("web01/vda.qcow2"), export_of("db.tar"), export_of("x")});
    EXPECT_EQ(names(plan), (std::vector<std::string>{"db.tar", "web01/vda", "x"}));
    EXPECT_EQ(plan.images[1].export_name, "web01/vda.qcow2");
    EXPECT_TRUE(plan.refusals.empty());
}

TEST(ImportPlan, StripsOneExtensionOnly) {
    EXPECT_EQ(names(plan_import("v", {export_of("a.raw.img")})), std::vector<std::string>{"a.raw"});
}

TEST(ImportPlan, TheDefaultExportIsNamedAsTheServer) {
    const auto plan = plan_import("vault", {export_of("")});
    EXPECT_EQ(names(plan), std::vector<std::string>{"vault"});
    EXPECT_EQ(plan.images[0].export_name, "");
}

TEST(ImportPlan, SkipsNamesThatAreNoDiskNames) {
    const auto plan = plan_import(
        "v", {export_of("../etc/shadow"), export_of("/abs"), export_of("local:x"), export_of("ok"),
              export_of("a\nb"), export_of("\xff\xfe"), export_of(std::string(1025, 'n'))});
    EXPECT_EQ(names(plan), std::vector<std::string>{"ok"});
    ASSERT_EQ(plan.refusals.size(), 6U);
    for (const std::string& line : plan.refusals) {
        EXPECT_EQ(line.find('\n'), std::string::npos);
    }
}

TEST(ImportPlan, RefusesBothExportsThatGiveOneName) {
    const auto plan = plan_import("v", {export_of("a.raw"), export_of("a.qcow2"), export_of("b")});
    EXPECT_EQ(names(plan), std::vector<std::string>{"b"});
    ASSERT_EQ(plan.refusals.size(), 1U);
    EXPECT_NE(plan.refusals[0].find("a.raw"), std::string::npos);
    EXPECT_NE(plan.refusals[0].find("a.qcow2"), std::string::npos);
}

TEST(ImportPlan, AnExportThatIsListedTwiceCountsOnce) {
    EXPECT_EQ(names(plan_import("v", {export_of("a"), export_of("a")})),
              std::vector<std::string>{"a"});
}

TEST(ImportPlan, WritableWithoutFlushIsReadOnly) {
    auto writable = export_of("a");
    writable.facts.read_only = false;
    EXPECT_TRUE(plan_import("v", {writable}).images[0].read_only);
    writable.facts.flush = true;
    EXPECT_FALSE(plan_import("v", {writable}).images[0].read_only);
}

TEST(ImportPlan, SkipsEmptyExportsAndImpossibleBlocks) {
    auto odd = export_of("odd");
    odd.facts.minimum_block = 3;
    auto huge = export_of("huge");
    huge.facts.minimum_block = 128 * 1024;
    auto large = export_of("large");
    large.facts.minimum_block = 64 * 1024;
    const auto plan = plan_import("v", {export_of("empty", 0), odd, huge, large});
    EXPECT_EQ(names(plan), std::vector<std::string>{"large"});
    EXPECT_EQ(plan.refusals.size(), 3U);
    EXPECT_EQ(plan.images[0].minimum_block, 64U * 1024);
}

}  // namespace
}  // namespace signpost
