// SPDX-License-Identifier: BSD-3-Clause
//
// A PostgreSQL server's socket with somebody in between, who can cut a connection at its COMMIT:
// before the server has seen it, or after it has answered. Or hold look-ups of disks back for good.
//
// Lifetime: the directory of the server outlives it. Threads: one of its own for each connection.

#pragma once

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "tests/unit/catalog/temp_directory.h"

namespace signpost::test {

class PostgresWire {
   public:
    enum class Cut { none, before_commit, after_commit };

    // DIRECTORY: where the server's socket is.
    explicit PostgresWire(std::string directory);
    PostgresWire(const PostgresWire&) = delete;
    PostgresWire& operator=(const PostgresWire&) = delete;
    ~PostgresWire();

    const std::string& directory() const { return directory_.path(); }

    // The next COMMIT is cut, once.
    void cut(Cut where) { cut_ = where; }
    bool has_cut() const { return cut_ == Cut::none; }

    void hold_look_ups(bool hold) { holds_ = hold; }
    unsigned connections() const { return connections_; }  // ever

   private:
    void accept_all();
    void carry(int client);

    const std::string server_;
    TempDirectory directory_;
    std::atomic<Cut> cut_{Cut::none};
    std::atomic<bool> holds_{false};
    std::atomic<unsigned> connections_{0};
    int listening_ = -1;
    int stop_ = -1;
    std::vector<std::thread> carriers_;  // the accepting thread's, until that has ended
    std::thread accepting_;
};

}  // namespace signpost::test
