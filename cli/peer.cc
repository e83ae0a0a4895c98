// SPDX-License-Identifier: BSD-3-Clause
//
// libnbd's own calls wait as long as the server likes, so each step here is started with an aio
// call and driven by nbd_poll until it is done or its deadline has passed. Plain connections are
// dialled by us, to the address that was checked. With certificates libnbd must dial, because only
// a name given to nbd_connect_tcp is compared with the certificate (libnbd 1.14 checks no
// certificate without one); that is also why certificates are refused over a Unix socket, and why a
// trust store must be named: an address that resolves elsewhere then fails at the certificate.

#include "cli/peer.h"

#include <fmt/format.h>
#include <libnbd.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <future>
#include <thread>

#include "catalog/disk_name.h"
#include "nbd-server/disk/peer_address.h"
#include "nbd-server/disk/unique_fd.h"
#include "nbd-server/wire/protocol.h"

namespace signpost {

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::size_t kMaxListedExports = 100'000;
constexpr std::uint32_t kStateZero = wire::kStateZero;
constexpr char kAllocation[] = LIBNBD_CONTEXT_BASE_ALLOCATION;

milliseconds left(steady_clock::time_point deadline) {
    const auto rest = std::chrono::ceil<milliseconds>(deadline - steady_clock::now());
    return std::max(rest, milliseconds{0});
}

// libnbd's last error on this thread, without the name of the call.
std::string library_error() {
    const char* text = ::nbd_get_error();
    std::string_view message = text != nullptr ? text : "connection lost";
    if (const auto colon = message.find(": ");
        message.starts_with("nbd_") && colon != message.npos) {
        message.remove_prefix(colon + 2);
    }
    return escaped(message);
}

std::string take_text(char* text) {
    std::string copy = text != nullptr ? text : "";
    std::free(text);
    return copy;
}

// A name server may take as long as it likes: the look-up gets a thread that can be left behind.
Result<std::vector<PeerAddress>> resolve_within(const NbdUri& uri, milliseconds limit) {
    if (resolves_at_once(uri)) {
        return resolve_peer(uri, {});
    }
    std::promise<Result<std::vector<PeerAddress>>> promise;
    auto future = promise.get_future();
    std::thread([uri, promise = std::move(promise)]() mutable {
        promise.set_value(resolve_peer(uri, {}));
    }).detach();
    if (future.wait_for(limit) != std::future_status::ready) {
        return fail(Errc::unavailable, fmt::format("{}: the name look-up does not end; check the "
                                                   "name server, or register an address",
                                                   escaped(uri.endpoint())));
    }
    return future.get();
}

// 0 and a connected socket in FD, or an errno value.
int connect_socket(const PeerAddress& address, milliseconds limit, UniqueFd& fd) {
    fd.reset(::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) {
        return errno;
    }
    const int on = 1;  // requests are small and come one after the other; a Unix socket declines
    ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const auto* name = reinterpret_cast<const sockaddr*>(&address.storage);
    if (::connect(fd.get(), name, address.length) == 0) {
        return 0;
    }
    if (errno != EINPROGRESS) {
        return errno;
    }
    pollfd ready{fd.get(), POLLOUT, 0};
    if (::poll(&ready, 1, static_cast<int>(limit.count())) != 1) {
        return ETIMEDOUT;
    }
    int error = 0;
    socklen_t length = sizeof error;
    return ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &length) == 0 ? error : errno;
}

// The end of an option: whether it came, and what it was.
struct OptionEnd {
    bool done = false;
    int error = 0;
    std::string text;
};

nbd_completion_callback on_option_end(OptionEnd& end) {
    return {.callback =
                [](void* data, int* error) {
                    auto& ended = *static_cast<OptionEnd*>(data);
                    ended.done = true;
                    ended.error = *error;
                    ended.text = *error != 0 ? library_error() : "";
                    return 0;
                },
            .user_data = &end,
            .free = nullptr};
}

