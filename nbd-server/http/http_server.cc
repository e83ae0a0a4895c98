// SPDX-License-Identifier: BSD-3-Clause
#include "nbd-server/http/http_server.h"

#include <fmt/core.h>
#include <microhttpd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <utility>

namespace signpost {

namespace {

using Clock = std::chrono::steady_clock;

constexpr unsigned kIdleSeconds = 10;              // without a byte either way
constexpr std::chrono::seconds kRequestTime{15};   // for the whole head of a request
constexpr std::chrono::seconds kAnswerTime{60};    // for the client to take what was answered
constexpr std::chrono::seconds kHandlerTime{180};  // for both
constexpr std::chrono::seconds kPieceTime{30};     // for the client to take a piece of a stream
constexpr std::size_t kPiece = 64 * 1024;
constexpr std::size_t kConnectionMemory = 32 * 1024;
constexpr std::size_t kStack = 1024 * 1024;
constexpr std::size_t kMaxTarget = 8 * 1024;
constexpr int kLowWeight = 10;  // nice

constexpr const char* kNothing = "default-src 'none'; frame-ancestors 'none'";

constexpr const char* kPriorities = "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2";

// Of one request, from its first line to its end.
struct Target {
    bool sound = true;
};

// Printable, and with nothing in it that ends a text: what is decoded later holds no NUL.
bool is_sound(std::string_view target) {
    return target.size() <= kMaxTarget && target.starts_with('/') &&
           target.find("%00") == target.npos &&
           std::ranges::all_of(target, [](char c) { return c > ' ' && c < 0x7f; });
}

MHD_Result take_argument(void* to, MHD_ValueKind /*kind*/, const char* key, const char* value) {
    static_cast<HttpRequest*>(to)->query.emplace(key, value == nullptr ? "" : value);
    return MHD_YES;
}

std::string header_of(MHD_Connection* connection, const char* name) {
    const char* value = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
    return value == nullptr ? "" : value;
}

std::optional<HttpCredentials> basic_of(MHD_Connection* connection) {
    char* password = nullptr;
    char* user = MHD_basic_auth_get_username_password(connection, &password);
    std::optional<HttpCredentials> credentials;
    if (user != nullptr && password != nullptr) {
        credentials = HttpCredentials{user, password};
    }
    MHD_free(user);
    MHD_free(password);
    return credentials;
}

int socket_of(MHD_Connection* connection) {
    const auto* info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    return info == nullptr ? -1 : info->connect_fd;
}

void yield_to_others() {
    thread_local const bool done = [] {
        return ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), kLowWeight) == 0;
    }();
    static_cast<void>(done);
}

HttpAnswer refusal(unsigned status, std::string_view why) {
    return {.status = status, .body = fmt::format("{{\"error\": \"{}\"}}\n", why)};
}

class MicroServer final : public HttpServer {
   public:
    MicroServer(HttpSettings settings, HttpHandler handler)
        : settings_(std::move(settings)), handler_(std::move(handler)) {}

    Result<void> begin() {
        for (UniqueFd& socket : settings_.sockets) {
            MHD_Daemon* const daemon = start_daemon(socket.get());
            if (daemon == nullptr) {
                return fail(Errc::io,
                            "http: the server for the console could not be started: are "
                            "certificate and key of TLS a pair?");
            }
            socket.release();  // the daemon's
            daemons_.push_back(daemon);
        }
        return {};
    }

    ~MicroServer() override {
        {
            const std::lock_guard lock(mutex_);
            ending_ = true;
            for (const auto& [connection, state] : connections_) {
                ::shutdown(state.socket, SHUT_RDWR);
            }
        }
        changed_.notify_all();
        for (MHD_Daemon* const daemon : daemons_) {
            MHD_stop_daemon(daemon);
        }
        if (reaper_.joinable()) {
            reaper_.join();
        }
    }

   private:
    struct Connection {
        int socket;
        Clock::time_point deadline;
    };

