// SPDX-License-Identifier: BSD-3-Clause
//
// `init`: a first configuration for signpostd. What flags do not say is asked, where somebody can
// answer, and each answer is looked at before the next question.

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include "cli/child_process.h"
#include "cli/federation_view.h"
#include "cli/first_configuration.h"
#include "cli/json_output.h"
#include "cli/verbs.h"
#include "nbd-server/disk/beneath.h"
#include "terminal/text.h"

namespace signpost {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kNone = "none";
constexpr const char* kUsualCertificates = "/etc/pki/signpost";
constexpr const char* kServerUser = "signpost";
constexpr int kTries = 5;
constexpr std::uint16_t kConsolePort = 10880;
constexpr std::chrono::seconds kCheckTime{30};

std::unexpected<Failure> usage(std::string message) {
    return failure(ExitCode::usage, std::move(message));
}

std::string default_file() {
    if (::geteuid() == 0) {
        return "/etc/signpost/signpost.toml";
    }
    const char* config = std::getenv("XDG_CONFIG_HOME");
    const char* home = std::getenv("HOME");
    return config != nullptr && *config == '/'
               ? fmt::format("{}/signpost/signpost.toml", config)
               : fmt::format("{}/.config/signpost/signpost.toml", home != nullptr ? home : "");
}

Outcome<std::string> checked_directory(std::string_view given) {
    std::error_code error;
    const fs::path path = fs::absolute(fs::path(given), error).lexically_normal();
    const std::string text = path.has_filename() ? path.string() : path.parent_path().string();
    if (error || !fs::is_directory(path, error)) {
        return usage(fmt::format("{} is no directory", escaped(given)));
    }
    if (::access(text.c_str(), R_OK | X_OK) != 0) {
        return usage(fmt::format("{} cannot be read: {}", escaped(text), error_text(errno)));
    }
    return text;
}

Outcome<std::vector<std::string>> checked_directories(std::string_view given) {
    std::vector<std::string> directories;
    while (!given.empty() && given != kNone) {
        const auto comma = std::min(given.find(','), given.size());
        std::string_view word = given.substr(0, comma);
        given.remove_prefix(std::min(comma + 1, given.size()));
        word.remove_prefix(std::min(word.find_first_not_of(' '), word.size()));
        word = word.substr(0, word.find_last_not_of(' ') + 1);
        auto directory = checked_directory(word);
        if (!directory) {
            return std::unexpected(directory.error());
        }
        directories.push_back(std::move(*directory));
    }
    return directories;
}

Outcome<std::string> checked_certificates(std::string_view given) {
    if (given == kNone) {
        return "";
    }
    auto directory = checked_directory(given);
    if (!directory) {
        return directory;
    }
    for (const char* file : {"ca-cert.pem", "server-cert.pem", "server-key.pem"}) {
        const std::string path = fmt::format("{}/{}", *directory, file);
        if (::access(path.c_str(), R_OK) != 0) {
            return usage(fmt::format("{}: {}; certtool(1) of gnutls-bin makes it", escaped(path),
                                     error_text(errno)));
        }
    }
    return directory;
}

Outcome<std::string> checked_server(std::string_view given) {
    const auto checked = check_server_name(given);
    return checked ? Outcome<std::string>(std::string(given)) : usage(checked.error().message);
}

// "alpha.example", "nbd://alpha.example:10810"; "none": this machine alone.
Outcome<NbdUri> checked_address(std::string_view given) {
    const std::string text = given == kNone                    ? "nbd://127.0.0.1"
                             : given.find("://") == given.npos ? fmt::format("nbd://{}", given)
                                                               : std::string(given);
    auto uri = NbdUri::parse(text);
    if (!uri) {
        return usage(uri.error().message);
    }
    if (!uri->export_name.empty()) {
        return usage(fmt::format("{} names an export; the server's address is {}", escaped(text),
                                 uri->with_export("").str()));
    }
    return std::move(*uri);
}

// A path is made absolute: in the file it would begin at the file's own directory.
std::string absolute_catalog(std::string_view url) {
    if (url.find("://") != url.npos) {
        return std::string(url);
    }
    constexpr std::string_view kScheme = "sqlite:";
    const std::string_view path = url.starts_with(kScheme) ? url.substr(kScheme.size()) : url;
    std::error_code error;
    return std::string(kScheme) + fs::absolute(path, error).lexically_normal().string();
}

// What is to be said of the catalog before the server starts; empty: nothing.
Outcome<std::string> look_at_catalog(const std::string& url) {
    const auto catalog = open_catalog(url, OpenMode::read_only, CatalogUser::person);
    if (catalog) {
        return "";
    }
    if (catalog.error().code != Errc::not_found) {
        return std::unexpected(catalog_failure(catalog.error()));
    }
    const CatalogFiles files = catalog_files(url);
    if (files.writable.empty()) {
        return "the database has no catalog yet: signpost catalog init makes it";
    }
    fs::path place = files.writable.front();  // the server makes the file, and what is missing
    std::error_code error;
    while (!fs::exists(place, error) && place.has_relative_path()) {
        place = place.parent_path();
    }
    if (::access(place.c_str(), W_OK | X_OK) != 0) {
        return usage(fmt::format("no catalog can be made in {}: {}: {}",
                                 escaped(files.writable.front()), escaped(place.string()),
                                 error_text(errno)));
    }
    return "";
}

bool has_password(std::string_view url) {
    const auto at = url.find('@');
    const auto scheme = url.find("://");
    return (at != url.npos && scheme != url.npos &&
            url.substr(scheme + 3, at - scheme - 3).find(':') != url.npos) ||
           url.find("password=") != url.npos;
}

// Whether USER, whom the server becomes, could read the directory. Asked in a child that is him.
bool is_readable_for(const passwd& user, const std::string& directory) {
    const pid_t child = ::fork();
    if (child == 0) {
        const bool is_him = ::initgroups(user.pw_name, user.pw_gid) == 0 &&
                            ::setgid(user.pw_gid) == 0 && ::setuid(user.pw_uid) == 0;
        ::_exit(is_him && ::access(directory.c_str(), R_OK | X_OK) == 0 ? 0 : 1);
    }
    int status = 0;
    return child < 0 || (::waitpid(child, &status, 0) == child && status == 0);
}

class Initiation {
   public:
    Initiation(const Context& context, const InitVerb& verb)
        : context_(context),
          verb_(verb),
          asks_(context.console.can_ask() && !context.options.yes),
          file_(verb.file.empty() ? default_file() : verb.file) {}

