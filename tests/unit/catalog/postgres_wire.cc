// SPDX-License-Identifier: BSD-3-Clause
#include "tests/unit/catalog/postgres_wire.h"

#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <stdexcept>
#include <string_view>

namespace signpost::test {

namespace {

sockaddr_un address_in(const std::string& directory) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string path = directory + "/.s.PGSQL.5432";
    if (path.size() >= sizeof address.sun_path)
        throw std::runtime_error("a socket's path is too long: " + path);
    memcpy(address.sun_path, path.c_str(), path.size() + 1);
    return address;
}

int new_socket() {
    return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

bool send_all(int to, std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t sent = send(to, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
}

// What there is; empty at the end.
std::string_view receive(int from, std::array<char, 65536>& buffer) {
    const ssize_t got = recv(from, buffer.data(), buffer.size(), 0);
    return {buffer.data(), static_cast<std::size_t>(got < 0 ? 0 : got)};
}

}  // namespace

PostgresWire::PostgresWire(std::string directory)
    : server_(std::move(directory)), listening_(new_socket()), stop_(eventfd(0, EFD_CLOEXEC)) {
    const sockaddr_un address = address_in(directory_.path());
    if (bind(listening_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
        listen(listening_, 16) != 0)
        throw std::runtime_error("no socket to listen at");
    accepting_ = std::thread([this] { accept_all(); });
}

PostgresWire::~PostgresWire() {
    eventfd_write(stop_, 1);
    accepting_.join();
    for (std::thread& carrier : carriers_)
        carrier.join();
    close(listening_);
    close(stop_);
}

void PostgresWire::accept_all() {
    for (;;) {
        std::array<pollfd, 2> watched{{{listening_, POLLIN, 0}, {stop_, POLLIN, 0}}};
        poll(watched.data(), watched.size(), -1);
        if (watched[1].revents != 0)
            return;
        const int client = accept4(listening_, nullptr, nullptr, SOCK_CLOEXEC);
        connections_ += client >= 0 ? 1 : 0;
        if (client >= 0)
            carriers_.emplace_back([this, client] { carry(client); });
    }
}

void PostgresWire::carry(int client) {
    const int server = new_socket();
    const sockaddr_un address = address_in(server_);
    std::array<char, 65536> buffer{};
    bool good = connect(server, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
    bool last_word = false;  // the server's answer to COMMIT goes nowhere
    while (good) {
        std::array<pollfd, 3> watched{
            {{client, POLLIN, 0}, {server, POLLIN, 0}, {stop_, POLLIN, 0}}};
        poll(watched.data(), watched.size(), -1);
        if (watched[2].revents != 0)
            break;
        if (watched[1].revents != 0) {
            const auto bytes = receive(server, buffer);
            good = !bytes.empty() && !last_word && send_all(client, bytes);
        } else if (watched[0].revents != 0) {
            const auto bytes = receive(client, buffer);
            const bool commits = bytes.find("COMMIT") != std::string_view::npos;
            const Cut cut = commits ? cut_.exchange(Cut::none) : Cut::none;
            last_word = cut == Cut::after_commit;
            const bool held = holds_ && bytes.find("find_disk") != std::string_view::npos;
            good = !bytes.empty() && cut != Cut::before_commit &&
                   (held || send_all(server, bytes));
        }
    }
    close(client);
    close(server);
}

}  // namespace signpost::test