    MHD_Daemon* start_daemon(int socket) {
        const bool tls = !settings_.certificate.empty();
        const unsigned all = MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD |
                             MHD_USE_POLL | MHD_USE_ITC;
        const unsigned flags = tls ? all | MHD_USE_TLS : all;
        std::vector<MHD_OptionItem> more;
        if (tls) {
            more.push_back({MHD_OPTION_HTTPS_MEM_CERT, 0, settings_.certificate.data()});
            more.push_back({MHD_OPTION_HTTPS_MEM_KEY, 0, settings_.key.data()});
            more.push_back({MHD_OPTION_HTTPS_PRIORITIES, 0, const_cast<char*>(kPriorities)});
        }
        more.push_back({MHD_OPTION_END, 0, nullptr});
        return MHD_start_daemon(flags, 0, nullptr, nullptr, &MicroServer::on_request, this,
                                MHD_OPTION_LISTEN_SOCKET, socket, MHD_OPTION_CONNECTION_LIMIT,
                                settings_.connections, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
                                settings_.per_address, MHD_OPTION_CONNECTION_TIMEOUT, kIdleSeconds,
                                MHD_OPTION_CONNECTION_MEMORY_LIMIT, kConnectionMemory,
                                MHD_OPTION_THREAD_STACK_SIZE, kStack, MHD_OPTION_STRICT_FOR_CLIENT,
                                1, MHD_OPTION_URI_LOG_CALLBACK, &MicroServer::on_target, this,
                                MHD_OPTION_NOTIFY_COMPLETED, &MicroServer::on_completed, this,
                                MHD_OPTION_NOTIFY_CONNECTION, &MicroServer::on_connection, this,
                                MHD_OPTION_ARRAY, more.data(), MHD_OPTION_END);
    }

    static void* on_target(void* /*self*/, const char* target, MHD_Connection* /*connection*/) {
        return new Target{is_sound(target)};
    }

    static void on_completed(void* self, MHD_Connection* connection, void** state,
                             MHD_RequestTerminationCode /*why*/) {
        delete static_cast<Target*>(std::exchange(*state, nullptr));
        static_cast<MicroServer*>(self)->give_time(connection, kRequestTime);
    }

    static void on_connection(void* self, MHD_Connection* connection, void** /*state*/,
                              MHD_ConnectionNotificationCode code) {
        auto& server = *static_cast<MicroServer*>(self);
        const std::lock_guard lock(server.mutex_);
        if (code == MHD_CONNECTION_NOTIFY_STARTED) {
            if (!server.reaper_.joinable() && !server.ending_) {
                server.reaper_ = std::thread([&server] { server.reap(); });
            }
            server.connections_[connection] = {socket_of(connection), Clock::now() + kRequestTime};
        } else {
            server.connections_.erase(connection);
        }
    }

    // No exception may leave: the caller is C.
    static MHD_Result on_request(void* self, MHD_Connection* connection, const char* url,
                                 const char* method, const char* /*version*/, const char* /*body*/,
                                 std::size_t* /*size*/, void** state) noexcept {
        yield_to_others();
        auto& server = *static_cast<MicroServer*>(self);
        const auto* const target = static_cast<const Target*>(*state);
        server.give_time(connection, kHandlerTime);
        try {
            const HttpAnswer answer = server.answer(connection, url, method, target->sound);
            server.give_time(connection, kAnswerTime);
            begin_idle_time(connection);
            return server.send(connection, answer);
        } catch (const std::exception&) {
            return MHD_NO;  // ends the connection: there is no memory for more
        }
    }

    HttpAnswer answer(MHD_Connection* connection, const char* url, std::string_view method,
                      bool sound) const {
        HttpRequest request{.post = method == "POST", .path = url};
        request.host = header_of(connection, MHD_HTTP_HEADER_HOST);
        if (!settings_.hosts.knows(request.host)) {
            return refusal(421, "this server is not called so: see http-host in signpost.toml(5)");
        }
        if (method != "GET" && method != "HEAD" && !(request.post && settings_.takes_post)) {
            return refusal(405, "this only answers GET and HEAD");
        }
        const auto length = header_of(connection, MHD_HTTP_HEADER_CONTENT_LENGTH);
        if (!sound || (!length.empty() && length != "0") ||
            !header_of(connection, MHD_HTTP_HEADER_TRANSFER_ENCODING).empty()) {
            return refusal(400, "that is no request for this server");
        }
        MHD_get_connection_values(connection, MHD_GET_ARGUMENT_KIND, &take_argument, &request);
        const char* cookie =
            MHD_lookup_connection_value(connection, MHD_COOKIE_KIND, kSessionCookie.data());
        request.cookie = cookie == nullptr ? "" : cookie;
        request.basic = basic_of(connection);
        request.cross_site = header_of(connection, "Sec-Fetch-Site") == "cross-site";
        request.socket = socket_of(connection);
        request.tls = !settings_.certificate.empty();
        return handler_(request);
    }

    // libmicrohttpd counts what we took as the client's silence, unless it is told anew.
    static void begin_idle_time(MHD_Connection* connection) {
        MHD_set_connection_option(connection, MHD_CONNECTION_OPTION_TIMEOUT, 0U);
        MHD_set_connection_option(connection, MHD_CONNECTION_OPTION_TIMEOUT, kIdleSeconds);
    }

