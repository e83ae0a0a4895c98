// SPDX-License-Identifier: BSD-3-Clause
//
// Another program that writes to the catalog's file by hand.

#pragma once

#include <sqlite3.h>

#include <stdexcept>
#include <string>

namespace signpost::test {

class RawDatabase {
   public:
    explicit RawDatabase(const std::string& path) {
        if (sqlite3_open(path.c_str(), &db_) != SQLITE_OK)
            throw std::runtime_error("cannot open " + path);
        sqlite3_busy_timeout(db_, 5000);
    }
    RawDatabase(const RawDatabase&) = delete;
    RawDatabase& operator=(const RawDatabase&) = delete;
    ~RawDatabase() { sqlite3_close(db_); }

    // Empty when it worked.
    std::string try_run(const std::string& sql) {
        if (sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK)
            return {};
        return sqlite3_errmsg(db_);
    }

    void run(const std::string& sql) {
        if (const std::string error = try_run(sql); !error.empty())
            throw std::runtime_error(error + ": " + sql);
    }

    // The last column of each row, in lines.
    std::string ask(const std::string& sql) {
        std::string answer;
        const auto add = [](void* out, int columns, char** values, char**) {
            *static_cast<std::string*>(out) +=
                std::string(values[columns - 1] ? values[columns - 1] : "") + "\n";
            return 0;
        };
        if (sqlite3_exec(db_, sql.c_str(), add, &answer, nullptr) != SQLITE_OK)
            throw std::runtime_error(std::string(sqlite3_errmsg(db_)) + ": " + sql);
        return answer;
    }

   private:
    sqlite3* db_ = nullptr;
};

}  // namespace signpost::test
