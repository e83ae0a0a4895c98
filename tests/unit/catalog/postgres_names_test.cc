// SPDX-License-Identifier: BSD-3-Clause
//
// A host whose name is being looked up for ever: nobody waits for that longer than for a server
// that does not answer. libpq asks this program's getaddrinfo.

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <netdb.h>
#include <string.h>

#include <condition_variable>
#include <mutex>

#include "catalog/postgres_catalog.h"

namespace {

constexpr const char* kHangs = "hangs.signpost.example";

struct Resolver {
    std::mutex mutex;
    std::condition_variable changed;
    bool hangs = true;
    int asking = 0;
};

Resolver& resolver() {
    static Resolver only;
    return only;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int getaddrinfo(const char* name,
                                                                  const char* service,
                                                                  const addrinfo* hints,
                                                                  addrinfo** result) {
    if (name == nullptr || strcmp(name, kHangs) != 0) {
        const auto next = reinterpret_cast<decltype(&getaddrinfo)>(dlsym(RTLD_NEXT, "getaddrinfo"));
        return next(name, service, hints, result);
    }
    Resolver& shared = resolver();
    std::unique_lock lock(shared.mutex);
    ++shared.asking;
    shared.changed.notify_all();
    shared.changed.wait(lock, [&] { return !shared.hangs; });
    --shared.asking;
    shared.changed.notify_all();
    return EAI_AGAIN;
}

namespace signpost::test {
namespace {

TEST(PostgresNames, HangingResolutionIsNotWaitedFor) {
    const auto begun = std::chrono::steady_clock::now();
    const auto opened = PostgresCatalog::open(std::string("postgresql://somebody@") + kHangs + "/x",
                                              OpenMode::create);
    const auto took = std::chrono::steady_clock::now() - begun;
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code, Errc::unavailable);
    EXPECT_EQ(opened.error().message.find('\n'), std::string::npos) << opened.error().message;
    // The look-up's half second and the destructor's, on a busy machine.
    EXPECT_LT(took, std::chrono::seconds(10));
    Resolver& shared = resolver();
    std::unique_lock lock(shared.mutex);
    EXPECT_EQ(shared.asking, 1) << "it was never asked for the name";
    shared.hangs = false;
    shared.changed.notify_all();
    EXPECT_TRUE(shared.changed.wait_for(lock, std::chrono::seconds(10),
                                        [&] { return shared.asking == 0; }));
}

}  // namespace
}  // namespace signpost::test
