// SPDX-License-Identifier: BSD-3-Clause
#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/unit/catalog/sample_records.h"
#include "tests/unit/catalog/temp_directory.h"

namespace signpost {
namespace {

using namespace test;

// Sets an environment variable, or takes it away, until the end of a test.
class Environment {
   public:
    Environment(const char* name, const char* value) : name_(name) {
        const char* old = getenv(name);
        had_ = old != nullptr;
        old_ = had_ ? old : "";
        set(value);
    }
    Environment(const Environment&) = delete;
    Environment& operator=(const Environment&) = delete;
    ~Environment() { set(had_ ? old_.c_str() : nullptr); }

   private:
    void set(const char* value) {
        if (value != nullptr)
            setenv(name_, value, 1);
        else
            unsetenv(name_);
    }

    const char* name_;
    bool had_;
    std::string old_;
};

TEST(OpenCatalog, TakesUrlAndBarePath) {
    const TempDirectory directory;
    for (const auto& url : {"sqlite:" + directory.file("a.db"), directory.file("b.db"),
                            directory.file("odd %20?x=y#z é.db")}) {
        const auto catalog = open_catalog(url, OpenMode::create);
        ASSERT_TRUE(catalog) << catalog.error().message;
        EXPECT_TRUE((*catalog)->put_server(server("beta")));
    }
    EXPECT_TRUE(std::filesystem::exists(directory.file("odd %20?x=y#z é.db")));
}

TEST(OpenCatalog, RelativePathKeepsItsMeaningAfterChangeOfDirectory) {
    const TempDirectory directory;
    const auto before = std::filesystem::current_path();
    std::filesystem::current_path(directory.path());
    const auto catalog = open_catalog("sqlite:catalog.db", OpenMode::create);
    std::filesystem::current_path("/");
    ASSERT_TRUE(catalog);
    EXPECT_TRUE((*catalog)->put_server(server("beta")));
    EXPECT_EQ((*catalog)->description(), "sqlite:" + directory.file("catalog.db"));
    std::filesystem::current_path(before);
}

TEST(OpenCatalog, RefusesWhatItDoesNotKnow) {
    for (const auto* url : {"", "sqlite:", "postgresql:host/db", "postgres:db", "http://host",
                            "mysql:x", ":memory:"}) {
        const auto catalog = open_catalog(url, OpenMode::create);
        ASSERT_FALSE(catalog) << url;
        EXPECT_EQ(catalog.error().code, Errc::invalid) << url;
        EXPECT_NE(catalog.error().message.find("sqlite:PATH"), std::string::npos) << url;
    }
}

TEST(OpenCatalog, MakesNoDirectoryForAPathThatWasGiven) {
    const TempDirectory directory;
    const auto catalog = open_catalog(directory.file("missing/catalog.db"), OpenMode::create);
    ASSERT_FALSE(catalog);
    EXPECT_EQ(catalog.error().code, Errc::not_found);
    EXPECT_FALSE(std::filesystem::exists(directory.file("missing")));
}

TEST(OpenCatalog, MakesTheDefaultsDirectory) {
    const TempDirectory directory;
    const std::string state = directory.file("state/signpost");
    const Environment environment("STATE_DIRECTORY", state.c_str());
    EXPECT_FALSE(open_catalog(default_catalog_url(), OpenMode::existing));
    EXPECT_FALSE(std::filesystem::exists(state));
    EXPECT_TRUE(open_catalog(default_catalog_url(), OpenMode::create));
    EXPECT_TRUE(std::filesystem::exists(state + "/catalog.db"));
}

TEST(CatalogFiles, AreThoseThatTheStoreNeeds) {
    EXPECT_EQ(catalog_files("sqlite:/srv/x/catalog.db").writable,
              std::vector<std::string>{"/srv/x"});
    const Environment home("HOME", "/home/u");
    const auto files = catalog_files("postgresql://h/d?sslrootcert=/srv/ca.pem&passfile=/srv/pw");
    EXPECT_TRUE(files.writable.empty());
    for (const auto* path : {"/srv/ca.pem", "/srv/pw", "/home/u/.pgpass"})
        EXPECT_EQ(std::count(files.readable.begin(), files.readable.end(), path), 1) << path;
}

TEST(DefaultCatalogUrl, PrefersTheStateDirectory) {
    const Environment environment("STATE_DIRECTORY", "/run/one:/run/two");
    EXPECT_EQ(default_catalog_url(), "sqlite:/run/one/catalog.db");
}

TEST(DefaultCatalogUrl, IsInVarLibForRoot) {
    if (geteuid() != 0)
        GTEST_SKIP() << "needs root";
    const Environment environment("STATE_DIRECTORY", nullptr);
    const Environment xdg("XDG_STATE_HOME", "/home/somebody");
    EXPECT_EQ(default_catalog_url(), "sqlite:/var/lib/signpost/catalog.db");
}

TEST(DefaultCatalogUrl, IsInTheUsersStateForOthers) {
    const uid_t user = geteuid();
    ASSERT_EQ(seteuid(user == 0 ? 65534 : user), 0);
    {
        const Environment environment("STATE_DIRECTORY", nullptr);
        const Environment xdg("XDG_STATE_HOME", "/home/somebody/state");
        EXPECT_EQ(default_catalog_url(), "sqlite:/home/somebody/state/signpost/catalog.db");
        const Environment relative("XDG_STATE_HOME", "relative");
        const Environment home("HOME", "/home/somebody");
        EXPECT_EQ(default_catalog_url(), "sqlite:/home/somebody/.local/state/signpost/catalog.db");
    }
    ASSERT_EQ(seteuid(user), 0);
}

}  // namespace
}  // namespace signpost
