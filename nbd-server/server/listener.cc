// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/server/listener.h"

#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>

#include "catalog/disk_name.h"
#include "nbd-server/server/client_identity.h"

namespace signpost {

namespace {

constexpr int kBacklog = 4096;
constexpr int kAcceptedAtOnce = 64;  // then the loop's other work has its turn
constexpr std::chrono::milliseconds kLongestPause{1000};

std::unexpected<Error> cannot_listen(const std::string& name, int error) {
    std::string remedy = "choose another with --listen";
    if (error == EADDRINUSE) {
        remedy = "another server listens there; stop it, or choose another with --listen";
    } else if (error == EACCES) {
        remedy = "this needs more rights: choose another with --listen";
    }
    return fail(
        error == EADDRINUSE ? Errc::conflict : Errc::denied,
        fmt::format("cannot listen on {}: {}; {}", escaped(name), std::strerror(error), remedy));
}

struct AddressesFree {
    void operator()(addrinfo* list) const { ::freeaddrinfo(list); }
};

sockaddr_storage address_of(int socket) {
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    ::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size);
    return address;
}

std::uint16_t port_of(const sockaddr_storage& address) {
    return ntohs(address.ss_family == AF_INET6
                     ? reinterpret_cast<const sockaddr_in6&>(address).sin6_port
                     : reinterpret_cast<const sockaddr_in&>(address).sin_port);
}

std::string name_of_passed(const PassedSocket& socket) {
    const sockaddr_storage address = address_of(socket.fd.get());
    ListenAddress listening{ListenAddress::Kind::unix_socket, "", 0, ""};
    if (const auto ip = IpAddress::of(address)) {
        listening = {ListenAddress::Kind::tcp, ip->str(), port_of(address), ""};
    } else {
        listening.name = reinterpret_cast<const sockaddr_un&>(address).sun_path;
    }
    return fmt::format("{} (systemd:{})", listening.str(), escaped(socket.name));
}

Result<ListeningSocket> listen_on(const addrinfo& address, ListenAddress wanted) {
    const std::string name = wanted.str();
    UniqueFd fd(::socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const int yes = 1;
    if (!fd || ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0) {
        return cannot_listen(name, errno);
    }
    // IPv4 has a socket of its own, where there is IPv4.
    if (address.ai_family == AF_INET6) {
        ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &yes, sizeof yes);
    }
    if (::bind(fd.get(), address.ai_addr, address.ai_addrlen) != 0 ||
        ::listen(fd.get(), kBacklog) != 0) {
        return cannot_listen(name, errno);
    }
    wanted.port = port_of(address_of(fd.get()));
    return ListeningSocket{std::move(fd), wanted.str(), {}};
}

Result<void> listen_on_tcp(const ListenAddress& wanted, std::vector<ListeningSocket>& sockets) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
    addrinfo* list = nullptr;
    const std::string port = std::to_string(wanted.port);
    const char* const host = wanted.host.empty() ? nullptr : wanted.host.c_str();
    if (const int code = ::getaddrinfo(host, port.c_str(), &hints, &list); code != 0) {
        return fail(Errc::invalid, fmt::format("cannot listen on {}: {}; check the address",
                                               escaped(wanted.str()), ::gai_strerror(code)));
    }
    const std::unique_ptr<addrinfo, AddressesFree> owned(list);
    std::optional<Error> first;
    bool any = false;
    for (const addrinfo* address = list; address != nullptr; address = address->ai_next) {
        auto socket = listen_on(*address, wanted);
        if (socket) {
            sockets.push_back(std::move(*socket));
            any = true;
        } else if (!first) {
            first = std::move(socket.error());
        }
    }
    // A machine without IPv6 still has the other address.
    if (!any || (first && first->code == Errc::conflict)) {
        return std::unexpected(
            first.value_or(Error{Errc::invalid, "no address to listen on was found"}));
    }
    return {};
}

// True when somebody answers there.
bool is_alive(const sockaddr_un& address) {
    const UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    return ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) ==
               0 ||
           errno == EAGAIN;
}

