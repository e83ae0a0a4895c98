// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/disk/stub_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <fstream>
#include <utility>

#include "nbd-server/disk/unique_fd.h"

namespace signpost {

namespace {

constexpr std::size_t kMaxNoteBytes = 16384;
constexpr std::string_view kSqlite = "sqlite:";

std::string content_of(const std::string& path) {
    std::string text(kMaxNoteBytes, '\0');
    std::ifstream file(path, std::ios::binary);
    file.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<std::size_t>(file.gcount()));
    return text;
}

// Whole or not at all. Not synced: an older note is only more modest.
int replace_file(const std::string& path, const std::string& text) {
    const std::string draft = path + ".new";
    const UniqueFd fd(
        ::open(draft.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!fd) {
        return errno;
    }
    const ssize_t written = ::write(fd.get(), text.data(), text.size());
    if (written != static_cast<ssize_t>(text.size())) {
        const int error = written < 0 ? errno : ENOSPC;
        ::unlink(draft.c_str());
        return error;
    }
    return std::rename(draft.c_str(), path.c_str()) == 0 ? 0 : errno;
}

bool is_there(const std::string& path) {
    return ::access(path.c_str(), F_OK) == 0;
}

}  // namespace

StubStore::StubStore(Settings settings, Log& log) : settings_(std::move(settings)), log_(log) {
    note_ = {.server = settings_.server, .catalog = settings_.catalog};
    if (!settings_.directory.empty()) {
        open();
    }
}

std::shared_ptr<Catalog> StubStore::rows() const {
    const std::lock_guard lock(mutex_);
    return rows_;
}

StubNote StubStore::note() const {
    const std::lock_guard lock(mutex_);
    return note_;
}

// Said once, until it works again.
void StubStore::complain(const std::string& what) {
    if (complaint_ != what) {
        complaint_ = what;
        log_.error(what);
    }
}

void StubStore::open() {
    const bool used = is_there(database_path());
    const auto note = parse_stub_note(content_of(note_path()));
    if (used && note && note->server != settings_.server) {
        move_aside(fmt::format("they are server {}'s", escaped(note->server)));
    } else if (used && note && note->catalog != settings_.catalog) {
        move_aside(fmt::format("they are of catalog {}", escaped(note->catalog)));
    } else if (note) {
        const std::lock_guard lock(mutex_);
        note_ = *note;
    }
    if (open_to_write()) {
        return;
    }
    auto readable =
        open_catalog(fmt::format("{}{}", kSqlite, database_path()), OpenMode::read_only);
    if (readable) {
        const std::lock_guard lock(mutex_);
        rows_ = std::move(*readable);
    }
}

bool StubStore::open_to_write() {
    for (const bool again : {false, true}) {
        auto opened = open_catalog(fmt::format("{}{}", kSqlite, database_path()), OpenMode::create);
        if (opened) {
            const std::lock_guard lock(mutex_);
            rows_ = std::move(*opened);
            return true;
        }
        if (opened.error().code != Errc::corrupt || again) {
            complain(fmt::format("what the catalog says cannot be kept for when it is away: {}",
                                 opened.error().message));
            return false;
        }
        move_aside("they are damaged");
    }
    return false;
}

// The log goes with the file: another's would be played into it.
void StubStore::move_aside(const std::string& why) {
    const std::string path = database_path();
    {
        const std::lock_guard lock(mutex_);
        rows_.reset();
        note_ = {.server = settings_.server, .catalog = settings_.catalog};
    }
    for (const char* suffix : {"-wal", "-shm"}) {
        ::unlink((path + ".aside" + suffix).c_str());
        std::rename((path + suffix).c_str(), (path + ".aside" + suffix).c_str());
    }
    std::rename(path.c_str(), (path + ".aside").c_str());
    std::rename(note_path().c_str(), (note_path() + ".aside").c_str());
    log_.error(fmt::format("the stubs in {} are not used, and moved to {}.aside: {}", escaped(path),
                           escaped(path), why));
}

bool StubStore::wrote(const Result<void>& outcome) {
    if (outcome) {
        if (!complaint_.empty()) {
            complaint_.clear();
            log_.info("what the catalog says is kept again for when it is away");
        }
        return true;
    }
    failed(outcome.error());
    return false;
}

void StubStore::failed(const Error& error) {
    const bool gone = !is_there(database_path());
    if (gone) {
        // What is left of the log would be played into the new file.
        ::unlink((database_path() + "-wal").c_str());
        ::unlink((database_path() + "-shm").c_str());
    } else if (error.code == Errc::corrupt) {
        move_aside("they are damaged");
    }
    if (gone || error.code == Errc::corrupt) {
        ++beginnings_;
        open_to_write();
    } else if (error.code != Errc::unavailable) {
        complain(fmt::format("what the catalog says cannot be kept for when it is away: {}",
                             error.message));
    }
}

bool StubStore::write(const Restoration& change) {
    auto to = rows();
    if (to == nullptr && !settings_.directory.empty() && open_to_write()) {
        to = rows();
    }
    return to != nullptr && wrote(to->restore(change));
}

bool StubStore::remove_server(std::string_view name) {
    const auto from = rows();
    if (from == nullptr) {
        return false;
    }
    auto removed = from->remove_server(name);
    if (!removed && removed.error().code == Errc::not_found) {
        return true;
    }
    return wrote(removed);
}

void StubStore::set_note(const StubNote& note) {
    {
        const std::lock_guard lock(mutex_);
        if (note_ == note) {
            return;
        }
        note_ = note;
    }
    if (settings_.directory.empty()) {
        return;
    }
    if (const int error = replace_file(note_path(), stub_note_text(note)); error != 0) {
        log_.debug(fmt::format("{}: error {}", note_path(), error));
    }
}

Result<KeptStubs> read_stubs(const std::string& directory) {
    KeptStubs stubs;
    auto rows = open_catalog(fmt::format("{}{}/stubs.db", kSqlite, directory), OpenMode::read_only);
    if (!rows) {
        return std::unexpected(std::move(rows.error()));
    }
    stubs.rows = std::move(*rows);
    stubs.note = parse_stub_note(content_of(directory + "/stubs.json")).value_or(StubNote{});
    return stubs;
}

}  // namespace signpost
