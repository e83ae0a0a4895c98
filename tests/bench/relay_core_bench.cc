// SPDX-License-Identifier: BSD-3-Clause
//
// relay_core_bench URI [SECONDS]: what the inside of a relay costs, without a client's session. A
// driver on the relay's own loop keeps reads in flight, as a session does; what they bring is
// dropped, or leaves through a TCP connection to a thread that throws it away. Prints the CPU time
// of the loop's thread for each read and each GiB.
//
//   nbdkit -p 20809 memory 1G --run 'relay_core_bench nbd://127.0.0.1:20809'
//   nbdkit -p 20809 --filter=delay memory 1G rdelay=50ms --run '... 5 sequence'

#include <fmt/core.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "nbd-server/disk/event_loop.h"
#include "nbd-server/disk/relay_engine.h"
#include "nbd-server/disk/relayed_disk.h"

namespace {

using namespace signpost;

class QuietLog final : public Log {
   public:
    void error(std::string_view line) override { fmt::print(stderr, "{}\n", line); }
    void info(std::string_view) override {}
    void debug(std::string_view) override {}
};

double cpu_now() {
    timespec time{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

// A TCP connection to a thread that receives and drops.
class Drain final : private EventLoop::Watcher {
   public:
    explicit Drain(EventLoop& loop) : loop_(loop) {
        const UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t length = sizeof address;
        auto* generic = reinterpret_cast<sockaddr*>(&address);
        ::bind(listener.get(), generic, length);
        ::listen(listener.get(), 1);
        ::getsockname(listener.get(), generic, &length);
        socket_ = UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        if (::connect(socket_.get(), generic, length) != 0) {
            std::abort();
        }
        thread_ = std::thread([fd = ::accept(listener.get(), nullptr, nullptr)] {
            while (::recv(fd, nullptr, 1 << 30, MSG_TRUNC) > 0) {
            }
            ::close(fd);
        });
        loop_.watch(socket_.get(), 0, *this);
    }

    ~Drain() override {
        loop_.unwatch(socket_.get());
        ::shutdown(socket_.get(), SHUT_RDWR);
        thread_.join();
    }

    void send(ReadPart part) {
        queue_.push_back(std::move(part));
        move();
    }

    std::uint64_t in_pipes() const { return in_pipes_; }
    std::size_t queued() const { return queue_.size(); }

   private:
    void on_ready(std::uint32_t) override { move(); }

    void move() {
        while (!queue_.empty() && move_one(queue_.front())) {
            queue_.pop_front();
            done_ = 0;
        }
        const std::uint32_t wanted = queue_.empty() ? 0U : std::uint32_t{EPOLLOUT};
        if (std::exchange(wanted_, wanted) != wanted) {
            loop_.rewatch(socket_.get(), wanted, *this);
        }
    }

    bool move_one(ReadPart& part) {
        const bool pipe = part.place == ReadPart::Place::pipe;
        const std::uint32_t in_memory = pipe ? part.head : part.length;
        while (done_ < in_memory) {
            const ssize_t n = ::send(socket_.get(), part.bytes.get() + done_, in_memory - done_,
                                     MSG_DONTWAIT | MSG_NOSIGNAL | (pipe ? MSG_MORE : 0));
            if (n < 0) {
                return false;
            }
            done_ += static_cast<std::uint32_t>(n);
        }
        while (part.pipe.held() > 0) {
            const ssize_t n = part.pipe.drain_to(socket_.get(), part.pipe.held(), false);
            if (n < 0) {
                return false;
            }
            in_pipes_ += static_cast<std::uint64_t>(n);
        }
        return true;
    }

    EventLoop& loop_;
    UniqueFd socket_;
    std::thread thread_;
    std::deque<ReadPart> queue_;
    std::uint32_t done_ = 0;  // bytes of the first part's memory that have left
    std::uint32_t wanted_ = 0;
    std::uint64_t in_pipes_ = 0;
};

struct Case {
    const char* name;
    std::uint32_t length;
    unsigned depth;
    bool random;
    bool drained;
    double seconds;
};

// Keeps DEPTH reads in flight on the loop's own thread.
class Driver final : private ReadSink, private EventLoop::Posted {
   public:
    Driver(EventLoop& loop, Disk& disk, const Case& what)
        : loop_(loop), disk_(disk), case_(what), requests_(what.depth) {
        loop_.post([this] { start(); });
    }

    void wait() { ended_.wait(false); }

    double cpu = 0;
    double wall = 0;
    std::uint64_t reads = 0;
    std::uint64_t bytes_in_pipes = 0;

   private:
    void start() {
        if (case_.drained) {
            drain_ = std::make_unique<Drain>(loop_);
        }
        for (Request& request : requests_) {
            request.length = case_.length;
            request.sink = this;
            request.context = this;
            request.done = [](Request& done, int error) {
                static_cast<Driver*>(done.context)->finished(done, error);
            };
            ready_.push_back(&request);
        }
        begin_ = cpu_now();
        began_ = EventLoop::Clock::now();
        loop_.post(*this);
    }

    void take(Request&, ReadPart part) override {
        if (drain_) {
            drain_->send(std::move(part));
        }
    }

    void finished(Request& request, int error) {
        if (error != 0) {
            std::abort();
        }
        ++reads;
        ready_.push_back(&request);
        loop_.post(*this);
    }

    void run_posted() override {
        const double passed =
            std::chrono::duration<double>(EventLoop::Clock::now() - began_).count();
        if (passed < case_.seconds) {
            for (Request* request : ready_) {
                request->offset = next_offset();
                disk_.submit(*request);
            }
            ready_.clear();
        } else if (ready_.size() == requests_.size()) {
            cpu = cpu_now() - begin_;
            wall = passed;
            bytes_in_pipes = drain_ ? drain_->in_pipes() : 0;
            drain_.reset();
            ended_ = true;
            ended_.notify_all();
        }
    }

    std::uint64_t next_offset() {
        const std::uint64_t places = disk_.traits().size / case_.length;
        state_ = state_ * 6364136223846793005ULL + 1442695040888963407ULL;
        return (case_.random ? (state_ >> 20) % places : issued_++ % places) * case_.length;
    }

    EventLoop& loop_;
    Disk& disk_;
    const Case case_;
    std::vector<Request> requests_;
    std::vector<Request*> ready_;
    std::unique_ptr<Drain> drain_;
    double begin_ = 0;
    EventLoop::Time began_{};
    std::uint64_t state_ = 1;
    std::uint64_t issued_ = 0;
    std::atomic<bool> ended_{false};
};

}  // namespace

int main(int argc, char** argv) {
    const auto uri = argc > 1 ? NbdUri::parse(argv[1]) : NbdUri::parse("");
    if (!uri) {
        fmt::print(stderr, "usage: relay_core_bench URI [SECONDS [CASE]]: {}\n",
                   uri.error().message);
        return 2;
    }
    const double seconds = argc > 2 ? std::atof(argv[2]) : 2;
    QuietLog log;
    auto engine = make_relay_engine({}, log);
    RelayPlan plan{.disk = *DiskName::parse("bench"),
                   .traits = {},
                   .upstreams = {},
                   .ask_again = {},
                   .before_first_write = {}};
    plan.traits.size = 1 << 30;
    Upstream upstream;
    upstream.location.server = "origin";
    upstream.location.size = plan.traits.size;
    upstream.uris = {*uri};
    plan.upstreams = {upstream};
    const auto disk = make_relayed_disk(**engine, plan);
    EventLoop& loop = *disk->home_loop();
    fmt::print("{:<28} {:>10} {:>10} {:>10} {:>10} {:>8}\n", "reads", "us/read", "s/GiB", "MiB/s",
               "busy", "piped");
    const Case cases[] = {Case{"4 KiB, depth 32", 4096, 32, true, false, seconds},
                          Case{"4 KiB, depth 1", 4096, 1, true, false, seconds},
                          Case{"64 KiB, depth 16, drained", 65536, 16, false, true, seconds},
                          Case{"256 KiB, depth 8, drained", 262144, 8, false, true, seconds},
                          Case{"1 MiB, depth 8, drained", 1 << 20, 8, false, true, seconds},
                          Case{"256 KiB, depth 1, sequence", 262144, 1, false, false, seconds},
                          Case{"256 KiB, depth 16, sequence", 262144, 16, false, false, seconds}};
    for (const Case& what : cases) {
        if (argc > 3 && std::string(what.name).find(argv[3]) == std::string::npos) {
            continue;
        }
        Driver driver(loop, *disk, what);
        driver.wait();
        const double reads = static_cast<double>(driver.reads);
        const double gib = reads * what.length / (1 << 30);
        fmt::print("{:<28} {:>10.2f} {:>10.3f} {:>10.0f} {:>9.0f}% {:>7.0f}%\n", what.name,
                   driver.cpu / reads * 1e6, driver.cpu / gib, gib * 1024 / driver.wall,
                   driver.cpu / driver.wall * 100,
                   static_cast<double>(driver.bytes_in_pipes) / (gib * (1 << 30)) * 100);
    }
    return 0;
}