Result<ListeningSocket> listen_on_unix(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string name = "unix:" + path;
    if (path.size() >= sizeof address.sun_path) {
        return fail(Errc::invalid, fmt::format("cannot listen on {}: a socket's path has at most "
                                               "{} bytes; choose a shorter one",
                                               escaped(name), sizeof address.sun_path - 1));
    }
    path.copy(address.sun_path, path.size());
    struct stat status {};
    const bool there = ::lstat(path.c_str(), &status) == 0;
    if (there && S_ISSOCK(status.st_mode) && !is_alive(address)) {
        ::unlink(path.c_str());
    }
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd || ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
        ::listen(fd.get(), kBacklog) != 0) {
        return cannot_listen(name, errno);
    }
    return ListeningSocket{std::move(fd), name, path};
}

Result<void> take_passed(const ListenAddress& wanted, std::vector<PassedSocket>& passed,
                         std::vector<ListeningSocket>& sockets) {
    bool any = false;
    for (PassedSocket& socket : passed) {
        if (socket.fd && (wanted.name.empty() || wanted.name == socket.name)) {
            std::string name = name_of_passed(socket);
            sockets.push_back({std::move(socket.fd), std::move(name), {}});
            any = true;
        }
    }
    if (any) {
        return {};
    }
    return fail(Errc::not_found,
                fmt::format("cannot listen on {}: systemd has passed no such socket; start the "
                            ".socket unit, or listen on an address",
                            escaped(wanted.str())));
}

}  // namespace

Result<std::vector<ListeningSocket>> open_listeners(const std::vector<ListenAddress>& addresses,
                                                    std::vector<PassedSocket> passed) {
    std::vector<ListeningSocket> sockets;
    for (const ListenAddress& wanted : addresses) {
        Result<void> done;
        if (wanted.kind == ListenAddress::Kind::tcp) {
            done = listen_on_tcp(wanted, sockets);
        } else if (wanted.kind == ListenAddress::Kind::systemd) {
            done = take_passed(wanted, passed, sockets);
        } else if (auto socket = listen_on_unix(wanted.name)) {
            sockets.push_back(std::move(*socket));
        } else {
            done = std::unexpected(std::move(socket.error()));
        }
        if (!done) {
            return std::unexpected(std::move(done.error()));
        }
    }
    return sockets;
}

Listener::Listener(EventLoop& loop, Owner& owner, Log& log, ListeningSocket socket)
    : loop_(loop), owner_(owner), log_(log), socket_(std::move(socket)) {}

// The path goes first: while it is there it answers, so that nobody else makes one of that name.
Listener::~Listener() {
    if (!socket_.path.empty()) {
        ::unlink(socket_.path.c_str());
    }
    close();
}

void Listener::start() {
    loop_.watch(socket_.fd.get(), EPOLLIN, *this);
}

void Listener::close() {
    loop_.cancel(timer_);
    if (socket_.fd) {
        loop_.unwatch(socket_.fd.get());
        socket_.fd.reset();
    }
}

void Listener::on_ready(std::uint32_t) {
    for (int i = 0; i < kAcceptedAtOnce; ++i) {
        if (!owner_.has_room()) {
            rest("as many sessions as --max-sessions allows are open");
            return;
        }
        UniqueFd client(
            ::accept4(socket_.fd.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
        if (client) {
            pause_ = std::chrono::milliseconds(100);
            owner_.accepted(std::move(client));
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            rest(std::strerror(errno));
            return;
        } else if (errno == EAGAIN) {
            return;
        }
    }
}

void Listener::rest(const std::string& reason) {
    const auto now = loop_.now();
    if (now - last_said_ >= std::chrono::seconds(1)) {
        last_said_ = now;
        log_.error(fmt::format("{}: no new clients for a while: {}", socket_.name, reason));
    }
    loop_.rewatch(socket_.fd.get(), 0, *this);
    timer_ = loop_.call_at(now + pause_, [this] {
        timer_ = {};
        loop_.rewatch(socket_.fd.get(), EPOLLIN, *this);
    });
    pause_ = std::min(pause_ * 2, kLongestPause);
}

}  // namespace signpost