Errc option_errc(int error) {
    switch (error) {
        case ENOENT:
            return Errc::not_found;
        case ESHUTDOWN:
            return Errc::unavailable;
        case EINVAL:
            return Errc::invalid;
        default:
            return Errc::denied;
    }
}

struct PendingRead {
    PeerConnection::ReadDone done;
};

struct PendingRuns {
    PeerConnection::RunsDone done;
    std::string context;
    std::vector<PeerConnection::Run> runs;
};

template <class Pending>
void drop(void* data) {
    delete static_cast<Pending*>(data);
}

int read_ended(void* data, int* error) {
    static_cast<PendingRead*>(data)->done(*error);
    return 1;
}

int runs_came(void* data, const char* context, std::uint64_t offset, std::uint32_t* entries,
              std::size_t count, int* /*error*/) {
    auto& pending = *static_cast<PendingRuns*>(data);
    if (pending.context != context) {
        return 0;
    }
    const bool allocation = pending.context == kAllocation;
    for (std::size_t i = 0; i + 1 < count; i += 2) {
        const std::uint32_t flags = entries[i + 1];
        pending.runs.push_back({offset, entries[i], allocation && (flags & kStateZero) != 0,
                                !allocation && (flags & wire::kStateDiffers) != 0});
        offset += entries[i];
    }
    return 0;
}

int runs_ended(void* data, int* error) {
    auto& pending = *static_cast<PendingRuns*>(data);
    pending.done(*error, pending.runs);
    return 1;
}

}  // namespace

void PeerConnection::CloseHandle::operator()(nbd_handle* handle) const {
    // A goodbye if it costs nothing; the answer is not waited for.
    if (::nbd_aio_is_negotiating(handle) == 1) {
        ::nbd_aio_opt_abort(handle);
    } else if (::nbd_aio_is_ready(handle) == 1) {
        ::nbd_aio_disconnect(handle, 0);
    }
    ::nbd_close(handle);
}

PeerConnection::PeerConnection(NbdUri uri, PeerSettings settings)
    : uri_(std::move(uri)), settings_(std::move(settings)), handle_(::nbd_create()) {}

PeerConnection::~PeerConnection() = default;

void PeerConnection::close() {
    handle_.reset();
}

std::unexpected<Error> PeerConnection::lost(const char* what) const {
    return fail(Errc::unavailable,
                fmt::format("{}: {}: {}", escaped(uri_.endpoint()), what, library_error()));
}

Result<PeerConnection> PeerConnection::connect(const NbdUri& uri, const PeerSettings& settings) {
    PeerConnection connection(uri, settings);
    auto ready = connection.prepare();
    if (ready) {
        ready = uri.tls && settings.tls.psk_file.empty() ? connection.dial_by_name()
                                                         : connection.dial();
    }
    if (ready) {
        ready = connection.wait_negotiating();
    }
    if (!ready) {
        return std::unexpected(std::move(ready).error());
    }
    return connection;
}

Result<void> PeerConnection::prepare() {
    nbd_handle* handle = handle_.get();
    if (handle == nullptr || ::nbd_set_opt_mode(handle, true) == -1 ||
        ::nbd_set_full_info(handle, true) == -1 ||
        ::nbd_add_meta_context(handle, kAllocation) == -1 ||
        (!settings_.differs_from.empty() &&
         ::nbd_add_meta_context(handle, difference_context().c_str()) == -1)) {
        return lost("cannot be asked");
    }
    if (!uri_.tls) {
        return ::nbd_set_tls(handle, LIBNBD_TLS_DISABLE) == -1 ? Result<void>(lost("TLS"))
                                                               : Result<void>();
    }
    return prepare_tls();
}

