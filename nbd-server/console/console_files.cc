// SPDX-License-Identifier: BSD-3-Clause
//
// Files of disks, for people who have signed in. The command reads them, in a process of its own,
// over a session that the access rules judge as any other; nothing of a disk is parsed here.

#include <fmt/format.h>

#include <utility>

#include "nbd-server/console/api_json.h"
#include "nbd-server/console/console.h"
#include "nbd-server/console/file_command.h"

namespace signpost {

namespace {

constexpr std::chrono::seconds kListTime{90};
constexpr std::chrono::seconds kDownloadTime{6 * 3600};
constexpr std::size_t kMostEntries = 10'000;
constexpr std::size_t kMostText = 4 * 1024 * 1024;  // of a listing
constexpr unsigned kMostCommands = 4;
constexpr unsigned kMostOfUser = 2;

// What the command has said of a directory, or how it failed.
struct Listing {
    std::vector<std::string> lines = {};
    bool more = false;
    std::optional<int> failed = {};  // its exit status; 1 where it was ended
    std::string message = {};
};

Listing listing_of(FileCommand::Settings settings, std::size_t limit) {
    const auto command = FileCommand::start(std::move(settings));
    if (!command) {
        return {.failed = static_cast<int>(ExitCode::peer_unreachable),
                .message = command.error().message};
    }
    Listing listing;
    std::string rest;
    std::size_t total = 0;
    std::vector<char> room(64 * 1024);
    ssize_t got = 0;
    while (!listing.more && (got = (*command)->read(room)) > 0) {
        total += static_cast<std::size_t>(got);
        rest.append(room.data(), static_cast<std::size_t>(got));
        std::size_t begin = 0;
        for (auto end = rest.find('\n'); end != rest.npos; end = rest.find('\n', begin)) {
            listing.more = listing.lines.size() == limit || total > kMostText;
            if (listing.more) {
                break;
            }
            listing.lines.push_back(rest.substr(begin, end - begin));
            begin = end + 1;
        }
        rest.erase(0, begin);
        listing.more = listing.more || total > kMostText;
    }
    if (!listing.more && got < 0) {
        const auto status = (*command)->status();
        listing.failed =
            status && *status < 100 && *status != 0 ? *status : static_cast<int>(ExitCode::failed);
        listing.message = (*command)->message();
    }
    return listing;
}

// The place that the request names, in the command's words. They must mean what was asked for: in
// a name there can be what looks like the beginning of a path.
Result<std::string> place_of(const HttpRequest& request) {
    const std::string disk(request.value("disk"));
    const std::string part(request.value("part"));
    const std::string path(request.value("path"));
    if (auto name = DiskName::parse(disk); !name) {
        return fail(Errc::invalid, fmt::format("disk: {}", name.error().message));
    }
    if (!path.empty() && !path.starts_with('/')) {
        return fail(Errc::invalid, "path: it begins with /");
    }
    std::string text = fmt::format("{}:{}{}{}", disk, part, part.empty() ? "" : ":", path);
    auto place = DiskPlace::parse(text);
    if (!place) {
        return fail(Errc::invalid, std::move(place.error().message));
    }
    const bool has_part = place->part.has_value() || !place->logical.empty();
    if (place->disk_text() != disk || place->path != path || has_part == part.empty()) {
        return fail(Errc::invalid,
                    "disk, part and path: the console cannot tell where one of them ends; use the "
                    "command");
    }
    return text;
}

// The last component of PATH, for the browser to save a file as. Names may have anything in them;
// what would do something to a terminal, or is no text, becomes `_`.
std::string disposition_of(std::string_view path) {
    std::string name(path.substr(path.rfind('/') + 1));
    const bool plain = escaped(name, 4 * name.size() + 16) == name;
    std::string simple;
    std::string encoded;
    for (char& byte : name) {
        const auto code = static_cast<unsigned char>(byte);
        if (!plain && (code < 0x20 || code >= 0x7f)) {
            byte = '_';
        }
        const bool letter = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
                            (byte >= '0' && byte <= '9') || byte == '.' || byte == '-' ||
                            byte == '_';
        simple += letter ? byte : '_';
        encoded += letter ? std::string(1, byte)
                          : fmt::format("%{:02X}", static_cast<unsigned char>(byte));
    }
    return fmt::format("attachment; filename=\"{}\"; filename*=UTF-8''{}", simple, encoded);
}

// The command that prints the file, begun when the first byte is wanted.
class Download final : public HttpStream {
   public:
    Download(FileCommand::Settings settings, std::shared_ptr<void> place,
             std::function<void(const std::string&)> failed)
        : settings_(std::move(settings)), place_(std::move(place)), failed_(std::move(failed)) {}

