// SPDX-License-Identifier: BSD-3-Clause
//
// signpostd: the native NBD server. main reads the configuration, takes what it needs of the
// machine, gives up the rest, starts the server and waits for signals.

#include <fcntl.h>
#include <fmt/format.h>
#include <malloc.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <optional>

#include "catalog/catalog.h"
#include "catalog/disk_name.h"
#include "nbd-server/console/file_command.h"
#include "nbd-server/disk/part_file.h"
#include "nbd-server/disk/private_directory.h"
#include "nbd-server/server/audit_log.h"
#include "nbd-server/server/console_door.h"
#include "nbd-server/server/nbd_server.h"
#include "nbd-server/server/process_limits.h"
#include "nbd-server/server/server_log.h"
#include "nbd-server/server/service_notify.h"

namespace signpost {
namespace {

using Clock = std::chrono::steady_clock;

constexpr unsigned kLastSeconds = 5;  // after the drain timeout the process ends, whatever happens

// In which order main waits for them; all threads have them blocked.
sigset_t signals_of_main() {
    sigset_t set;
    sigemptyset(&set);
    for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGUSR1}) {
        sigaddset(&set, number);
    }
    return set;
}

// Payloads come from the heap, not from a new mapping each, but for those so large that moving them
// takes longer than mapping them. What the heap keeps when they are gone is bounded: by an arena's
// share of what may be resident beyond the memory budget.
void prepare_heap() {
    mallopt(M_MMAP_THRESHOLD, 4 << 20);
    mallopt(M_TRIM_THRESHOLD, 12 << 20);
    mallopt(M_ARENA_MAX, 4);
}

void add_tree(std::vector<std::string>& trees, const std::string& path) {
    if (!path.empty()) {
        trees.push_back(path);
    }
}

std::string directory_of(const std::string& path) {
    const auto parent = std::filesystem::absolute(path).parent_path();
    return parent.string();
}

// All that the server has business with.
FileTrees trees_of(const ServerConfiguration& configuration, const FederationSettings& settings) {
    FileTrees trees;
    const bool writable = settings.repository_options.writable;
    const bool moves = settings.copies && !settings.uri.empty();
    for (const std::string& repository : settings.repositories) {
        add_tree(writable ? trees.writable : moves ? trees.landing : trees.readable, repository);
    }
    if (moves && !settings.repositories.empty()) {
        add_tree(trees.writable,
                 fmt::format("{}/{}", settings.repositories.front(), kStagingDirectory));
    }
    const std::string catalog =
        settings.catalog_url.empty() ? default_catalog_url() : settings.catalog_url;
    CatalogFiles files = catalog_files(catalog);
    trees.writable.insert(trees.writable.end(), files.writable.begin(), files.writable.end());
    trees.readable.insert(trees.readable.end(), files.readable.begin(), files.readable.end());
    add_tree(trees.writable, settings.own_state);
    add_tree(trees.writable, settings.cache.directory);
    for (const std::string& path :
         {configuration.tls.certificates, configuration.tls.psk_file, configuration.peer_keys,
          settings.relay.tls.certificates, settings.relay.tls.psk_file}) {
        add_tree(trees.readable, path);
    }
    for (const std::string& file : configuration.files) {
        add_tree(trees.readable, directory_of(file));
    }
    for (const ListenAddress& address : configuration.listen) {
        if (address.kind == ListenAddress::Kind::unix_socket) {
            add_tree(trees.writable, directory_of(address.name));
        }
    }
    if (!configuration.log.audit.empty() && configuration.log.audit != "-") {
        add_tree(trees.writable, directory_of(configuration.log.audit));
    }
    if (!configuration.http.users.empty()) {
        add_tree(trees.readable, directory_of(configuration.http.users));
        // The console's commands, which need not be where programs are.
        trees.programs = FileCommand::programs();
    }
    if (!configuration.pid_file.empty()) {
        add_tree(trees.writable, directory_of(configuration.pid_file));
    }
    for (const std::string& parent : private_directory_parents()) {
        add_tree(trees.writable, parent);
    }
    trees.devices = settings.repository_options.block_devices;
    return trees;
}