    VerbResult run();

   private:
    template <class Check>
    auto answer(const std::string& question, const std::optional<std::string>& given,
                const std::string& usual, Check check) -> decltype(check(std::string_view()));
    Outcome<void> may_write();
    Outcome<void> take_answers();
    Outcome<void> take_repositories();
    Outcome<void> take_address();
    Outcome<void> take_catalog();
    void take_console();
    Outcome<void> write_file();
    Outcome<void> check_file(const std::string& file);
    void warn() const;
    void say_what_is_next() const;
    void note(const std::string& text) const { context_.console.note("signpost: " + text); }

    const Context& context_;
    const InitVerb& verb_;
    bool asks_;
    std::string file_;
    bool replaces_ = false;
    FirstConfiguration configuration_;
    std::string before_start_;  // a command
};

template <class Check>
auto Initiation::answer(const std::string& question, const std::optional<std::string>& given,
                        const std::string& usual, Check check)
    -> decltype(check(std::string_view())) {
    if (given || !asks_) {
        return check(given ? *given : usual);
    }
    for (int i = 1;; ++i) {
        const auto line = context_.console.ask_line(fmt::format("{} [{}]: ", question, usual));
        if (!line) {
            return failure(ExitCode::failed, "nothing was written");
        }
        auto checked = check(line->empty() ? usual : *line);
        if (checked || i == kTries) {
            return checked;
        }
        note(checked.error().message);
    }
}

Outcome<void> Initiation::may_write() {
    if (::access(file_.c_str(), F_OK) != 0 || context_.options.dry_run) {
        return {};
    }
    replaces_ =
        verb_.force ||
        (asks_ && context_.console.ask(fmt::format("{} is there. Replace it?", escaped(file_))));
    if (!replaces_) {
        return failure(ExitCode::conflict,
                       fmt::format("{} is there, and was not changed; --force replaces it, and "
                                   "keeps it as {}.old",
                                   escaped(file_), escaped(file_)));
    }
    return {};
}

Outcome<void> Initiation::take_repositories() {
    std::string usual;
    if (!verb_.repositories) {
        for (const ImagePlace& place : find_images(usual_directories())) {
            note(
                fmt::format("{} has {}", escaped(place.directory), counted(place.images, "image")));
            usual += usual.empty() ? place.directory : "," + place.directory;
        }
    }
    auto directories =
        answer("Directories with disk images, separated by commas; none for a gateway",
               verb_.repositories, usual.empty() ? std::string(kNone) : usual, checked_directories);
    if (!directories) {
        return std::unexpected(directories.error());
    }
    configuration_.repositories = std::move(*directories);
    return {};
}

Outcome<void> Initiation::take_address() {
    const auto given = context_.options.uri ? std::optional(context_.options.uri->str())
                                            : std::optional<std::string>();
    auto uri = answer("Address of this server for other machines; none for this machine alone",
                      given, std::string(kNone), checked_address);
    if (!uri) {
        return std::unexpected(uri.error());
    }
    configuration_.uri = std::move(*uri);
    const bool local = configuration_.uri.is_unix() || is_loopback(configuration_.uri.host);
    const auto certificates = context_.options.tls.certificates.empty()
                                  ? std::optional<std::string>()
                                  : std::optional(context_.options.tls.certificates);
    if (!local || certificates) {
        auto directory = answer(
            "Directory with TLS certificates; none to let in everybody", certificates,
            checked_certificates(kUsualCertificates) ? kUsualCertificates : std::string(kNone),
            checked_certificates);
        if (!directory) {
            return std::unexpected(directory.error());
        }
        configuration_.certificates = std::move(*directory);
        configuration_.uri.tls = !configuration_.certificates.empty();
    }
    configuration_.listen = verb_.listen;
    if (!verb_.listen.empty()) {
        return {};
    }
    if (configuration_.uri.is_unix()) {
        configuration_.listen = {"unix:" + configuration_.uri.socket_path};
        return {};
    }
    std::uint16_t& port = configuration_.uri.port;
    const auto free = free_port_from(port, local);
    if (!given && free && *free != port) {
        note(fmt::format("port {} is taken: {} it is", port, *free));
        port = *free;
    } else if (free != port) {
        note(fmt::format("port {} is taken now, by whom says: ss -tlnp", port));
    }
    configuration_.listen = {fmt::format("{}:{}", local ? "127.0.0.1" : "", port)};
    return {};
}

void Initiation::take_console() {
    configuration_.http = verb_.http == "off" ? "" : verb_.http;
    if (configuration_.http == "on") {
        const auto port = free_port_from(kConsolePort, true);
        configuration_.http = fmt::format("127.0.0.1:{}", port.value_or(kConsolePort));
    }
}

Outcome<void> Initiation::take_catalog() {
    const auto given = verb_.catalog_given ? std::optional(context_.options.catalog)
                                           : std::optional<std::string>();
    const auto looked =
        answer("Catalog that the servers share, sqlite:PATH or postgresql://USER@HOST/DATABASE",
               given, context_.options.catalog, [&](std::string_view url) {
                   configuration_.catalog = absolute_catalog(url);
                   return look_at_catalog(configuration_.catalog);
               });
    if (!looked) {
        return std::unexpected(looked.error());
    }
    if (!looked->empty()) {
        note(*looked);
        before_start_ = fmt::format("signpost --catalog '{}' catalog init", configuration_.catalog);
    }
    return {};
}

Outcome<void> Initiation::take_answers() {
    if (const auto taken = take_repositories(); !taken) {
        return taken;
    }
    const auto& options = context_.options;
    auto server = answer(
        "Name of this server",
        options.server_given ? std::optional(options.own_server) : std::optional<std::string>(),
        options.own_server, checked_server);
    if (!server) {
        return std::unexpected(server.error());
    }
    configuration_.server = std::move(*server);
    configuration_.site = verb_.site;
    configuration_.writable = verb_.writable;
    take_console();
    if (const auto taken = take_address(); !taken) {
        return taken;
    }
    return take_catalog();
}

// As signpostd looks at it.
Outcome<void> Initiation::check_file(const std::string& file) {
    const auto program = find_own_program("signpostd");
    if (!program) {
        note(fmt::format("the configuration was not checked: {}", program.error().message));
        return {};
    }
    const std::string said = file + ".log";
    const UniqueFd log(::open(said.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    auto check = ChildProcess::start({.words = {*program, "--config", file, "--check-config"},
                                      .forgotten = {"SIGNPOST_", "LISTEN_"},
                                      .output = log.get(),
                                      .errors = log.get()});
    const auto status = check ? check->wait(kCheckTime) : std::nullopt;
    const std::string why = check ? last_line(said) : check.error().message;
    ::unlink(said.c_str());
    if (status == 0) {
        return {};
    }
    return failure(ExitCode::failed, fmt::format("signpostd would not start so: {}; nothing was "
                                                 "written",
                                                 why));
}

Outcome<void> Initiation::write_file() {
    const auto failed = [&](const std::string& what) {
        return failure(ExitCode::failed, fmt::format("{}: {}", escaped(what), error_text(errno)));
    };
    std::error_code ignored;
    fs::create_directories(fs::absolute(file_, ignored).parent_path(), ignored);
    const std::string made = file_ + ".new";
    ::unlink(made.c_str());
    const bool secret = has_password(configuration_.catalog);
    const UniqueFd file(
        ::open(made.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, secret ? 0640 : 0644));
    if (!file) {
        return failed(made);
    }
    const passwd* const user = secret && ::geteuid() == 0 ? ::getpwnam(kServerUser) : nullptr;
    const std::string text = first_configuration_text(configuration_);
    if ((user != nullptr && ::fchown(file.get(), 0, user->pw_gid) != 0) ||
        ::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()) ||
        ::fsync(file.get()) != 0) {
        return failed(made);
    }
    if (const auto checked = check_file(made); !checked) {
        ::unlink(made.c_str());
        return checked;
    }
    if (replaces_ && ::rename(file_.c_str(), (file_ + ".old").c_str()) != 0 && errno != ENOENT) {
        return failed(file_);
    }
    if (::link(made.c_str(), file_.c_str()) != 0) {  // never over one that came meanwhile
        return failed(file_);
    }
    ::unlink(made.c_str());
    return {};
}

void Initiation::warn() const {
    const bool local = configuration_.uri.is_unix() || is_loopback(configuration_.uri.host);
    if (!local && configuration_.certificates.empty()) {
        note(
            "without TLS everybody who can reach the port reads every disk; signpostd(8), TLS and "
            "ACCESS RULES, says how to lock it");
    }
    const passwd* const user = ::geteuid() == 0 ? ::getpwnam(kServerUser) : nullptr;
    for (const std::string& directory : configuration_.repositories) {
        if (user != nullptr && !is_readable_for(*user, directory)) {
            note(fmt::format("the service's user {0} cannot read {1}: setfacl -R -m u:{0}:rX {1}",
                             kServerUser, escaped(directory)));
        }
    }
}

void Initiation::say_what_is_next() const {
    const bool unit =
        fs::exists("/run/systemd/system") && (fs::exists("/lib/systemd/system/signpostd.service") ||
                                              fs::exists("/etc/systemd/system/signpostd.service"));
    Console& console = context_.console;
    console.out(fmt::format("wrote {}\nnext:\n", escaped(file_)));
    if (!before_start_.empty()) {
        console.out(fmt::format("  {}\n", escaped(before_start_, 400)));
    }
    console.out(unit && file_ == default_file()
                    ? "  systemctl enable --now signpostd\n"
                    : fmt::format("  signpostd --config {}\n", escaped(file_)));
    if (configuration_.catalog != default_catalog_url()) {
        console.out(
            fmt::format("  export SIGNPOST_CATALOG='{}'\n", escaped(configuration_.catalog, 400)));
    }
    if (configuration_.server != context_.options.own_server || context_.options.server_given) {
        console.out(fmt::format("  export SIGNPOST_SERVER={}\n", configuration_.server));
    }
    console.out("  signpost ls\n  signpost doctor\n");
    if (!configuration_.http.empty()) {
        console.out(fmt::format("and in a browser: {}://{}/\n",
                                configuration_.certificates.empty() ? "http" : "https",
                                escaped(configuration_.http)));
    }
}

VerbResult Initiation::run() {
    if (!asks_ && !context_.options.yes) {
        return usage(
            "nobody can be asked here: --yes takes the defaults, and flags say what is "
            "not to be so; see signpost init --help");
    }
    if (const auto allowed = may_write(); !allowed) {
        return std::unexpected(allowed.error());
    }
    if (const auto taken = take_answers(); !taken) {
        return std::unexpected(taken.error());
    }
    if (context_.options.dry_run) {
        context_.console.out(context_.json() ? init_json(file_, configuration_, false) + "\n"
                                             : first_configuration_text(configuration_));
        return ExitCode::ok;
    }
    if (const auto written = write_file(); !written) {
        return std::unexpected(written.error());
    }
    warn();
    if (context_.json()) {
        context_.console.out(init_json(file_, configuration_, true) + "\n");
    } else {
        say_what_is_next();
    }
    return ExitCode::ok;
}

}  // namespace

VerbResult run(const Context& context, const InitVerb& verb) {
    return Initiation(context, verb).run();
}

}  // namespace signpost