Result<void> PeerConnection::prepare_tls() {
    nbd_handle* handle = handle_.get();
    const PeerTls& tls = settings_.tls;
    const std::string& file = tls.psk_file.empty() ? tls.certificates : tls.psk_file;
    if (file.empty()) {
        return fail(Errc::invalid, fmt::format("{} is a TLS server: give --tls-certificates DIR "
                                               "or --tls-psk FILE",
                                               escaped(uri_.endpoint())));
    }
    if (::access(file.c_str(), R_OK) != 0) {
        return fail(Errc::invalid, fmt::format("cannot read {}: {}; check --tls-certificates and "
                                               "--tls-psk",
                                               escaped(file), std::strerror(errno)));
    }
    if (tls.psk_file.empty() && uri_.is_unix()) {
        return fail(Errc::invalid, fmt::format("{} is a socket, and certificates name hosts: use "
                                               "--tls-psk FILE",
                                               escaped(uri_.endpoint())));
    }
    const int loaded = tls.psk_file.empty() ? ::nbd_set_tls_certificates(handle, file.c_str())
                                            : ::nbd_set_tls_psk_file(handle, file.c_str());
    if (loaded == -1 || ::nbd_set_tls(handle, LIBNBD_TLS_REQUIRE) == -1 ||
        ::nbd_set_tls_verify_peer(handle, true) == -1 ||
        (!tls.username.empty() && ::nbd_set_tls_username(handle, tls.username.c_str()) == -1)) {
        return lost("TLS");
    }
    return {};
}

Result<void> PeerConnection::dial() {
    const auto addresses = resolve_within(uri_, settings_.connect);
    if (!addresses) {
        return std::unexpected(addresses.error());
    }
    const auto deadline = steady_clock::now() + 2 * settings_.connect;
    int error = ETIMEDOUT;
    for (const PeerAddress& address : *addresses) {
        UniqueFd fd;
        error = connect_socket(address, std::min(settings_.connect, left(deadline)), fd);
        if (error == 0) {
            return ::nbd_aio_connect_socket(handle_.get(), fd.release()) == -1
                       ? Result<void>(lost("connect"))
                       : Result<void>();
        }
    }
    return fail(Errc::unavailable,
                fmt::format("{}: connect: {}", escaped(uri_.endpoint()), std::strerror(error)));
}

Result<void> PeerConnection::dial_by_name() {
    const auto addresses = resolve_within(uri_, settings_.connect);
    if (!addresses) {
        return std::unexpected(addresses.error());
    }
    const std::string port = std::to_string(uri_.port);
    if (::nbd_aio_connect_tcp(handle_.get(), uri_.host.c_str(), port.c_str()) == -1) {
        return lost("connect");
    }
    return {};
}

Result<void> PeerConnection::wait_negotiating() {
    const auto deadline = steady_clock::now() + settings_.handshake;
    while (::nbd_aio_is_connecting(handle_.get()) == 1) {
        const int moved = ::nbd_poll(handle_.get(), static_cast<int>(left(deadline).count()));
        if (moved == -1) {
            return lost("handshake");
        }
        if (moved == 0 && left(deadline) == milliseconds{0}) {
            return fail(Errc::unavailable,
                        fmt::format("{}: no NBD greeting within {} s; is an NBD server there, and "
                                    "is it running?",
                                    escaped(uri_.endpoint()), settings_.handshake.count() / 1000));
        }
    }
    if (::nbd_aio_is_negotiating(handle_.get()) != 1) {
        return ::nbd_aio_is_ready(handle_.get()) == 1
                   ? fail(Errc::invalid, fmt::format("{} speaks the oldstyle protocol, which knows "
                                                     "no exports; use a newer NBD server",
                                                     escaped(uri_.endpoint())))
                   : lost("handshake");
    }
    // A library that went on in plaintext once (CVE-2019-14842) is asked again.
    if (uri_.tls && ::nbd_get_tls_negotiated(handle_.get()) != 1) {
        return fail(Errc::denied, fmt::format("{} did not start TLS", escaped(uri_.endpoint())));
    }
    return {};
}

Result<void> PeerConnection::turn(milliseconds wait) {
    if (!handle_ || ::nbd_poll(handle_.get(), static_cast<int>(wait.count())) == -1) {
        return lost("connection lost");
    }
    return {};
}

