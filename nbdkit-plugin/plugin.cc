// SPDX-License-Identifier: BSD-3-Clause
//
// The nbdkit plugin: nbdkit's callbacks on one side, Federation and Disk on the other.
//
// nbdkit hands its callbacks no context, so what the process serves hangs from one pointer here. It
// is made when the first parameter comes and ended in .unload; nothing is left to static
// destructors, because nbdkit may leave by exit() while threads still run.
//
// Order of nbdkit: .config…, .config_complete, .get_ready (messages are seen; no thread yet), fork,
// .after_fork (threads start), sessions, .cleanup, .unload.
//
// No exception leaves a callback: the frames above are C.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "catalog/sqlite_schema.h"
#include "nbd-server/disk/federation.h"
#include "nbdkit-plugin/nbdkit_log.h"
#include "nbdkit-plugin/parameters.h"

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

// Of the libraries inside; their headers cost seconds and are not needed for this.
extern "C" const char* sqlite3_libversion(void);
extern "C" const char* gnutls_check_version(const char* wanted);

namespace signpost {

namespace {

constexpr std::size_t kMaxExports = 10'000;  // nbdkit's own limit

struct Process {
    NbdkitLog log;
    Parameters parameters;
    FederationSettings settings;
    std::unique_ptr<Federation> federation;
};

Process* process = nullptr;

Process& the_process() {
    if (process == nullptr) {
        process = new Process;
    }
    return *process;
}

// One client's connection.
struct Session {
    std::shared_ptr<Disk> disk;
};

int errno_of(Errc code) {
    switch (code) {
        case Errc::invalid:
            return EINVAL;
        case Errc::not_found:
            return ENOENT;
        case Errc::conflict:
            return EBUSY;
        case Errc::denied:
            return EPERM;
        case Errc::full:
            return ENOSPC;
        case Errc::unavailable:
        case Errc::corrupt:
        case Errc::too_new:
        case Errc::io:
            return EIO;
    }
    return EIO;
}

void report(const Error& error) {
    nbdkit_error("%s", error.message.c_str());
    nbdkit_set_error(errno_of(error.code));
}

// Runs BODY; FAILED when it throws.
template <class T, class Body>
T guarded(T failed, Body body) noexcept {
    try {
        return body();
    } catch (const std::bad_alloc&) {
        nbdkit_error("out of memory");
        nbdkit_set_error(ENOMEM);
    } catch (const std::exception& error) {
        nbdkit_error("unexpected: %s", error.what());
        nbdkit_set_error(EIO);
    } catch (...) {
        nbdkit_error("unexpected: an exception of unknown type");
        nbdkit_set_error(EIO);
    }
    return failed;
}

int succeeded(const Result<void>& result) {
    if (result) {
        return 0;
    }
    report(result.error());
    return -1;
}

// ---- The life of the process

int config(const char* key, const char* value) {
    return guarded(-1, [&] { return succeeded(the_process().parameters.set(key, value)); });
}

int config_complete() {
    return guarded(-1, [] {
        auto settings = the_process().parameters.finish();
        if (!settings) {
            report(settings.error());
            return -1;
        }
        the_process().settings = std::move(*settings);
        return 0;
    });
}

int get_ready() {
    return guarded(-1, [] {
        auto checked = check_federation(the_process().settings, the_process().log);
        if (!checked) {
            report(checked.error());
            return -1;
        }
        the_process().settings = std::move(*checked);
        return 0;
    });
}

int after_fork() {
    return guarded(-1, [] {
        auto federation = start_federation(the_process().settings, the_process().log);
        if (!federation) {
            report(federation.error());
            return -1;
        }
        the_process().federation = std::move(*federation);
        return 0;
    });
}

void cleanup() {
    guarded(0, [] {
        the_process().federation.reset();
        return 0;
    });
}

void unload() {
    guarded(0, [] {
        delete process;
        process = nullptr;
        return 0;
    });
}

void dump_plugin() {
    std::printf("signpost_version=%s\n", SIGNPOST_VERSION);
    std::printf("signpost_schema=%zu\n", catalog_migrations().size());
    std::printf("signpost_sqlite_version=%s\n", sqlite3_libversion());
    std::printf("signpost_gnutls_version=%s\n", gnutls_check_version(nullptr));
}

// ---- Which disks there are

int list_exports(int, int, nbdkit_exports* exports) {
    return guarded(-1, [&] {
        const auto listing = the_process().federation->exports(kMaxExports);
        if (!listing) {
            report(listing.error());
            return -1;
        }
        for (const ExportEntry& entry : listing->entries) {
            if (nbdkit_add_export(exports, entry.name.c_str(), entry.description.c_str()) == -1) {
                return -1;
            }
        }
        if (!listing->complete) {
            nbdkit_debug(
                "the export list was cut after %zu disks; every disk can be opened by its "
                "name, and `signpost ls` shows all",
                listing->entries.size());
        }
        return 0;
    });
}

// The only disk's name. With none or several there is no default, and the reason is said: nbdkit
// itself only tells the client that it is not permitted.
const char* default_export(int, int) {
    return guarded<const char*>(nullptr, []() -> const char* {
        const auto listing = the_process().federation->exports(2);
        if (!listing) {
            report(listing.error());
            return nullptr;
        }
        if (listing->entries.size() == 1 && listing->complete) {
            return nbdkit_strdup_intern(listing->entries.front().name.c_str());
        }
        nbdkit_error(listing->entries.empty()
                         ? "there is no default export: no disk is known yet"
                         : "there is no default export: there are several disks; ask for one by "
                           "name, `nbdinfo --list` shows them");
        return nullptr;
    });
}

// ---- One session

Disk& disk_of(void* handle) {
    return *static_cast<Session*>(handle)->disk;
}

const DiskTraits& traits_of(void* handle) {
    return disk_of(handle).traits();
}

// nbdkit says where a client is, not whom its certificate names.
std::string identity_of_peer() {
    sockaddr_storage address{};
    socklen_t length = sizeof address;
    if (nbdkit_peer_name(reinterpret_cast<sockaddr*>(&address), &length) == -1) {
        return "";
    }
    if (address.ss_family == AF_UNIX) {
        const std::int64_t uid = nbdkit_peer_uid();
        return uid == -1 ? "" : "uid " + std::to_string(uid);
    }
    char text[INET6_ADDRSTRLEN] = "";
    const void* const host =
        address.ss_family == AF_INET
            ? static_cast<const void*>(&reinterpret_cast<sockaddr_in&>(address).sin_addr)
            : &reinterpret_cast<sockaddr_in6&>(address).sin6_addr;
    if (address.ss_family == AF_INET || address.ss_family == AF_INET6) {
        ::inet_ntop(address.ss_family, host, text, sizeof text);
    }
    return text;
}

void* open_session(int readonly) {
    return guarded<void*>(nullptr, [&]() -> void* {
        const char* const name = nbdkit_export_name();
        if (name == nullptr) {
            return nullptr;
        }
        Asker asker;
        asker.identity = readonly == 0 ? identity_of_peer() : "";
        auto disk = the_process().federation->open(name, readonly == 0, asker);
        if (!disk) {
            report(disk.error());
            return nullptr;
        }
        return new Session{std::move(*disk)};
    });
}

void close_session(void* handle) {
    guarded(0, [&] {
        // nbdkit does not tell a farewell from a connection that was cut.
        disk_of(handle).farewell();
        delete static_cast<Session*>(handle);
        return 0;
    });
}

const char* export_description(void* handle) {
    return nbdkit_strdup_intern(traits_of(handle).description.c_str());
}

std::int64_t get_size(void* handle) {
    return static_cast<std::int64_t>(traits_of(handle).size);
}

int can_write(void* handle) {
    return traits_of(handle).read_only ? 0 : 1;
}

int can_flush(void*) {
    return 1;
}

int can_fua(void*) {
    return NBDKIT_FUA_NATIVE;
}

int can_zero(void*) {
    return 1;
}

// Always offered, because it costs nothing to refuse a request that would be slow, and nbdkit 1.32
// aborts when a client asks for it though it was not offered.
int can_fast_zero(void*) {
    return 1;
}

int can_multi_conn(void* handle) {
    return traits_of(handle).multi_conn ? 1 : 0;
}

int can_extents(void*) {
    return 1;
}

int can_cache(void*) {
    return NBDKIT_CACHE_NATIVE;
}

int is_rotational(void* handle) {
    return traits_of(handle).rotational ? 1 : 0;
}

int block_size(void* handle, std::uint32_t* minimum, std::uint32_t* preferred,
               std::uint32_t* maximum) {
    const DiskTraits& traits = traits_of(handle);
    *minimum = traits.minimum_block;
    *preferred = traits.preferred_block;
    *maximum = static_cast<std::uint32_t>(kMaxPayload);
    return 0;
}

// ---- Requests

std::uint8_t request_flags(std::uint32_t flags) {
    std::uint8_t ours = 0;
    ours |= (flags & NBDKIT_FLAG_FUA) != 0 ? kRequestFua : 0;
    ours |= (flags & NBDKIT_FLAG_FAST_ZERO) != 0 ? kRequestFastZero : 0;
    ours |= (flags & NBDKIT_FLAG_REQ_ONE) != 0 ? kRequestOneExtent : 0;
    return ours;
}

Request make_request(Op op, std::uint32_t count, std::uint64_t offset, std::uint32_t flags) {
    Request request;
    request.op = op;
    request.flags = request_flags(flags);
    request.offset = offset;
    request.length = count;
    return request;
}

// The cause of an error has been logged by whoever found it.
int run(void* handle, Request& request) {
    return guarded(-1, [&] {
        const int error = submit_and_wait(disk_of(handle), request);
        if (error == 0) {
            return 0;
        }
        nbdkit_set_error(error == EBUSY || error == ESTALE ? EPERM : error);
        return -1;
    });
}

// What a cache has at hand is copied on this thread; the loop is for the rest.
bool read_cached(void* handle, const Request& request) {
    return guarded(false, [&] {
        Disk& disk = disk_of(handle);
        return disk.home_loop() != nullptr && disk.is_near() && request.length > 0 &&
               request.offset <= disk.traits().size &&
               request.length <= disk.traits().size - request.offset &&
               disk.read_now(request.offset, {request.buffer, request.length}) == Disk::Now::done;
    });
}

int pread(void* handle, void* buffer, std::uint32_t count, std::uint64_t offset,
          std::uint32_t flags) {
    Request request = make_request(Op::read, count, offset, flags);
    request.buffer = static_cast<std::byte*>(buffer);
    return read_cached(handle, request) ? 0 : run(handle, request);
}

int pwrite(void* handle, const void* buffer, std::uint32_t count, std::uint64_t offset,
           std::uint32_t flags) {
    Request request = make_request(Op::write, count, offset, flags);
    // A write only takes from its buffer.
    request.buffer = static_cast<std::byte*>(const_cast<void*>(buffer));
    return run(handle, request);
}

int flush(void* handle, std::uint32_t flags) {
    Request request = make_request(Op::flush, 0, 0, flags);
    return run(handle, request);
}

int trim(void* handle, std::uint32_t count, std::uint64_t offset, std::uint32_t flags) {
    Request request = make_request(Op::trim, count, offset, flags);
    return run(handle, request);
}

int zero(void* handle, std::uint32_t count, std::uint64_t offset, std::uint32_t flags) {
    if ((flags & NBDKIT_FLAG_FAST_ZERO) != 0 && !traits_of(handle).fast_zero) {
        nbdkit_set_error(ENOTSUP);
        return -1;
    }
    Request request = make_request(Op::write_zeroes, count, offset, flags);
    if ((flags & NBDKIT_FLAG_MAY_TRIM) == 0) {
        request.flags |= kRequestNoHole;
    }
    return run(handle, request);
}

int cache(void* handle, std::uint32_t count, std::uint64_t offset, std::uint32_t flags) {
    Request request = make_request(Op::cache, count, offset, flags);
    return run(handle, request);
}

int extents(void* handle, std::uint32_t count, std::uint64_t offset, std::uint32_t flags,
            nbdkit_extents* list) {
    return guarded(-1, [&] {
        std::vector<Extent> found;
        Request request = make_request(Op::extents, count, offset, flags);
        request.extents = &found;
        if (run(handle, request) == -1) {
            return -1;
        }
        std::uint64_t position = offset;
        for (const Extent& extent : found) {
            // NBD's two bits of base:allocation are nbdkit's, too.
            if (nbdkit_add_extent(list, position, extent.length, extent.flags) == -1) {
                return -1;
            }
            position += extent.length;
        }
        return 0;
    });
}

nbdkit_plugin describe() {
    nbdkit_plugin plugin{};
    plugin.name = "signpost";
    plugin.longname = "Signpost: any disk of a federation of NBD servers";
    plugin.version = SIGNPOST_VERSION;
    plugin.description = "Serves the disk images of this server, and relays those of its peers.";
    plugin.config = config;
    plugin.config_complete = config_complete;
    plugin.config_help = kParameterHelp;
    plugin.magic_config_key = "repository";
    plugin.get_ready = get_ready;
    plugin.after_fork = after_fork;
    plugin.cleanup = cleanup;
    plugin.unload = unload;
    plugin.dump_plugin = dump_plugin;
    plugin.list_exports = list_exports;
    plugin.default_export = default_export;
    plugin.export_description = export_description;
    plugin.open = open_session;
    plugin.close = close_session;
    plugin.get_size = get_size;
    plugin.can_write = can_write;
    plugin.can_flush = can_flush;
    plugin.can_fua = can_fua;
    plugin.can_trim = can_write;
    plugin.can_zero = can_zero;
    plugin.can_fast_zero = can_fast_zero;
    plugin.can_multi_conn = can_multi_conn;
    plugin.can_extents = can_extents;
    plugin.can_cache = can_cache;
    plugin.is_rotational = is_rotational;
    plugin.block_size = block_size;
    plugin.pread = pread;
    plugin.pwrite = pwrite;
    plugin.flush = flush;
    plugin.trim = trim;
    plugin.zero = zero;
    plugin.cache = cache;
    plugin.extents = extents;
    return plugin;
}

nbdkit_plugin plugin = describe();

}  // namespace

}  // namespace signpost

NBDKIT_REGISTER_PLUGIN(signpost::plugin)
