// SPDX-License-Identifier: BSD-3-Clause
#include "cli/control_client.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <vector>

#include "nbd-server/disk/unique_fd.h"
#include "nbd-server/http/session_report.h"

namespace signpost {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxAnswer = 64 * 1024 * 1024;
constexpr long kSeconds = 30;

bool has_socket(const fs::path& directory) {
    struct stat status {};
    return ::stat((directory / "control").c_str(), &status) == 0 && S_ISSOCK(status.st_mode);
}

std::string list_of(const std::vector<std::string>& names) {
    std::string text;
    for (const std::string& name : names) {
        text += text.empty() ? name : ", " + name;
    }
    return text;
}

// Whose socket it is to be.
Outcome<std::string> server_to_ask(const Options& options, const fs::path& base) {
    if (options.server_given || has_socket(base / options.own_server)) {
        return options.own_server;
    }
    std::vector<std::string> servers;
    std::error_code error;
    for (fs::directory_iterator entry(base, error), end; !error && entry != end;
         entry.increment(error)) {
        const std::string name = entry->path().filename().string();
        if (check_server_name(name) && has_socket(entry->path())) {
            servers.push_back(name);
        }
    }
    if (error == std::errc::permission_denied) {
        return failure(ExitCode::denied,
                       fmt::format("{} may not be read: ask as the server's user, or as root (sudo "
                                   "signpost sessions)",
                                   escaped(base.string())));
    }
    if (servers.size() > 1) {
        return failure(
            ExitCode::usage,
            fmt::format("several servers run here: say which with --server: {}", list_of(servers)));
    }
    return servers.empty() ? options.own_server : servers.front();
}

Failure unreachable(const std::string& server, const fs::path& path, int error) {
    const std::string socket = escaped(path.string());
    if (error == EACCES || error == EPERM) {
        return {ExitCode::denied,
                fmt::format("{}: only root and the user of the server may ask it: sudo signpost "
                            "sessions",
                            socket)};
    }
    return {ExitCode::peer_unreachable,
            fmt::format("no server {} runs here, as {} shows; start it (systemctl start "
                        "signpostd), or name another with --server, and its directory with "
                        "STATE_DIRECTORY",
                        server, socket)};
}

std::size_t take_bytes(char* bytes, std::size_t size, std::size_t count, void* to) {
    auto& text = *static_cast<std::string*>(to);
    const std::size_t total = size * count;
    if (text.size() + total > kMaxAnswer) {
        return 0;
    }
    text.append(bytes, total);
    return total;
}

Outcome<std::string> checked(const std::string& server, long status, std::string answer) {
    if (status == 200) {
        return answer;
    }
    const ExitCode code = status == 404   ? ExitCode::no_such_disk
                          : status == 403 ? ExitCode::denied
                                          : ExitCode::failed;
    const std::string error = error_of_answer(answer);
    return failure(code, error.empty()
                             ? fmt::format("server {} answers {}; see its log", server, status)
                             : escaped(error, 400));
}

struct CurlEnd {
    void operator()(CURL* curl) const { curl_easy_cleanup(curl); }
};

}  // namespace

Outcome<std::string> ask_control(const Options& options, const std::string& path,
                                 ControlCall call) {
    const fs::path base = default_state_directory();
    const auto server = server_to_ask(options, base);
    if (!server) {
        return std::unexpected(server.error());
    }
    const fs::path directory = base / *server;
    // A path of any length: a socket's own may have 107 bytes only.
    const UniqueFd place(::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!place) {
        return std::unexpected(unreachable(*server, directory / "control", errno));
    }
    const std::string socket = fmt::format("/proc/self/fd/{}/control", place.get());
    const std::unique_ptr<CURL, CurlEnd> curl(curl_easy_init());
    if (curl == nullptr) {
        return failure(ExitCode::failed, "libcurl could not be started");
    }
    std::string answer;
    curl_easy_setopt(curl.get(), CURLOPT_UNIX_SOCKET_PATH, socket.c_str());
    curl_easy_setopt(curl.get(), CURLOPT_URL, ("http://localhost" + path).c_str());
    curl_easy_setopt(curl.get(), CURLOPT_PROXY, "");
    curl_easy_setopt(curl.get(), CURLOPT_PROTOCOLS_STR, "http");
    curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl.get(), CURLOPT_TIMEOUT, kSeconds);
    curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, &take_bytes);
    curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &answer);
    if (call == ControlCall::change) {
        curl_easy_setopt(curl.get(), CURLOPT_POST, 1L);
        curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDSIZE, 0L);
    }
    const CURLcode code = curl_easy_perform(curl.get());
    if (code == CURLE_COULDNT_CONNECT) {
        long error = 0;
        curl_easy_getinfo(curl.get(), CURLINFO_OS_ERRNO, &error);
        return std::unexpected(
            unreachable(*server, directory / "control", static_cast<int>(error)));
    }
    if (code != CURLE_OK) {
        return failure(ExitCode::peer_unreachable,
                       fmt::format("server {} does not answer on its control socket: {}; see its "
                                   "log",
                                   *server, curl_easy_strerror(code)));
    }
    long status = 0;
    curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &status);
    return checked(*server, status, std::move(answer));
}

}  // namespace signpost
