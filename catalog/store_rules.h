// SPDX-License-Identifier: BSD-3-Clause
//
// The rules that every store follows, apart from how it keeps its rows: what a publication may
// hold, when an image is still the same content, who may register under a name.
//
// Pure functions. Threads: any.

#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "catalog/catalog.h"

namespace signpost {

// Seconds since 1970: the store's clock. Tests bring their own.
using StoreClock = std::function<std::int64_t()>;
StoreClock system_store_clock();

inline constexpr std::size_t kMaxPage = 10000;

Result<void> check_limit(std::size_t limit);

// False when no disk name can contain TEXT.
bool may_occur_in_names(std::string_view text);

// TEXT as part of a LIKE pattern that matches it literally; the escape character is a backslash.
std::string like_literal(std::string_view text);

// The images in order of their names; invalid when one breaks a rule or is there twice.
Result<std::vector<const Image*>> ordered_images(const Publication& change);

// Whether ORDERED has an image of that name.
bool has_image(const std::vector<const Image*>& ordered, const DiskName& name);

enum class ImageChange { none, attributes, content };

// How IMAGE differs from what its server HELD under that name.
ImageChange compare(const Image& image, const Location& held);

// A server says of an image only whether it is whole; what else is known of the content stays.
LocationState state_after(const Image& image, LocationState held);

// The location that IMAGE becomes with a new content.
Location new_location(const Image& image, std::string_view server, std::uint64_t generation,
                      std::int64_t now);

// Puts IMAGE's attributes into HELD, the content being the same.
void take_attributes(Location& held, const Image& image);

// conflict when the digest is of another generation, or the location is damaged and it is of other
// bytes than those that it should have.
Result<void> check_new_digest(const DigestRecord& record, const Location& held);

// The server to store when SERVER registers over HELD: conflict as Catalog::put_server says. A
// registration by a process counts as its first heartbeat; one without an instance (an operator's)
// leaves the running process registered.
Result<Server> registration(const Server& server, const std::optional<Server>& held,
                            std::int64_t now);

// Equal apart from heartbeats.
bool same_registration(const Server& a, const Server& b);

// invalid when a record breaks a rule, or is there twice. Gives the disks in order of their names.
Result<std::vector<const DiskRecord*>> check_restoration(const Restoration& records);

// Below what a store can count to, so that there are generations left after them.
inline constexpr std::uint64_t kMaxRestoredGeneration = std::uint64_t{1} << 61;

// The newest generation in RECORDS, or their floor.
std::uint64_t newest_in(const Restoration& records);

// The messages that every store gives.
std::unexpected<Error> no_server(std::string_view name);
std::unexpected<Error> no_location(const DiskName& disk, std::string_view server);
std::unexpected<Error> other_instance(std::string_view server);
std::unexpected<Error> bad_digest(const DigestRecord& record);
std::unexpected<Error> changed_meanwhile(const DiskName& disk, std::string_view server);
std::unexpected<Error> not_empty(std::string_view catalog);
std::unexpected<Error> half_imported(std::string_view catalog);

}  // namespace signpost
