// SPDX-License-Identifier: BSD-3-Clause
//
// SignIn is who may sign in at the console, and who has. Users are the lines NAME:HASH of a file,
// as `htpasswd -B` and `mkpasswd` make them; a password that is right gives a session, by a cookie
// that only this server and the browser know. A session ends after a day, when its user's line
// changes or goes, and with the server.
//
// Guessing is slow: one password is hashed at a time, and few a minute are looked at, of one
// address and in all.
//
// Lifetime: as long as the console. Threads: any.

#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "catalog/error.h"
#include "nbd-server/http/http_message.h"

namespace signpost {

// By name. Lines that are no NAME:HASH are passed over; so are hashes that are not worth the name
// (of 1980, unsalted, or the password itself), and SKIPPED says how many there were.
std::map<std::string, std::string> parse_users(std::string_view text, std::size_t* skipped);

class SignIn {
   public:
    using Clock = std::chrono::steady_clock;

    struct Settings {
        std::string users;  // file; empty: nobody may sign in
        std::size_t sessions = 1000;
        std::chrono::seconds lifetime{24 * 3600};
        unsigned tries_of_address = 10;                                        // a minute
        unsigned tries = 60;                                                   // a minute, of all
        std::function<Clock::time_point()> now = [] { return Clock::now(); };  // seam for tests
    };

    explicit SignIn(Settings settings) : settings_(std::move(settings)) {}

    bool possible() const { return !settings_.users.empty(); }

    // The session's secret, for a cookie. denied: not that user's password, or no such user;
    // unavailable: too many tries, or the file cannot be read.
    Result<std::string> enter(const HttpCredentials& credentials, const std::string& address);

    // Whose session that is; empty: nobody's.
    std::string user_of(std::string_view secret);

    void leave(std::string_view secret);

   private:
    struct Session {
        std::string user;
        std::string hash;  // of the password by which it was begun
        Clock::time_point end;
    };
    struct Tries {
        Clock::time_point since{};
        unsigned count = 0;
    };

    Result<std::map<std::string, std::string>> users() const;
    bool may_try(const std::string& address);
    static bool one_more(Tries& tries, Clock::time_point now, unsigned limit);

    const Settings settings_;
    std::mutex hashing_;                                    // held while a password is hashed
    std::mutex mutex_;                                      // guards all below
    std::map<std::string, Session, std::less<>> sessions_;  // by secret
    std::map<std::string, Tries> tries_of_;                 // by address
    Tries tries_;
};

}  // namespace signpost
