// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/http/sign_in.h"

#include <crypt.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include "catalog/disk_name.h"
#include "nbd-server/disk/unique_fd.h"

namespace signpost {

namespace {

constexpr std::size_t kMaxFile = 1024 * 1024;
constexpr std::size_t kMaxName = 128;
constexpr std::size_t kMaxPassword = 512;
constexpr std::size_t kMaxHash = 384;
constexpr std::size_t kMaxAddresses = 10'000;
constexpr std::size_t kSecretBytes = 32;
constexpr std::chrono::minutes kMinute{1};

// What takes as long as a real one: of a user that there is not.
constexpr const char* kNobody = "$2b$12$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234";

// bcrypt, yescrypt, and SHA-crypt.
bool is_worth_the_name(std::string_view hash) {
    constexpr std::array<std::string_view, 6> kKinds{"$2b$", "$2y$", "$y$", "$6$", "$5$", "$gy$"};
    return hash.size() <= kMaxHash &&
           std::ranges::any_of(kKinds,
                               [&](std::string_view kind) {
                                   return hash.starts_with(kind) && hash.size() > kind.size() + 10;
                               }) &&
           std::ranges::all_of(hash, [](char c) { return c > ' ' && c < 0x7f && c != ':'; });
}

bool is_name(std::string_view name) {
    return !name.empty() && name.size() <= kMaxName && !name.starts_with('#') &&
           escaped(name, 4 * kMaxName) == name;
}

bool is_right(const std::string& password, const std::string& hash) {
    const auto room = std::make_unique<crypt_data>();
    const char* const made = ::crypt_r(password.c_str(), hash.c_str(), room.get());
    if (made == nullptr || made[0] == '*' || std::strlen(made) != hash.size()) {
        return false;
    }
    unsigned char differs = 0;
    for (std::size_t i = 0; i < hash.size(); ++i) {
        differs = static_cast<unsigned char>(differs | (made[i] ^ hash[i]));
    }
    ::explicit_bzero(room.get(), sizeof *room);
    return differs == 0;
}

std::string new_secret() {
    std::array<unsigned char, kSecretBytes> bytes{};
    if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
        return {};
    }
    std::string text;
    for (const unsigned char byte : bytes) {
        text += fmt::format("{:02x}", byte);
    }
    return text;
}

}  // namespace

std::map<std::string, std::string> parse_users(std::string_view text, std::size_t* skipped) {
    std::map<std::string, std::string> users;
    std::size_t bad = 0;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        std::string_view line = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        if (line.ends_with('\r')) {
            line.remove_suffix(1);
        }
        if (line.empty() || line.starts_with('#')) {
            continue;
        }
        const std::size_t colon = std::min(line.find(':'), line.size());
        const std::string_view name = line.substr(0, colon);
        const std::string_view hash = line.substr(std::min(colon + 1, line.size()));
        if (is_name(name) && is_worth_the_name(hash)) {
            users.insert_or_assign(std::string(name), std::string(hash));
        } else {
            ++bad;
        }
    }
    if (skipped != nullptr) {
        *skipped = bad;
    }
    return users;
}

Result<std::map<std::string, std::string>> SignIn::users() const {
    const UniqueFd file(::open(settings_.users.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    struct stat status {};
    if (!file || ::fstat(file.get(), &status) != 0) {
        return fail(Errc::unavailable,
                    fmt::format("{}: {}", settings_.users, std::strerror(errno)));
    }
    if (!S_ISREG(status.st_mode) || status.st_size > static_cast<off_t>(kMaxFile)) {
        return fail(Errc::unavailable,
                    fmt::format("{}: not a file of at most 1 MiB", settings_.users));
    }
    std::string text(static_cast<std::size_t>(status.st_size), '\0');
    const ssize_t got = ::pread(file.get(), text.data(), text.size(), 0);
    text.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
    return parse_users(text, nullptr);
}

bool SignIn::one_more(Tries& tries, Clock::time_point now, unsigned limit) {
    if (now - tries.since >= kMinute) {
        tries = {.since = now, .count = 0};
    }
    return ++tries.count <= limit;
}

bool SignIn::may_try(const std::string& address) {
    const std::lock_guard lock(mutex_);
    const auto now = settings_.now();
    std::erase_if(tries_of_, [&](const auto& each) { return now - each.second.since >= kMinute; });
    if (tries_of_.size() >= kMaxAddresses && !tries_of_.contains(address)) {
        return false;
    }
    return one_more(tries_of_[address], now, settings_.tries_of_address) &&
           one_more(tries_, now, settings_.tries);
}

Result<std::string> SignIn::enter(const HttpCredentials& credentials, const std::string& address) {
    if (!may_try(address)) {
        return fail(Errc::unavailable, "too many have tried to sign in: wait a minute");
    }
    const auto known = users();
    if (!known) {
        return std::unexpected(known.error());
    }
    const auto found = known->find(credentials.user);
    const std::string hash = found == known->end() ? kNobody : found->second;
    const bool sized = credentials.password.size() <= kMaxPassword;
    bool right = false;
    {
        const std::lock_guard lock(hashing_);
        right = is_right(sized ? credentials.password : "", hash);
    }
    std::string secret = new_secret();
    if (!right || !sized || found == known->end() || secret.empty()) {
        return fail(Errc::denied, "no such user, or another password");
    }
    const std::lock_guard lock(mutex_);
    const auto now = settings_.now();
    std::erase_if(sessions_, [&](const auto& each) { return now >= each.second.end; });
    if (sessions_.size() >= settings_.sessions) {
        sessions_.erase(std::ranges::min_element(sessions_, {},
                                                 [](const auto& each) { return each.second.end; }));
    }
    sessions_[secret] = {credentials.user, hash, now + settings_.lifetime};
    return secret;
}

std::string SignIn::user_of(std::string_view secret) {
    if (secret.empty() || !possible()) {
        return {};
    }
    Session session;
    {
        const std::lock_guard lock(mutex_);
        const auto found = sessions_.find(secret);
        if (found == sessions_.end() || settings_.now() >= found->second.end) {
            return {};
        }
        session = found->second;
    }
    const auto known = users();
    const auto line = known ? known->find(session.user) : decltype(known->end()){};
    if (!known || line == known->end() || line->second != session.hash) {
        leave(secret);
        return {};
    }
    return session.user;
}

void SignIn::leave(std::string_view secret) {
    const std::lock_guard lock(mutex_);
    if (const auto found = sessions_.find(secret); found != sessions_.end()) {
        sessions_.erase(found);
    }
}

}  // namespace signpost