pollfd PeerConnection::waiting() const {
    const unsigned direction = handle_ ? ::nbd_aio_get_direction(handle_.get()) : 0;
    const int events = ((direction & LIBNBD_AIO_DIRECTION_READ) != 0 ? POLLIN : 0) |
                       ((direction & LIBNBD_AIO_DIRECTION_WRITE) != 0 ? POLLOUT : 0);
    return {handle_ ? ::nbd_aio_get_fd(handle_.get()) : -1, static_cast<short>(events), 0};
}

Result<void> PeerConnection::moved(short events) {
    if (!handle_ || (events & (POLLERR | POLLNVAL)) != 0) {
        return lost("connection lost");
    }
    int moved = 0;
    // One of them: after the first the connection may wait for something else.
    if ((events & (POLLIN | POLLHUP)) != 0) {
        moved = ::nbd_aio_notify_read(handle_.get());
    } else if ((events & POLLOUT) != 0) {
        moved = ::nbd_aio_notify_write(handle_.get());
    }
    const bool over =
        ::nbd_aio_is_dead(handle_.get()) == 1 || ::nbd_aio_is_closed(handle_.get()) == 1;
    return moved == -1 || over ? Result<void>(lost("connection lost")) : Result<void>();
}

Result<void> PeerConnection::wait_for_option(const bool& done, const char* what) {
    const auto deadline = steady_clock::now() + settings_.answer;
    Result<void> waited;
    while (!done && waited) {
        const auto rest = left(deadline);
        waited = rest != milliseconds{0}
                     ? turn(rest)
                     : fail(Errc::unavailable,
                            fmt::format("{}: {}: no answer within {} s", escaped(uri_.endpoint()),
                                        what, settings_.answer.count() / 1000));
    }
    if (done) {
        return {};
    }
    close();  // the option's callbacks point into the caller's frame
    return waited;
}

Result<std::vector<std::string>> PeerConnection::list() {
    struct Listing {
        std::vector<std::string> names;
        bool too_many = false;
    } listing;
    OptionEnd end;
    const nbd_list_callback on_name = {
        .callback =
            [](void* data, const char* name, const char* /*description*/) {
                auto& into = *static_cast<Listing*>(data);
                into.too_many = into.names.size() >= kMaxListedExports;
                if (!into.too_many) {
                    into.names.emplace_back(name);
                }
                return 0;
            },
        .user_data = &listing,
        .free = nullptr};
    if (::nbd_aio_opt_list(handle_.get(), on_name, on_option_end(end)) == -1) {
        return lost("list of exports");
    }
    if (const auto came = wait_for_option(end.done, "list of exports"); !came) {
        return std::unexpected(came.error());
    }
    if (end.error != 0) {
        return fail(Errc::denied, fmt::format("{} does not list its exports: {}",
                                              escaped(uri_.endpoint()), end.text));
    }
    if (listing.too_many) {
        return fail(Errc::invalid, fmt::format("{} lists more than {} exports",
                                               escaped(uri_.endpoint()), kMaxListedExports));
    }
    return std::move(listing.names);
}

Result<void> PeerConnection::select_export(const std::string& export_name) {
    if (!handle_) {
        return fail(Errc::unavailable,
                    fmt::format("{}: the connection was given up", escaped(uri_.endpoint())));
    }
    if (export_name.find('\0') != export_name.npos ||
        ::nbd_set_export_name(handle_.get(), export_name.c_str()) == -1) {
        return fail(Errc::invalid, fmt::format("{}: export name {} cannot be asked for",
                                               escaped(uri_.endpoint()), escaped(export_name)));
    }
    return {};
}

template <class Start>
Result<ExportFacts> PeerConnection::ask_export(const std::string& export_name, Start start,
                                               const char* what) {
    if (const auto selected = select_export(export_name); !selected) {
        return std::unexpected(selected.error());
    }
    OptionEnd end;
    if (start(handle_.get(), on_option_end(end)) == -1) {
        return lost(what);
    }
    if (const auto came = wait_for_option(end.done, what); !came) {
        return std::unexpected(came.error());
    }
    if (end.error != 0) {
        return fail(option_errc(end.error),
                    fmt::format("{}: {}", escaped(uri_.endpoint()), end.text));
    }
    return facts();
}

