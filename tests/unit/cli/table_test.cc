// SPDX-License-Identifier: BSD-3-Clause

#include "terminal/table.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>

#include "nbd-server/disk/unique_fd.h"

namespace signpost {
namespace {

// A console whose standard output is a pipe, and what came out of it.
class Captured {
   public:
    Captured() {
        std::array<int, 2> ends{};
        EXPECT_EQ(::pipe(ends.data()), 0);
        read_.reset(ends[0]);
        write_.reset(ends[1]);
    }

    int output() const { return write_.get(); }

    std::string text(Console& console) {
        EXPECT_TRUE(console.finish());
        write_.reset();
        std::string all;
        std::array<char, 4096> part{};
        for (ssize_t got = 0; (got = ::read(read_.get(), part.data(), part.size())) > 0;) {
            all.append(part.data(), static_cast<std::size_t>(got));
        }
        return all;
    }

   private:
    UniqueFd read_;
    UniqueFd write_;
};

const std::vector<Column> kColumns = {{"disk"}, {"size", true}, {"where"}};

std::string written(const TableStyle& style, ColorMode color = ColorMode::never) {
    Captured captured;
    Console console(-1, captured.output(), -1);
    console.set_color(color);
    Table table(kColumns, style);
    table.add({{"web01/vda"}, {"40 GiB", Tone::good}, {"alpha beta"}});
    table.add({{"db"}, {"1 MiB"}, {"beta"}});
    table.write(console);
    return captured.text(console);
}

TEST(Table, LinesUpUnderItsHeader) {
    EXPECT_EQ(written({}),
              "DISK         SIZE  WHERE\n"
              "web01/vda  40 GiB  alpha beta\n"
              "db          1 MiB  beta\n");
}

TEST(Table, ForScriptsHasTabsAndNoHeader) {
    EXPECT_EQ(written({.header = false, .tabs = true, .columns = {}}),
              "web01/vda\t40 GiB\talpha beta\ndb\t1 MiB\tbeta\n");
}

TEST(Table, ShowsTheWantedColumnsInTheirOrder) {
    EXPECT_EQ(written({.header = false, .tabs = true, .columns = {"where", "disk"}}),
              "alpha beta\tweb01/vda\nbeta\tdb\n");
}

TEST(Table, ColorsDoNotDisturbTheColumns) {
    EXPECT_EQ(written({}, ColorMode::always),
              "DISK         SIZE  WHERE\n"
              "web01/vda  \x1b[32m40 GiB\x1b[0m  alpha beta\n"
              "db          1 MiB  beta\n");
}

TEST(Table, CountsCharactersAndNotBytes) {
    Captured captured;
    Console console(-1, captured.output(), -1);
    Table table({{"a"}, {"b"}}, {.header = false, .tabs = false, .columns = {}});
    table.add({{"k\xc3\xbc"
                "che"},
               {"1"}});
    table.add({{"kitchen"}, {"2"}});
    table.write(console);
    EXPECT_EQ(captured.text(console),
              "k\xc3\xbc"
              "che    1\nkitchen  2\n");
}

TEST(Table, WritesTheHeaderOnce) {
    Captured captured;
    Console console(-1, captured.output(), -1);
    Table table({{"a"}}, {});
    table.add({{"1"}});
    table.write(console);
    table.add({{"2"}});
    table.write(console);
    EXPECT_EQ(captured.text(console), "A\n1\n2\n");
}

TEST(Table, WithoutRowsIsNothing) {
    Captured captured;
    Console console(-1, captured.output(), -1);
    Table table({{"a"}}, {});
    EXPECT_TRUE(table.write(console));
    EXPECT_EQ(captured.text(console), "");
}

TEST(Columns, UnknownOneIsAUsageErrorThatListsTheOthers) {
    const auto checked = check_columns({"disk", "colour"}, kColumns);
    ASSERT_FALSE(checked);
    EXPECT_EQ(checked.error().code, ExitCode::usage);
    EXPECT_NE(checked.error().message.find("disk,size,where"), std::string::npos);
}

}  // namespace
}  // namespace signpost
