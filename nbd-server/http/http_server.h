// SPDX-License-Identifier: BSD-3-Clause
//
// HttpServer is the door for people: HTTP by libmicrohttpd on sockets that are bound already, with
// threads of its own that yield to all others, so that the path of the data does not notice it.
// What a client can take is bounded: connections in all and from one address, the size of a
// request's head, and time, also of a client that sends or takes a byte now and then.
//
// Lifetime: the handler outlives it; the destructor ends connections, and waits for handlers that
// run. Threads: start and end by one.

#pragma once

#include <memory>
#include <string>
#include <vector>

#include "catalog/error.h"
#include "nbd-server/disk/unique_fd.h"
#include "nbd-server/http/http_host.h"
#include "nbd-server/http/http_message.h"

namespace signpost {

struct HttpSettings {
    std::vector<UniqueFd> sockets = {};  // listening
    HostNames hosts{{}};
    std::string certificate = {};  // PEM; with it and the key: HTTPS
    std::string key = {};
    bool takes_post = false;  // only where nobody but the operator can come
    unsigned connections = 64;
    unsigned per_address = 16;
};

class HttpServer {
   public:
    static Result<std::unique_ptr<HttpServer>> start(HttpSettings settings, HttpHandler handler);

    HttpServer() = default;
    HttpServer(const HttpServer&) = delete;
    HttpServer& operator=(const HttpServer&) = delete;
    virtual ~HttpServer() = default;
};

}  // namespace signpost
