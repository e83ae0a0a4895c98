// SPDX-License-Identifier: BSD-3-Clause
//
// catalog_bench [DISKS [DIRECTORY]]: what the SQLite catalog costs with that many disks (default: a
// million), one location each, on a hundred servers. Prints a Markdown table. The catalog is made
// in a new directory under DIRECTORY (default: /var/tmp) and removed at the end.
//
// catalog_bench DISKS postgresql://…: the same of a PostgreSQL catalog, which is filled and left
// (postgres_bench starts a database for it).
//
// catalog_bench --fill FILE DISKS: only makes that catalog, and leaves it (for gateway_bench).
//
// Page cache warm from the filling: what is measured is the store's own work.

#include <fmt/format.h>
#include <stdio.h>
#include <stdlib.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <functional>
#include <random>
#include <stdexcept>
#include <thread>

#include "catalog/catalog.h"

namespace {

using namespace signpost;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kServers = 100;
constexpr std::size_t kBatch = 100'000;
constexpr std::size_t kLookups = 100'000;
constexpr std::size_t kBeats = 100;  // of each server
constexpr std::size_t kPages = 200;

template <class T>
T must(Result<T> result) {
    if (result) {
        if constexpr (std::is_void_v<T>)
            return;
        else
            return std::move(*result);
    }
    throw std::runtime_error(result.error().message);
}

double seconds_of(const std::function<void()>& work) {
    const auto begun = Clock::now();
    work();
    return std::chrono::duration<double>(Clock::now() - begun).count();
}

// Every number once, in an order of its own, so that a server's names do not come in theirs.
std::uint32_t scattered(std::size_t number) {
    return static_cast<std::uint32_t>(number) * 2654435761U;
}

std::string disk_name(std::size_t number) {
    return fmt::format("site-{:02}/vm-{:08x}/vda", number % kServers, scattered(number));
}

std::string server_name(std::size_t number) {
    return fmt::format("server-{:02}", number % kServers);
}

Image image(std::size_t number, int version) {
    const std::string name = disk_name(number);
    return {.name = DiskName::parse(name).value(),
            .export_name = name,
            .size = std::uint64_t{40} << 30,
            .fingerprint = fmt::format("r-{:016x}{:016x}", number, version)};
}

void add_server(Catalog& catalog, const std::string& name) {
    Server server;
    server.name = name;
    server.uris.push_back(NbdUri::parse("nbd://192.0.2.1:10809").value());
    must(catalog.put_server(server));
}

void fill(Catalog& catalog, std::size_t disks) {
    for (std::size_t server = 0; server < kServers; ++server) {
        add_server(catalog, server_name(server));
        Publication change;
        for (std::size_t number = server; number < disks; number += kServers) {
            change.images.push_back(image(number, 1));
            if (change.images.size() == kBatch || number + kServers >= disks) {
                must(catalog.publish(server_name(server), change));
                change.images.clear();
            }
        }
    }
}

struct Latency {
    double median_us;
    double p99_us;
};

Latency latency(std::size_t count, const std::function<void()>& work) {
    std::vector<double> times;
    for (std::size_t i = 0; i < count; ++i)
        times.push_back(seconds_of(work) * 1e6);
    std::sort(times.begin(), times.end());
    return {times[count / 2], times[count * 99 / 100]};
}

void row(const std::string& what, const std::string& figure) {
    fmt::print("| {} | {} |\n", what, figure);
    fflush(stdout);
}

void row(const std::string& what, const Latency& figure) {
    row(what, fmt::format("{:.1f} µs median, {:.1f} µs p99", figure.median_us, figure.p99_us));
}

void measure_lookups(Catalog& catalog, std::size_t disks) {
    std::mt19937_64 random(1);
    std::vector<DiskName> names;
    for (std::size_t i = 0; i < kLookups; ++i)
        names.push_back(DiskName::parse(disk_name(random() % disks)).value());
    std::size_t next = 0;
    row("look-up of a disk", latency(kLookups, [&] {
            if (!must(catalog.find(names[next++])))
                throw std::runtime_error("a disk that was published is not found");
        }));
    const DiskName unknown = DiskName::parse("site-50/vm-unknown").value();
    row("look-up of an unknown name", latency(kLookups, [&] { must(catalog.find(unknown)); }));
}

void measure_pages(Catalog& catalog, std::size_t disks) {
    std::mt19937_64 random(2);
    row("page of 1,000 by prefix", latency(kPages, [&] {
            const std::string after = disk_name(random() % disks);
            must(catalog.list(after.substr(0, 8), after, 1000));
        }));
    row("search for text that is nowhere",
        fmt::format("{:.2f} s",
                    seconds_of([&] { must(catalog.search("no such text", "", 1000)); })));
}

void measure_publications(Catalog& catalog, std::size_t disks) {
    add_server(catalog, "newcomer");
    Publication all;
    for (std::size_t i = 0; i < kBatch; ++i)
        all.images.push_back(image(disks + i, 1));
    const auto publish = [&](const Publication& change) {
        return fmt::format("{:.3f} s",
                           seconds_of([&] { must(catalog.publish("newcomer", change)); }));
    };
    row("publish 100,000 new", publish(all));
    Publication few;
    for (std::size_t i = 0; i < 10; ++i)
        few.images.push_back(all.images[i * 1000] = image(disks + i * 1000, 2));
    row("publish 10 changed", publish(few));
    for (std::size_t i = 0; i < 10; ++i)
        all.images[i * 1000] = image(disks + i * 1000, 3);
    all.complete = true;
    row("publish all 100,000, of which 10 changed", publish(all));
    row("publish all 100,000, nothing changed", publish(all));
}

// Every server has a connection of its own, as it would, and beats without a pause.
void measure_heartbeats(const std::string& url) {
    std::vector<std::unique_ptr<Catalog>> catalogs;
    for (std::size_t server = 0; server < kServers; ++server)
        catalogs.push_back(must(open_catalog(url, OpenMode::existing)));
    std::vector<std::vector<double>> times(kServers);
    const double seconds = seconds_of([&] {
        std::vector<std::jthread> threads;
        for (std::size_t server = 0; server < kServers; ++server)
            threads.emplace_back([&, server] {
                for (std::size_t beat = 0; beat < kBeats; ++beat)
                    times[server].push_back(seconds_of(
                        [&] { must(catalogs[server]->heartbeat(server_name(server), "")); }));
            });
    });
    std::vector<double> all;
    for (const auto& of_server : times)
        all.insert(all.end(), of_server.begin(), of_server.end());
    std::sort(all.begin(), all.end());
    row("heartbeats of 100 servers at once",
        fmt::format("{:.0f} a second, {:.1f} ms median, {:.1f} ms p99",
                    static_cast<double>(all.size()) / seconds, all[all.size() / 2] * 1e3,
                    all[all.size() * 99 / 100] * 1e3));
}

void measure(const std::string& url, std::size_t disks) {
    const auto open = [&] { return must(open_catalog(url, OpenMode::create)); };
    row("open", fmt::format("{:.2f} ms", seconds_of(open) * 1e3));
    const auto catalog = open();
    measure_lookups(*catalog, disks);
    measure_pages(*catalog, disks);
    measure_publications(*catalog, disks);
    row("look-up of a disk, the same process having published",
        latency(1000, [&] { must(catalog->find(DiskName::parse(disk_name(disks + 1)).value())); }));
    measure_heartbeats(url);
}

double fill_timed(const std::string& url, std::size_t disks) {
    return seconds_of([&] { fill(*must(open_catalog(url, OpenMode::create)), disks); });
}

void run_sqlite(std::size_t disks, const std::string& directory) {
    const std::string path = directory + "/catalog.db";
    fmt::print("| SQLite catalog, {} disks | |\n|---|---|\n", disks);
    row("filling it", fmt::format("{:.1f} s", fill_timed(path, disks)));
    const auto bytes = std::filesystem::file_size(path);
    row("file",
        fmt::format("{:.1f} MiB, {:.0f} bytes a disk", static_cast<double>(bytes) / (1 << 20),
                    static_cast<double>(bytes) / static_cast<double>(disks)));
    measure(path, disks);
}

void run_postgres(std::size_t disks, const std::string& url) {
    fmt::print("| PostgreSQL catalog, {} disks | |\n|---|---|\n", disks);
    if (must(must(open_catalog(url, OpenMode::create))->totals()).locations != 0)
        throw std::runtime_error("the catalog is not empty: give a database of its own");
    row("filling it", fmt::format("{:.1f} s", fill_timed(url, disks)));
    measure(url, disks);
}

// The number of disks that TEXT says; 0 when it says none that will do.
std::size_t disks_in(const char* text) {
    const double disks = strtod(text, nullptr);
    return disks >= kServers && disks <= 1e9 ? static_cast<std::size_t>(disks) : 0;
}

int run_guarded(const std::function<void()>& work) {
    try {
        work();
        return 0;
    } catch (const std::exception& error) {
        fmt::print(stderr, "catalog_bench: {}\n", error.what());
        return 1;
    }
}

int measure_in(std::size_t disks, std::string directory) {
    directory += "/catalog-bench-XXXXXX";
    if (mkdtemp(directory.data()) == nullptr) {
        perror(directory.c_str());
        return 1;
    }
    const int status = run_guarded([&] { run_sqlite(disks, directory); });
    std::filesystem::remove_all(directory);
    return status;
}

}  // namespace

int main(int argc, char** argv) {
    const bool only_fill = argc == 4 && std::string_view(argv[1]) == "--fill";
    const std::size_t disks = only_fill ? disks_in(argv[3]) : disks_in(argc > 1 ? argv[1] : "1e6");
    if (disks == 0 || (argc > 3 && !only_fill)) {
        fmt::print(stderr,
                   "usage: catalog_bench [DISKS (100 to 1e9) [DIRECTORY|POSTGRESQL-URL]]\n"
                   "       catalog_bench --fill FILE DISKS\n");
        return 2;
    }
    if (only_fill)
        return run_guarded([&] { fill(*must(open_catalog(argv[2], OpenMode::create)), disks); });
    if (argc > 2 && std::string_view(argv[2]).starts_with("postgres"))
        return run_guarded([&] { run_postgres(disks, argv[2]); });
    return measure_in(disks, argc > 2 ? argv[2] : "/var/tmp");
}