// The client of --stdio. Descriptors 0 and 1 become /dev/null, so that nothing else ever speaks on
// its socket.
Result<UniqueFd> take_standard_socket() {
    int type = 0;
    socklen_t size = sizeof type;
    if (::getsockopt(0, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_STREAM) {
        return fail(Errc::invalid,
                    "--stdio: standard input is no stream socket; start signpostd from inetd, or "
                    "from a client that makes one, such as `nbdinfo -- [ signpostd --stdio ]`");
    }
    UniqueFd socket(::fcntl(0, F_DUPFD_CLOEXEC, 3));
    const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    if (!socket || !null || ::fcntl(socket.get(), F_SETFL, O_NONBLOCK) != 0 ||
        ::dup2(null.get(), 0) < 0 || ::dup2(null.get(), 1) < 0) {
        return fail(Errc::io, fmt::format("--stdio: {}", std::strerror(errno)));
    }
    return socket;
}

class PidFile {
   public:
    explicit PidFile(std::string path) : path_(std::move(path)) {
        if (!path_.empty()) {
            std::ofstream(path_) << getpid() << '\n';
        }
    }
    PidFile(const PidFile&) = delete;
    PidFile& operator=(const PidFile&) = delete;
    ~PidFile() {
        if (!path_.empty()) {
            ::unlink(path_.c_str());
        }
    }

   private:
    const std::string path_;
};

// What main does until the process ends.
class Program {
   public:
    Program(std::vector<std::string> words, ServerEnvironment environment,
            ServerConfiguration configuration, ServiceNotify notify)
        : words_(std::move(words)),
          environment_(std::move(environment)),
          configuration_(std::move(configuration)),
          notify_(std::move(notify)),
          log_({.format = configuration_.log.format,
                .verbose = configuration_.log.verbose,
                .journal = ServerLog::to_journal(2)}) {}

    int run(std::vector<PassedSocket> passed) {
        const auto done = start(std::move(passed));
        if (!done) {
            log_.error(done.error().message);
            return 1;
        }
        const int status = wait();
        console_.reset();
        if (!server_->end_sessions()) {
            log_.error("some requests cannot be ended: look at the storage of the repositories");
            pid_file_.reset();
            ::_exit(status);
        }
        server_.reset();
        return status;
    }

   private:
    Result<void> start(std::vector<PassedSocket> passed) {
        for (const std::string& warning : configuration_.warnings) {
            log_.warning(warning);
        }
        UniqueFd client;
        if (configuration_.stdio) {
            auto taken = take_standard_socket();
            if (!taken) {
                return std::unexpected(std::move(taken.error()));
            }
            client = std::move(*taken);
        }
        raise_open_files();
        auto sockets = open_listeners(configuration_.listen, std::move(passed));
        if (!sockets) {
            return std::unexpected(std::move(sockets.error()));
        }
        auto http_sockets = open_listeners(configuration_.http.listen, {});
        if (!http_sockets) {
            return std::unexpected(std::move(http_sockets.error()));
        }
        if (auto dropped = give_up_rights(); !dropped) {
            return dropped;
        }
        auto policy = load_policy(configuration_);
        if (!policy) {
            return std::unexpected(std::move(policy.error()));
        }
        FederationSettings wished = configuration_.federation;
        if (wished.state_directory.empty()) {
            wished.state_directory = default_state_directory();
        }
        auto settings = check_federation(std::move(wished), log_);
        if (!settings) {
            return std::unexpected(std::move(settings.error()));
        }
        if (auto confined = confine(*settings); !confined) {
            return confined;
        }
        if (auto opened = open_audit(); !opened) {
            return opened;
        }
        FederationSettings checked = *settings;
        auto server = NbdServer::start(configuration_, std::move(*settings), std::move(*policy),
                                       log_, audit_.get());
        if (!server) {
            return std::unexpected(std::move(server.error()));
        }
        server_ = std::move(*server);
        pid_file_.emplace(configuration_.pid_file);
        auto door = ConsoleDoor::start({.server = *server_,
                                        .log = log_,
                                        .audit = audit_.get(),
                                        .configuration = configuration_,
                                        .federation = std::move(checked),
                                        .sockets = std::move(*http_sockets)});
        if (!door) {
            return std::unexpected(std::move(door.error()));
        }
        console_ = std::move(*door);
        say_where(*sockets);
        server_->listen(std::move(*sockets));
        if (client) {
            server_->serve(std::move(client));
        }
        notify_.ready("serving");
        return {};
    }

    void say_where(const std::vector<ListeningSocket>& sockets) {
        for (const ListeningSocket& socket : sockets) {
            log_.info(fmt::format("serving on {}", socket.name));
        }
    }

    Result<void> give_up_rights() {
        if (!configuration_.user.empty()) {
            if (auto dropped = drop_privileges(configuration_.user); !dropped) {
                return dropped;
            }
        }
        return forbid_new_privileges();
    }

    Result<void> confine(const FederationSettings& settings) {
        const auto confined = confine_to(trees_of(configuration_, settings));
        if (!confined) {
            return std::unexpected(confined.error());
        }
        if (*confined == Confinement::not_supported) {
            log_.info("this kernel has no Landlock: the server can reach what its user can");
        }
        return {};
    }

    Result<void> open_audit() {
        if (configuration_.log.audit.empty()) {
            return {};
        }
        auto opened = AuditLog::open(configuration_.log.audit, log_);
        if (!opened) {
            return std::unexpected(std::move(opened.error()));
        }
        audit_ = std::move(*opened);
        return {};
    }

    // The next signal, or nothing when it is time to look after something else.
    int next_signal(Clock::duration limit) {
        const sigset_t set = signals_of_main();
        const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(limit);
        const timespec wait{seconds.count(), (limit - seconds).count()};
        return sigtimedwait(&set, nullptr, &wait);
    }

    int wait() {
        const auto beat = notify_.keep_alive_interval();
        const Clock::duration turn = configuration_.stdio
                                         ? Clock::duration(std::chrono::milliseconds(50))
                                     : beat ? Clock::duration(*beat)
                                            : Clock::duration(std::chrono::seconds(5));
        for (;;) {
            const auto tick = console_->tick() - Clock::now();
            const int number = next_signal(std::clamp(tick, Clock::duration(0), turn));
            notify_.keep_alive();
            if (number == SIGHUP) {
                reload();
            } else if (number == SIGUSR1) {
                reopen_audit();
            } else if (number == SIGTERM || number == SIGINT) {
                return drain();
            }
            if (configuration_.stdio && server_->sessions() == 0) {
                return 0;
            }
        }
    }

    int drain() {
        notify_.stopping("finishing what is under way");
        log_.info(fmt::format("stopping: {} sessions end; a second signal ends them at once",
                              server_->sessions()));
        ::alarm(static_cast<unsigned>(configuration_.limits.drain_timeout.count()) + kLastSeconds);
        server_->drain();
        const auto until = Clock::now() + configuration_.limits.drain_timeout;
        while (server_->sessions() > 0 && Clock::now() < until) {
            const int number = next_signal(std::chrono::milliseconds(10));
            notify_.keep_alive();
            if (number == SIGTERM || number == SIGINT) {
                break;
            }
        }
        if (const unsigned left = server_->sessions(); left > 0) {
            log_.info(fmt::format("{} sessions are cut off", left));
        }
        return 0;
    }

    // Rules, certificates and keys, for sessions to come. What cannot be read changes nothing.
    void reload() {
        notify_.reloading();
        auto again = configure(words_, environment_);
        if (const auto* answer = std::get_if<ServerAnswer>(&again)) {
            log_.error(
                fmt::format("not reloaded, the configuration has mistakes: {}", answer->errors));
        } else if (auto policy = load_policy(std::get<ServerConfiguration>(again)); !policy) {
            log_.error(fmt::format("not reloaded: {}", policy.error().message));
        } else {
            server_->set_policy(std::move(*policy));
            log_.info("access rules, certificates and keys were read again");
        }
        reopen_audit();
        notify_.ready("serving");
    }

    void reopen_audit() {
        if (audit_ == nullptr) {
            return;
        }
        if (auto reopened = audit_->reopen(); !reopened) {
            log_.error(reopened.error().message);
        }
    }

    const std::vector<std::string> words_;
    const ServerEnvironment environment_;
    const ServerConfiguration configuration_;
    const ServiceNotify notify_;
    ServerLog log_;
    std::optional<PidFile> pid_file_;
    std::unique_ptr<AuditLog> audit_;
    std::unique_ptr<NbdServer> server_;
    std::unique_ptr<ConsoleDoor> console_;
};

int run(const std::vector<std::string>& words) {
    prepare_heap();
    signal(SIGPIPE, SIG_IGN);
    const sigset_t set = signals_of_main();
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    auto notify = ServiceNotify::take_environment();
    const auto environment = ServerEnvironment::of_process();
    auto configured = configure(words, environment);
    if (const auto* answer = std::get_if<ServerAnswer>(&configured)) {
        std::fputs(answer->output.c_str(), stdout);
        std::fputs(answer->errors.c_str(), stderr);
        return answer->status;
    }
    auto passed = take_passed_sockets();
    if (!passed) {
        std::fprintf(stderr, "signpostd: %s\n", passed.error().message.c_str());
        return 1;
    }
    Program program(words, environment, std::move(std::get<ServerConfiguration>(configured)),
                    std::move(notify));
    return program.run(std::move(*passed));
}

}  // namespace
}  // namespace signpost

int main(int argc, char** argv) {
    return signpost::run({argv + 1, argv + argc});
}
