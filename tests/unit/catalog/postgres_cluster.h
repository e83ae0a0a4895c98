// SPDX-License-Identifier: BSD-3-Clause
//
// A PostgreSQL server of the tests' own: in a temporary directory, on a Unix socket there and on no
// network unless asked, without waiting for the disk. It runs as an unprivileged user, because
// PostgreSQL refuses root, and ends when the process that started it does.
//
// A program that is linked with it skips all of its tests, visibly, where PostgreSQL is missing;
// with SIGNPOST_NO_SKIP=1 they fail.
//
// Threads: the one that starts it must live as long as it.

#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "catalog/postgres_catalog.h"
#include "tests/unit/catalog/temp_directory.h"

struct pg_conn;

namespace signpost::test {

// The directory of PostgreSQL's programs; empty when there are none.
std::string postgres_programs();

class PostgresCluster {
   public:
    using Options = std::vector<std::string>;  // NAME=VALUE

    // A new and empty one. Throws when it cannot be started.
    PostgresCluster();
    // A standby of PRIMARY, from a copy made now.
    static std::unique_ptr<PostgresCluster> standby_of(const PostgresCluster& primary);
    PostgresCluster(const PostgresCluster&) = delete;
    PostgresCluster& operator=(const PostgresCluster&) = delete;
    ~PostgresCluster();

    void start(const Options& more = {});
    void stop();    // at once, as a crash does
    void freeze();  // SIGSTOP, to all of its processes
    void go_on();
    void promote();  // a standby to a primary; waits for it

    // A new, empty database; gives its name.
    std::string make_database(const std::string& options = "ENCODING 'UTF8'");
    std::string uri(const std::string& database, const std::string& more = "") const;

    const std::string& directory() const { return directory_.path(); }
    // Written into the data directory; the server reads pg_hba.conf again.
    void write_file(const std::string& name, const std::string& content, int mode = 0600);
    void reload();

   private:
    enum class Empty { yes };
    explicit PostgresCluster(Empty) {}
    void set_up_directory();
    void run(const std::vector<std::string>& command) const;
    std::vector<pid_t> processes() const;
    void await_ready() const;
    std::string data() const { return directory_.file("data"); }

    TempDirectory directory_;
    pid_t pid_ = -1;
    int port_ = 5432;
    int databases_ = 0;
};

// The one that most tests share; started when first wanted.
PostgresCluster& shared_cluster();

// For tests that are not about time: a sanitizer on a busy machine takes its own.
inline constexpr PostgresWaits kPatience{.look_up = std::chrono::seconds(30),
                                         .change = std::chrono::seconds(60),
                                         .search = std::chrono::seconds(60),
                                         .patient = true};

// Another program that speaks to the database, as its superuser.
class RawPostgres {
   public:
    explicit RawPostgres(const std::string& uri);
    RawPostgres(const RawPostgres&) = delete;
    RawPostgres& operator=(const RawPostgres&) = delete;
    ~RawPostgres();

    std::string try_run(const std::string& sql);  // empty when it worked
    void run(const std::string& sql);
    // The last column of each row, in lines.
    std::string ask(const std::string& sql);

   private:
    pg_conn* conn_;
};

}  // namespace signpost::test
