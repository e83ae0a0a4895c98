// SPDX-License-Identifier: BSD-3-Clause
#include "tests/unit/catalog/postgres_cluster.h"

#include <errno.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <libpq-fe.h>
#include <pwd.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <thread>

#include "tests/unit/requires.h"

namespace signpost::test {

namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kStartTime{30};
const char* const kSuperuser = "signpost_tests";

// Whom the server runs as: nobody, when we are root.
const passwd* other_user() {
    return geteuid() == 0 ? getpwnam("nobody") : nullptr;
}

// In the child. Ends the process when it cannot.
[[noreturn]] void become(const std::vector<std::string>& command, const passwd* user, int log,
                         int end_signal) {
    if (user != nullptr &&
        (setgroups(0, nullptr) != 0 || setgid(user->pw_gid) != 0 || setuid(user->pw_uid) != 0))
        _exit(126);
    // After the change of user, which would undo it.
    if (end_signal != 0 && (prctl(PR_SET_PDEATHSIG, end_signal) != 0 || getppid() == 1))
        _exit(126);
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    std::vector<char*> arguments;
    for (const std::string& word : command)
        arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    execv(arguments[0], arguments.data());
    _exit(127);
}

pid_t spawn(const std::vector<std::string>& command, const std::string& log, int end_signal) {
    const passwd* const user = other_user();
    const int fd = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    fflush(nullptr);
    const pid_t child = fork();
    if (child == 0)
        become(command, user, fd, end_signal);
    close(fd);
    return child;
}

std::string content_of(const std::string& path) {
    std::ostringstream out;
    out << std::ifstream(path).rdbuf();
    return out.str();
}

// The parent that /proc says, or 0.
pid_t parent_of(const std::string& process) {
    const std::string stat = content_of("/proc/" + process + "/stat");
    const auto name_end = stat.rfind(')');
    if (name_end == std::string::npos)
        return 0;
    std::istringstream fields(stat.substr(name_end + 1));
    char state = 0;
    pid_t parent = 0;
    fields >> state >> parent;
    return parent;
}

void give_to_server(const std::string& path) {
    const passwd* const user = other_user();
    if (user != nullptr && chown(path.c_str(), user->pw_uid, user->pw_gid) != 0)
        throw std::runtime_error("cannot give away " + path);
}

}  // namespace

std::string postgres_programs() {
    std::vector<std::string> found;
    std::error_code ignored;
    for (const auto& version : fs::directory_iterator("/usr/lib/postgresql", ignored))
        if (fs::exists(version.path() / "bin/initdb"))
            found.push_back((version.path() / "bin").string());
    return found.empty() ? "" : *std::max_element(found.begin(), found.end());
}

PostgresCluster::PostgresCluster() {
    set_up_directory();
    run({postgres_programs() + "/initdb", "--pgdata=" + data(),
         fmt::format("--username={}", kSuperuser), "--auth=trust", "--encoding=UTF8", "--locale=C",
         "--no-sync", "--no-instructions"});
    start();
}

std::unique_ptr<PostgresCluster> PostgresCluster::standby_of(const PostgresCluster& primary) {
    std::unique_ptr<PostgresCluster> standby(new PostgresCluster(Empty::yes));
    standby->set_up_directory();
    standby->run({postgres_programs() + "/pg_basebackup", "--pgdata=" + standby->data(),
                  "--write-recovery-conf", "--checkpoint=fast", "--no-sync", "--wal-method=stream",
                  "--dbname=" + primary.uri("postgres")});
    standby->start();
    return standby;
}

PostgresCluster::~PostgresCluster() {
    if (pid_ > 0)
        stop();
}

void PostgresCluster::set_up_directory() {
    give_to_server(directory_.path());
    if (chmod(directory_.path().c_str(), 0755) != 0)
        throw std::runtime_error("cannot open " + directory_.path());
}

void PostgresCluster::run(const std::vector<std::string>& command) const {
    const std::string log = directory_.file("setup.log");
    int status = -1;
    waitpid(spawn(command, log, 0), &status, 0);
    if (status != 0)
        throw std::runtime_error(command[0] + " failed: " + content_of(log));
}

void PostgresCluster::start(const Options& more) {
    std::vector<std::string> command{postgres_programs() + "/postgres", "-D", data()};
    Options all{"listen_addresses=",   "unix_socket_directories=" + directory_.path(),
                "fsync=off",           "full_page_writes=off",
                "shared_buffers=32MB", "max_connections=60",
                "autovacuum=off",      "wal_level=replica",
                "max_wal_senders=4",   "hot_standby=on"};
    all.insert(all.end(), more.begin(), more.end());
    for (const std::string& option : all) {
        command.push_back("-c");
        command.push_back(option);
    }
    port_ = 5432;
    for (const std::string& option : more)
        if (option.starts_with("port="))
            port_ = std::stoi(option.substr(5));
    pid_ = spawn(command, directory_.file("server.log"), SIGQUIT);
    await_ready();
}