    struct Streaming {
        MicroServer& server;
        MHD_Connection* connection;
        std::shared_ptr<HttpStream> stream;
    };

    static ssize_t read_stream(void* state, std::uint64_t /*at*/, char* to,
                               std::size_t room) noexcept {
        const auto& streaming = *static_cast<const Streaming*>(state);
        streaming.server.give_time(streaming.connection, std::chrono::hours(24));
        ssize_t got = -1;
        try {
            got = streaming.stream->read({to, room});
        } catch (const std::exception&) {
            got = -1;
        }
        streaming.server.give_time(streaming.connection, kPieceTime);
        begin_idle_time(streaming.connection);
        return got > 0    ? got
               : got == 0 ? ssize_t{MHD_CONTENT_READER_END_OF_STREAM}
                          : ssize_t{MHD_CONTENT_READER_END_WITH_ERROR};
    }

    static void end_stream(void* state) { delete static_cast<Streaming*>(state); }

    MHD_Response* response_of(MHD_Connection* connection, const HttpAnswer& answer) {
        if (answer.stream == nullptr) {
            return MHD_create_response_from_buffer(
                answer.body.size(), const_cast<char*>(answer.body.data()), MHD_RESPMEM_MUST_COPY);
        }
        auto streaming = std::make_unique<Streaming>(*this, connection, answer.stream);
        MHD_Response* const response = MHD_create_response_from_callback(
            answer.length, kPiece, &read_stream, streaming.get(), &end_stream);
        if (response != nullptr) {
            static_cast<void>(streaming.release());  // the response's
        }
        return response;
    }

    MHD_Result send(MHD_Connection* connection, const HttpAnswer& answer) {
        MHD_Response* const response = response_of(connection, answer);
        if (response == nullptr) {
            return MHD_NO;
        }
        const std::string& policy = answer.policy;
        const std::pair<const char*, const char*> headers[] = {
            {MHD_HTTP_HEADER_CONTENT_TYPE, answer.type.c_str()},
            {"Content-Security-Policy", policy.empty() ? kNothing : policy.c_str()},
            {"X-Content-Type-Options", "nosniff"},
            {"X-Frame-Options", "DENY"},
            {"Referrer-Policy", "no-referrer"},
            {"Cross-Origin-Resource-Policy", "same-origin"},
            {"Cross-Origin-Opener-Policy", "same-origin"},
            {MHD_HTTP_HEADER_CACHE_CONTROL, "no-store"},
        };
        for (const auto& [name, value] : headers) {
            MHD_add_response_header(response, name, value);
        }
        if (answer.status == 405) {
            MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
        }
        if (answer.status == 401) {
            // Not Basic, for which a browser would ask the user by itself.
            MHD_add_response_header(response, MHD_HTTP_HEADER_WWW_AUTHENTICATE,
                                    "Signpost realm=\"signpost\"");
        }
        if (!answer.set_cookie.empty()) {
            MHD_add_response_header(response, MHD_HTTP_HEADER_SET_COOKIE,
                                    answer.set_cookie.c_str());
        }
        if (!answer.disposition.empty()) {
            MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_DISPOSITION,
                                    answer.disposition.c_str());
        }
        const MHD_Result queued = MHD_queue_response(connection, answer.status, response);
        MHD_destroy_response(response);
        return queued;
    }

    void give_time(MHD_Connection* connection, Clock::duration time) {
        const std::lock_guard lock(mutex_);
        const auto found = connections_.find(connection);
        if (found != connections_.end()) {
            found->second.deadline = Clock::now() + time;
        }
    }

    // libmicrohttpd only knows how long a client has been silent.
    void reap() {
        yield_to_others();
        std::unique_lock lock(mutex_);
        while (!changed_.wait_for(lock, std::chrono::seconds(1), [this] { return ending_; })) {
            const auto now = Clock::now();
            for (const auto& [connection, state] : connections_) {
                if (now > state.deadline) {
                    ::shutdown(state.socket, SHUT_RDWR);
                }
            }
        }
    }

    HttpSettings settings_;
    const HttpHandler handler_;
    std::vector<MHD_Daemon*> daemons_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::unordered_map<MHD_Connection*, Connection> connections_;  // guarded by mutex_
    bool ending_ = false;                                          // guarded by mutex_
    std::thread reaper_;  // guarded by mutex_; from the first connection on
};

}  // namespace

Result<std::unique_ptr<HttpServer>> HttpServer::start(HttpSettings settings, HttpHandler handler) {
    auto server = std::make_unique<MicroServer>(std::move(settings), std::move(handler));
    if (auto begun = server->begin(); !begun) {
        return std::unexpected(std::move(begun.error()));
    }
    return server;
}

}  // namespace signpost