Result<ExportFacts> PeerConnection::info(const std::string& export_name) {
    return ask_export(export_name, ::nbd_aio_opt_info, "export information");
}

Result<ExportFacts> PeerConnection::open(const std::string& export_name) {
    return ask_export(export_name, ::nbd_aio_opt_go, "open");
}

Result<ExportFacts> PeerConnection::facts() const {
    nbd_handle* handle = handle_.get();
    const std::int64_t size = ::nbd_get_size(handle);
    if (size < 0) {
        return fail(Errc::invalid, fmt::format("{}: gives no usable size for the export",
                                               escaped(uri_.endpoint())));
    }
    ExportFacts facts;
    facts.size = static_cast<std::uint64_t>(size);
    facts.read_only = ::nbd_is_read_only(handle) != 0;
    facts.flush = ::nbd_can_flush(handle) == 1;
    facts.fua = ::nbd_can_fua(handle) == 1;
    facts.trim = ::nbd_can_trim(handle) == 1;
    facts.zero = ::nbd_can_zero(handle) == 1;
    facts.multi_conn = ::nbd_can_multi_conn(handle) == 1;
    facts.structured_replies = ::nbd_get_structured_replies_negotiated(handle) == 1;
    facts.tls = ::nbd_get_tls_negotiated(handle) == 1;
    facts.allocation = ::nbd_can_meta_context(handle, kAllocation) == 1;
    facts.differences = !settings_.differs_from.empty() &&
                        ::nbd_can_meta_context(handle, difference_context().c_str()) == 1;
    const std::int64_t minimum = ::nbd_get_block_size(handle, LIBNBD_SIZE_MINIMUM);
    const std::int64_t maximum = ::nbd_get_block_size(handle, LIBNBD_SIZE_MAXIMUM);
    facts.minimum_block = static_cast<std::uint32_t>(std::max<std::int64_t>(minimum, 1));
    facts.maximum_payload = static_cast<std::uint32_t>(std::max<std::int64_t>(maximum, 0));
    facts.description = take_text(::nbd_get_export_description(handle));
    return facts;
}

Result<void> PeerConnection::start_read(std::span<std::byte> buffer, std::uint64_t offset,
                                        ReadDone done) {
    auto pending = std::make_unique<PendingRead>(std::move(done));
    // On failure too, libnbd calls `free`.
    const nbd_completion_callback ended = {
        .callback = read_ended, .user_data = pending.release(), .free = drop<PendingRead>};
    if (::nbd_aio_pread(handle_.get(), buffer.data(), buffer.size(), offset, ended, 0) == -1) {
        return lost("read");
    }
    return {};
}

Result<void> PeerConnection::start_runs(std::uint64_t offset, std::uint64_t length, RunsDone done) {
    return start_status(kAllocation, offset, length, std::move(done));
}

Result<void> PeerConnection::start_differences(std::uint64_t offset, std::uint64_t length,
                                               RunsDone done) {
    return start_status(difference_context(), offset, length, std::move(done));
}

std::string PeerConnection::difference_context() const {
    return wire::kDiffPrefix + settings_.differs_from;
}

Result<void> PeerConnection::start_status(const std::string& context, std::uint64_t offset,
                                          std::uint64_t length, RunsDone done) {
    auto pending = std::make_unique<PendingRuns>(std::move(done), context, std::vector<Run>{});
    PendingRuns* shared = pending.release();
    const nbd_extent_callback came = {.callback = runs_came, .user_data = shared, .free = nullptr};
    const nbd_completion_callback ended = {
        .callback = runs_ended, .user_data = shared, .free = drop<PendingRuns>};
    if (::nbd_aio_block_status(handle_.get(), length, offset, came, ended, 0) == -1) {
        return lost("block status");
    }
    return {};
}

}  // namespace signpost
