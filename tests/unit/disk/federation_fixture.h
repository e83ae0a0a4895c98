// SPDX-License-Identifier: BSD-3-Clause
//
// A federation in a temporary directory: a real catalog, a real repository, and disks that only
// remember how they were made.

#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "catalog/catalog.h"
#include "nbd-server/disk/federation_parts.h"
#include "nbd-server/disk/relay_engine.h"
#include "tests/unit/disk/kept_log.h"

namespace signpost::test {

// A disk that does nothing but say what it is.
class NamedDisk final : public Disk {
   public:
    explicit NamedDisk(DiskTraits traits) : traits_(std::move(traits)) {}
    const DiskTraits& traits() const override { return traits_; }
    int requests = 0;

   private:
    void start(Request& request) override {
        ++requests;
        request.done(request, 0);
    }

    DiskTraits traits_;
};

inline DiskName disk_name(std::string_view text) {
    return *DiskName::parse(text);
}

inline Server server_named(const std::string& name, const std::string& site = "") {
    Server server;
    server.name = name;
    server.uris = {*NbdUri::parse("nbd://" + name + ".example.com")};
    server.site = site;
    server.instance = name + "-instance";
    return server;
}

inline Image image_named(std::string_view name, std::uint64_t size, bool read_only = true) {
    return Image{.name = disk_name(name),
                 .export_name = std::string(name),
                 .size = size,
                 .format = ImageFormat::raw,
                 .read_only = read_only,
                 .fingerprint = "r-" + std::string(name),
                 .minimum_block = 1};
}

class FederationTest : public testing::Test {
   protected:
    FederationTest() {
        std::string pattern = testing::TempDir() + "signpost-federation-XXXXXX";
        directory_ = mkdtemp(pattern.data());
        std::filesystem::create_directory(repository());
        catalog_ = std::move(*open_catalog(catalog_path(), OpenMode::create));
    }

    ~FederationTest() override { std::filesystem::remove_all(directory_); }

    std::string repository() const { return directory_ + "/repository"; }
    std::string catalog_path() const { return directory_ + "/catalog.db"; }

    void write_image(const std::string& path, std::uint64_t size) {
        const std::string file = repository() + "/" + path;
        std::filesystem::create_directories(std::filesystem::path(file).parent_path());
        const UniqueFd fd(::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
        ASSERT_EQ(ftruncate(fd.get(), static_cast<off_t>(size)), 0);
        // Long enough ago not to count as still being written.
        const timespec times[2] = {{1'000'000'000, 0}, {1'000'000'000, 0}};
        ASSERT_EQ(futimens(fd.get(), times), 0);
    }

    // SERVER joins and holds IMAGES.
    void join(const Server& server, std::vector<Image> images) {
        ASSERT_TRUE(catalog_->put_server(server));
        Publication all;
        all.images = std::move(images);
        all.complete = true;
        ASSERT_TRUE(catalog_->publish(server.name, all));
    }

    // A federation of the server `alpha` on the repository; WRITABLE and SITE as its settings.
    std::unique_ptr<Federation> start(bool writable = false, const std::string& site = "") {
        FederationParts parts;
        parts.server = "alpha";
        parts.site = site;
        parts.writable = writable;
        parts.catalog = std::move(*open_catalog(catalog_path(), OpenMode::existing));
        return make_federation(with_fake_disks(std::move(parts)), log_);
    }

    // PARTS with the repository, and disks that remember in `served_` and `plans_`.
    FederationParts with_fake_disks(FederationParts parts) {
        std::vector<Repository> repositories;
        repositories.push_back(
            std::move(*Repository::open(repository(), {.writable = parts.writable})));
        parts.repositories = std::make_unique<RepositorySet>(std::move(repositories));
        parts.serve_image =
            [this](OpenImage image,
                   FederationParts::BeforeFirstWrite hook) -> Result<std::shared_ptr<Disk>> {
            DiskTraits traits;
            traits.size = image.size;
            traits.read_only = !image.writable;
            served_.push_back(image.name.str());
            before_first_write_ = std::move(hook);
            return std::make_shared<NamedDisk>(traits);
        };
        parts.relay = [this](RelayPlan plan) -> std::shared_ptr<Disk> {
            plans_.push_back(plan);
            return std::make_shared<NamedDisk>(plan.traits);
        };
        return parts;
    }

    std::string directory_;
    KeptLog log_;
    std::unique_ptr<Catalog> catalog_;
    std::vector<std::string> served_;
    std::vector<RelayPlan> plans_;
    FederationParts::BeforeFirstWrite before_first_write_;
};

}  // namespace signpost::test
