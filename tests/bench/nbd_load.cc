// SPDX-License-Identifier: BSD-3-Clause
//
// nbd_load URI BLOCK DEPTH SECONDS random|sequential|connect [SEED]: keeps DEPTH reads of BLOCK
// bytes in flight on one connection of libnbd for that long, and prints one line of JSON: how many,
// how fast, and the percentiles of their latency. With `connect` each read has a connection of its
// own, and its latency is from the dial to its last byte.

#include <fmt/core.h>
#include <libnbd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

[[noreturn]] void die(std::string_view message) {
    fmt::print(stderr, "nbd_load: {}\n", message);
    std::exit(1);
}

template <class Number>
Number number_in(std::string_view text) {
    Number number{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc{} || end != text.data() + text.size() || number <= 0) {
        die(fmt::format("not a positive number: {}", text));
    }
    return number;
}

struct Load {
    std::uint64_t block;
    std::uint64_t depth;
    double seconds;
    bool random;
    bool connect;
    std::uint64_t seed;
};

// One read that is on its way, and the buffer that it uses again and again.
struct Slot {
    std::vector<char> buffer;
    Clock::time_point start;
    bool done = false;
    int error = 0;
};

int on_completion(void* context, int* error) {
    auto& slot = *static_cast<Slot*>(context);
    slot.error = *error;
    slot.done = true;
    return 1;
}

nbd_handle* connected(const char* uri) {
    nbd_handle* nbd = nbd_create();
    if (nbd == nullptr || nbd_set_uri_allow_local_file(nbd, true) == -1 ||
        nbd_connect_uri(nbd, uri) == -1) {
        die(nbd_get_error());
    }
    return nbd;
}

void print(std::vector<float>& microseconds, std::uint64_t block, double elapsed) {
    std::ranges::sort(microseconds);
    const auto reads = microseconds.size();
    const auto percentile = [&](double share) {
        const auto index = static_cast<std::size_t>(static_cast<double>(reads) * share);
        return microseconds[std::min(index, reads - 1)];
    };
    fmt::print(
        "{{\"reads\": {}, \"bytes\": {}, \"seconds\": {:.6f}, \"p50_us\": {:.1f}, "
        "\"p99_us\": {:.1f}, \"p999_us\": {:.1f}, \"max_us\": {:.1f}}}\n",
        reads, reads * block, elapsed, percentile(0.5), percentile(0.99), percentile(0.999),
        microseconds.back());
}

float microseconds_since(Clock::time_point start) {
    return std::chrono::duration<float, std::micro>(Clock::now() - start).count();
}

void connect_again_and_again(const char* uri, const Load& load) {
    std::vector<float> microseconds;
    std::vector<char> buffer(load.block);
    const auto begin = Clock::now();
    const auto end = begin + std::chrono::duration<double>(load.seconds);
    while (Clock::now() < end) {
        const auto start = Clock::now();
        nbd_handle* nbd = connected(uri);
        if (nbd_pread(nbd, buffer.data(), buffer.size(), 0, 0) == -1) {
            die(nbd_get_error());
        }
        microseconds.push_back(microseconds_since(start));
        nbd_shutdown(nbd, 0);
        nbd_close(nbd);
    }
    print(microseconds, load.block, std::chrono::duration<double>(Clock::now() - begin).count());
}

class Generator {
   public:
    Generator(nbd_handle* nbd, const Load& load)
        : nbd_(nbd), load_(load), blocks_(size_of(nbd) / load.block), random_(load.seed) {
        if (blocks_ == 0) {
            die("the export is smaller than one block");
        }
        slots_.resize(load.depth);
    }

    void run() {
        begin_ = Clock::now();
        const auto end = begin_ + std::chrono::duration<double>(load_.seconds);
        for (auto& slot : slots_) {
            slot.buffer.resize(load_.block);
            submit(slot);
        }
        while (in_flight_ > 0) {
            if (nbd_poll(nbd_, -1) == -1) {
                die(nbd_get_error());
            }
            const auto now = Clock::now();
            for (auto& slot : slots_) {
                if (slot.done) {
                    finish(slot, now);
                    if (now < end) {
                        submit(slot);
                    }
                }
            }
        }
        elapsed_ = std::chrono::duration<double>(Clock::now() - begin_).count();
    }

    void print_result() { print(microseconds_, load_.block, elapsed_); }

   private:
    static std::uint64_t size_of(nbd_handle* nbd) {
        const auto size = nbd_get_size(nbd);
        return size > 0 ? static_cast<std::uint64_t>(size) : 0;
    }

    std::uint64_t next_offset() {
        const auto block = load_.random ? random_() % blocks_ : sequence_++ % blocks_;
        return block * load_.block;
    }

    void submit(Slot& slot) {
        slot.done = false;
        slot.start = Clock::now();
        const nbd_completion_callback completion{
            .callback = on_completion, .user_data = &slot, .free = nullptr};
        if (nbd_aio_pread(nbd_, slot.buffer.data(), slot.buffer.size(), next_offset(), completion,
                          0) == -1) {
            die(nbd_get_error());
        }
        ++in_flight_;
    }

    void finish(Slot& slot, Clock::time_point now) {
        if (slot.error != 0) {
            die(fmt::format("a read failed with errno {}", slot.error));
        }
        --in_flight_;
        slot.done = false;
        microseconds_.push_back(std::chrono::duration<float, std::micro>(now - slot.start).count());
    }

    nbd_handle* nbd_;
    Load load_;
    std::uint64_t blocks_;
    std::mt19937_64 random_;
    std::uint64_t sequence_ = 0;
    std::uint64_t in_flight_ = 0;
    std::vector<Slot> slots_;
    std::vector<float> microseconds_;
    Clock::time_point begin_;
    double elapsed_ = 0;
};

Load load_in(int argc, char** argv) {
    if (argc < 6 || argc > 7) {
        die("usage: nbd_load URI BLOCK DEPTH SECONDS random|sequential|connect [SEED]");
    }
    const std::string_view pattern = argv[5];
    if (pattern != "random" && pattern != "sequential" && pattern != "connect") {
        die("the pattern is random, sequential or connect");
    }
    const Load load{.block = number_in<std::uint64_t>(argv[2]),
                    .depth = number_in<std::uint64_t>(argv[3]),
                    .seconds = number_in<double>(argv[4]),
                    .random = pattern == "random",
                    .connect = pattern == "connect",
                    .seed = argc == 7 ? number_in<std::uint64_t>(argv[6]) : 1};
    if (load.block > 32 * 1024 * 1024 || load.depth > 1024) {
        die("a block is at most 32 MiB, the depth at most 1024");
    }
    return load;
}

}  // namespace

int main(int argc, char** argv) {
    const auto load = load_in(argc, argv);
    if (load.connect) {
        connect_again_and_again(argv[1], load);
        return 0;
    }
    nbd_handle* nbd = connected(argv[1]);
    Generator generator(nbd, load);
    generator.run();
    generator.print_result();
    nbd_shutdown(nbd, 0);
    nbd_close(nbd);
    return 0;
}