    ssize_t read(std::span<char> room) override {
        if (command_ == nullptr) {
            auto command = FileCommand::start(settings_);
            if (!command) {
                failed_(command.error().message);
                return -1;
            }
            command_ = std::move(*command);
        }
        const ssize_t got = command_->read(room);
        if (got < 0) {
            failed_(command_->message());
        }
        return got;
    }

   private:
    const FileCommand::Settings settings_;
    const std::shared_ptr<void> place_;
    const std::function<void(const std::string&)> failed_;
    std::unique_ptr<FileCommand> command_;
};

std::vector<std::string> list_words(std::string place) {
    return {"files", "ls", "--json=lines", "--", std::move(place)};
}

}  // namespace

// A place among the commands that run at once; null: they are taken.
std::shared_ptr<void> ServerConsole::take_place(const std::string& user) {
    const std::lock_guard lock(places_mutex_);
    unsigned all = 0;
    for (const auto& [name, count] : places_) {
        all += count;
    }
    unsigned& own = places_[user];
    if (all >= kMostCommands || own >= kMostOfUser) {
        return nullptr;
    }
    ++own;
    return {this, [user](ServerConsole* console) {
                const std::lock_guard again(console->places_mutex_);
                if (--console->places_[user] == 0) {
                    console->places_.erase(user);
                }
            }};
}

// Empty: this person may ask for files, as far as that is known before a disk is.
std::optional<HttpAnswer> ServerConsole::refuse_files(const Person& person) const {
    if (!sign_in_.possible() || parts_.serve_disk == nullptr) {
        return HttpAnswer{.status = 403,
                          .body = error_answer("files of disks are for people who have signed in, "
                                               "and nobody can sign in here: see http-users in "
                                               "signpost.toml(5)",
                                               static_cast<int>(ExitCode::denied))};
    }
    if (person.user.empty()) {
        return HttpAnswer{
            .status = 401,
            .body = error_answer("sign in first: files of disks are for people who have",
                                 static_cast<int>(ExitCode::denied))};
    }
    return std::nullopt;
}

HttpAnswer ServerConsole::files(const HttpRequest& request, const Person& person) {
    return of_files(request, person, false);
}

HttpAnswer ServerConsole::file(const HttpRequest& request, const Person& person) {
    return of_files(request, person, true);
}

HttpAnswer ServerConsole::of_files(const HttpRequest& request, const Person& person,
                                   bool download) {
    if (auto refused = refuse_files(person)) {
        return std::move(*refused);
    }
    auto place = place_of(request);
    const std::string path(request.value("path"));
    if (!place || (download && path.empty())) {
        return {.status = 400,
                .body = error_answer(place ? "path: which file?" : place.error().message,
                                     static_cast<int>(ExitCode::usage))};
    }
    auto room = take_place(person.user);
    if (room == nullptr) {
        return {
            .status = 503,
            .body = error_answer("as many files as may be are being read: try again in a moment",
                                 static_cast<int>(ExitCode::peer_unreachable))};
    }
    const FileUse use{.list = !download, .disk = std::string(request.value("disk")), .path = path};
    FileCommand::Settings settings{.words = list_words(*place),
                                   .person = person,
                                   .time = kListTime,
                                   .serve = parts_.serve_disk};
    Listing listing = listing_of(settings, download ? 1 : kMostEntries);
    std::optional<std::uint64_t> size;
    if (download && !listing.failed) {
        size = size_of_file(listing.lines);
        if (!size) {
            listing.failed = static_cast<int>(ExitCode::usage);
            listing.message = fmt::format("{} is no file", escaped(path));
        }
    }
    parts_.file_used(person, use, listing.failed ? listing.message : "");
    if (listing.failed) {
        return {.status = status_of(static_cast<ExitCode>(*listing.failed)),
                .body = error_answer(listing.message, *listing.failed)};
    }
    if (!download) {
        return {.body =
                    files_answer(path.empty() ? "parts" : "files", listing.lines, listing.more)};
    }
    settings.words = {"files", "cat", "--", std::move(*place)};
    settings.time = kDownloadTime;
    return {.type = "application/octet-stream",
            .disposition = disposition_of(path),
            .stream = std::make_shared<Download>(std::move(settings), std::move(room),
                                                 [this, person, use](const std::string& why) {
                                                     parts_.file_used(person, use, why);
                                                 }),
            .length = *size};
}

}  // namespace signpost
