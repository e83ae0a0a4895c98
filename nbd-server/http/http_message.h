// SPDX-License-Identifier: BSD-3-Clause
//
// A request over HTTP as far as anybody behind the door is to know it, and what is answered. There
// are no bodies in requests: whatever has one is refused at the door.
//
// Values; no thread rule.

#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace signpost {

struct HttpCredentials {
    std::string user;
    std::string password;
};

struct HttpRequest {
    bool post = false;  // else GET or HEAD, which are answered alike
    std::string path;   // decoded; begins with `/`
    std::map<std::string, std::string, std::less<>> query = {};  // decoded; the first of each name
    std::string host = {};                                       // the header, as it came
    std::string cookie = {};                                     // that of our name
    std::optional<HttpCredentials> basic = {};                   // Authorization: Basic
    bool cross_site = false;  // a browser says that another site's page asks
    int socket = -1;          // who is at its other end: identity_of_socket
    bool tls = false;

    // What the query says of NAME; empty: nothing.
    std::string_view value(std::string_view name) const {
        const auto found = query.find(name);
        return found == query.end() ? std::string_view() : found->second;
    }
};

// Bytes that come while they are being sent. The client's own thread asks for them, and lets go of
// the object when it has all, or when the client goes away.
class HttpStream {
   public:
    HttpStream() = default;
    HttpStream(const HttpStream&) = delete;
    HttpStream& operator=(const HttpStream&) = delete;
    virtual ~HttpStream() = default;

    // Waits for some bytes and puts them into ROOM. 0: that was all. -1: there should be more, but
    // there is not.
    virtual ssize_t read(std::span<char> room) = 0;
};

struct HttpAnswer {
    unsigned status = 200;
    std::string type = "application/json";
    std::string body = {};
    std::string set_cookie = {};   // the whole header; empty: none
    std::string policy = {};       // Content-Security-Policy; empty: nothing is to be loaded
    std::string disposition = {};  // Content-Disposition; empty: none
    std::shared_ptr<HttpStream> stream = nullptr;  // instead of the body
    std::uint64_t length = 0;                      // of the stream
};

// Called on a thread of the door's, which may block; several at once.
using HttpHandler = std::function<HttpAnswer(const HttpRequest& request)>;

inline constexpr std::string_view kSessionCookie = "signpost-session";

}  // namespace signpost