void PostgresCluster::await_ready() const {
    const auto end = Clock::now() + kStartTime;
    while (PQping(uri("postgres").c_str()) != PQPING_OK) {
        if (Clock::now() > end || waitpid(pid_, nullptr, WNOHANG) != 0)
            throw std::runtime_error("PostgreSQL does not start: " +
                                     content_of(directory_.file("server.log")));
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
}

std::vector<pid_t> PostgresCluster::processes() const {
    std::vector<pid_t> all{pid_};
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator("/proc", ignored)) {
        const std::string name = entry.path().filename().string();
        if (std::all_of(name.begin(), name.end(), isdigit) && parent_of(name) == pid_)
            all.push_back(std::stoi(name));
    }
    return all;
}

void PostgresCluster::stop() {
    go_on();
    kill(pid_, SIGQUIT);
    waitpid(pid_, nullptr, 0);
    pid_ = -1;
}

void PostgresCluster::freeze() {
    // The postmaster first, so that it starts no more.
    for (const pid_t process : processes())
        kill(process, SIGSTOP);
    for (const pid_t process : processes())
        kill(process, SIGSTOP);
}

void PostgresCluster::go_on() {
    for (const pid_t process : processes())
        kill(process, SIGCONT);
}

void PostgresCluster::promote() {
    RawPostgres(uri("postgres")).run("SELECT pg_promote()");
}

std::string PostgresCluster::make_database(const std::string& options) {
    const std::string name = fmt::format("db{}", ++databases_);
    RawPostgres(uri("postgres"))
        .run(fmt::format("CREATE DATABASE {} TEMPLATE template0 {}", name, options));
    return name;
}

std::string PostgresCluster::uri(const std::string& database, const std::string& more) const {
    return fmt::format("postgresql://{}@/{}?host={}&port={}{}", kSuperuser, database,
                       directory_.path(), port_, more);
}

void PostgresCluster::write_file(const std::string& name, const std::string& content, int mode) {
    const std::string path = data() + "/" + name;
    std::ofstream(path) << content;
    give_to_server(path);
    if (chmod(path.c_str(), static_cast<mode_t>(mode)) != 0)
        throw std::runtime_error("cannot write " + path);
}

void PostgresCluster::reload() {
    RawPostgres(uri("postgres")).run("SELECT pg_reload_conf()");
}

namespace {

std::unique_ptr<PostgresCluster> the_shared_cluster;

// Of every program that has this file. Without PostgreSQL all of its tests are skipped.
class NeedsPostgres : public testing::Environment {
   public:
    void SetUp() override {
        if (!postgres_programs().empty())
            return;
        if (may_skip())
            GTEST_SKIP() << "PostgreSQL's server is not installed";
        FAIL() << "PostgreSQL's server is not installed";
    }
    // Before main ends, in the thread that started it.
    void TearDown() override { the_shared_cluster.reset(); }
};

[[maybe_unused]] const testing::Environment* const kNeedsPostgres =
    testing::AddGlobalTestEnvironment(new NeedsPostgres);

}  // namespace

PostgresCluster& shared_cluster() {
    if (the_shared_cluster == nullptr)
        the_shared_cluster = std::make_unique<PostgresCluster>();
    return *the_shared_cluster;
}

RawPostgres::RawPostgres(const std::string& uri) : conn_(PQconnectdb(uri.c_str())) {
    if (PQstatus(conn_) != CONNECTION_OK)
        throw std::runtime_error(PQerrorMessage(conn_));
}

RawPostgres::~RawPostgres() {
    PQfinish(conn_);
}

std::string RawPostgres::try_run(const std::string& sql) {
    PGresult* const result = PQexec(conn_, sql.c_str());
    const auto status = PQresultStatus(result);
    PQclear(result);
    return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK ? "" : PQerrorMessage(conn_);
}

void RawPostgres::run(const std::string& sql) {
    if (const std::string error = try_run(sql); !error.empty())
        throw std::runtime_error(error + ": " + sql);
}

std::string RawPostgres::ask(const std::string& sql) {
    PGresult* const result = PQexec(conn_, sql.c_str());
    std::string answer;
    for (int row = 0; row < PQntuples(result); ++row)
        answer += std::string(PQgetvalue(result, row, PQnfields(result) - 1)) + "\n";
    const bool asked = PQresultStatus(result) == PGRES_TUPLES_OK;
    PQclear(result);
    if (!asked)
        throw std::runtime_error(std::string(PQerrorMessage(conn_)) + ": " + sql);
    return answer;
}

}  // namespace signpost::test
