// SPDX-License-Identifier: BSD-3-Clause
//
// The way down: from received bytes to a reply that is sent at once, or an Operation that is under
// way.

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "nbd-server/disk/disk_difference.h"
#include "nbd-server/server/read_batch.h"
#include "nbd-server/server/session.h"

namespace signpost {

namespace {

constexpr unsigned kMaxOperations = 128;
constexpr std::uint64_t kMaxBytesUnderWay = 64 * 1024 * 1024;
constexpr std::uint64_t kMaxQueued = 2 * 1024 * 1024;  // replies held until the client reads
constexpr std::size_t kMaxPieces = 1024;               // that they are made of

constexpr std::chrono::milliseconds kMemoryPause{10};

// Up to here one copy into a batch costs less than a call of sendfile for each read.
constexpr std::uint64_t kMaxBatched = 32 * 1024;
// From here on the bytes of a relayed read stay in the kernel.
constexpr std::uint64_t kMinMoved = 32 * 1024;

Op op_of(wire::Command command) {
    switch (command) {
        case wire::Command::write:
            return Op::write;
        case wire::Command::flush:
            return Op::flush;
        case wire::Command::trim:
            return Op::trim;
        case wire::Command::write_zeroes:
            return Op::write_zeroes;
        case wire::Command::cache:
            return Op::cache;
        case wire::Command::block_status:
            return Op::extents;
        default:
            return Op::read;
    }
}

std::uint8_t flags_of(const wire::Request& asked) {
    std::uint8_t flags = 0;
    flags |= asked.has(wire::kCommandFua) ? kRequestFua : 0;
    flags |= asked.has(wire::kCommandNoHole) ? kRequestNoHole : 0;
    flags |= asked.has(wire::kCommandFastZero) ? kRequestFastZero : 0;
    flags |= asked.has(wire::kCommandReqOne) ? kRequestOneExtent : 0;
    return flags;
}

}  // namespace

bool Session::may_take_more() const {
    return !moving_ && !waits_for_memory_ && operations_ < kMaxOperations &&
           bytes_under_way_ < kMaxBytesUnderWay && out_.held() < kMaxQueued &&
           out_.pieces() < kMaxPieces && (out_.empty() || service_.memory().left() > 0);
}

void Session::serve_input(std::span<const std::byte> bytes) {
    const std::size_t used = serve(bytes);
    if (phase_ == Phase::transmission) {
        const auto rest = bytes.subspan(used);
        input_.assign(reinterpret_cast<const char*>(rest.data()), rest.size());
    }
    flush();
}

// How many of BYTES were used; the rest waits for more bytes, or for room.
std::size_t Session::serve(std::span<const std::byte> bytes) {
    auto rest = bytes;
    starved_ = false;
    ReadBatch batch(*this, home_->batch());
    unsigned taken = 0;
    while (phase_ == Phase::transmission && may_take_more() && !filling_) {
        if (dropping_ > 0) {
            const auto dropped = std::min<std::uint64_t>(dropping_, rest.size());
            dropping_ -= dropped;
            rest = rest.subspan(static_cast<std::size_t>(dropped));
            if (dropping_ > 0) {
                break;
            }
        }
        wire::Request request;
        const auto next = requests_->next(rest, request);
        starved_ = next == wire::RequestReader::Next::need_more;
        if (next == wire::RequestReader::Next::broken) {
            batch.finish();
            close_in_order(requests_->reason());
        }
        if (next != wire::RequestReader::Next::request || !take(request, rest, batch)) {
            break;
        }
        taken += request.length <= kMaxBatched ? 1 : 0;
        // What the client does not take at once must not pile up now.
        if (service_.memory().left() <= 0) {
            batch.finish();
        }
    }
    batch.finish();
    if (bursts_.worth_resting(taken)) {
        home_->loop().let_gather();
    }
    starved_ = starved_ || rest.empty();
    return bytes.size() - rest.size();
}

// False: not now; the request stays in the input.
bool Session::take(const wire::Request& request, std::span<const std::byte>& rest,
                   ReadBatch& batch) {
    auto behind = rest.subspan(request.consumed);
    if (request.verdict != wire::Verdict::ok) {
        refuse(request, wire::nbd_error(request.verdict), wire::sentence(request.verdict));
    } else if (request.command == wire::Command::disconnect) {
        at_end_ = true;
        disk_->farewell();
        close_in_order("the client has disconnected");
    } else if (leaving_ && home_->loop().now() > deadline_) {
        close_in_order("the server stops");
        return false;
    } else if (request.payload_length > 0) {
        if (!start_with_payload(request, behind)) {
            return false;
        }
    } else if (request.command == wire::Command::read) {
        if (!read(request, batch)) {
            return false;
        }
    } else if (request.command == wire::Command::flush && disk_->traits().read_only) {
        home_->counts().count(Op::flush, route_, {}, true);
        reply_success(request);
    } else if (!start(request)) {
        return false;
    }
    rest = behind;
    return true;
}

void Session::refuse(const wire::Request& request, std::uint32_t error, std::string_view sentence) {
    dropping_ = request.payload_length;
    reply_error(request, error, sentence);
}

bool Session::read(const wire::Request& request, ReadBatch& batch) {
    const bool near = disk_->is_near();
    const bool large = request.length > kMaxBatched;
    if (near && large && stream_.is_plain()) {
        batch.finish();
        if (phase_ != Phase::transmission) {
            return true;
        }
    }
    if (near && large && (stream_.is_plain() || !in_one_chunk(request)) && read_moved(request)) {
        return true;
    }
    if (near && (!large || !stream_.is_plain()) && batch.add(request)) {
        return true;
    }
    return start_read(request);
}

// The kernel moves the bytes from the file to the socket. What they are is settled by a look at the
// file after they have left: the reply says only then whether it stands. Inside TLS that is of use
// for what needs no bytes.
bool Session::read_moved(const wire::Request& request) {
    std::vector<ReadPart> parts;
    const auto length = static_cast<std::uint32_t>(request.length);
    if (disk_->locate_now(request.offset, length, parts) != Disk::Now::done) {
        return false;
    }
    const auto is_hole = [](const ReadPart& part) { return part.place == ReadPart::Place::hole; };
    const auto is_file = [](const ReadPart& part) { return part.place == ReadPart::Place::file; };
    if (!stream_.is_plain() && std::ranges::none_of(parts, is_hole)) {
        return false;
    }
    // What lies in one file after the other, as in a chain, still needs one head only.
    const bool one_file = std::ranges::all_of(parts, is_file);
    if (one_file || in_one_chunk(request)) {
        std::array<std::byte, wire::kMaxReadHead> head;
        const auto ending = wire::Ending::more;
        out_.text(std::span(head).first(
            wire::put_read_head(head, reply_to(request), request.offset, length, ending)));
        for (ReadPart& part : parts) {
            out_.part(std::move(part));
        }
    } else {
        for (ReadPart& part : parts) {
            send_chunk(request, std::move(part), {});
        }
    }
    out_.proof({request.cookie, request.offset, length});
    home_->counts().count(Op::read, route_, {}, true);
    return true;
}

// What is larger than the whole budget may go when nothing else does.
bool Session::claim(std::uint64_t bytes, MemoryBudget::Share& share) {
    share = service_.memory().take(std::min(bytes, service_.limits().memory));
    if (share) {
        return true;
    }
    waits_for_memory_ = true;
    home_->loop().call_at(home_->loop().now() + kMemoryPause, [weak = weak_from_this()] {
        if (const auto self = weak.lock()) {
            self->waits_for_memory_ = false;
            self->go_on();
            self->settle();
        }
    });
    return false;
}

Operation& Session::new_operation(const wire::Request& request) {
    auto* const operation = new Operation;
    operation->session = this;
    operation->began = home_->loop().now();
    operation->asked = request;
    Request& down = operation->request;
    down.op = op_of(request.command);
    down.flags = flags_of(request);
    down.offset = request.offset;
    down.length = request.length;
    down.context = operation;
    return *operation;
}

bool Session::start_read(const wire::Request& request) {
    MemoryBudget::Share share;
    if (!claim(request.length, share)) {
        return false;
    }
    Operation& operation = new_operation(request);
    operation.share = std::move(share);
    if (disk_->home_loop() == &home_->loop() && request.length >= kMinMoved) {
        operation.request.sink = this;
    } else {
        operation.memory = std::make_unique_for_overwrite<std::byte[]>(
            wire::kMaxReadHead + static_cast<std::size_t>(request.length));
        operation.request.buffer = operation.memory.get() + wire::kMaxReadHead;
    }
    run(operation);
    return true;
}

bool Session::start(const wire::Request& request) {
    Operation& operation = new_operation(request);
    if (request.command == wire::Command::block_status) {
        operation.chosen = ~std::uint64_t{0};
        operation.request.extents = &operation.extents;
    }
    run(operation);
    return true;
}

bool Session::start_with_payload(const wire::Request& request, std::span<const std::byte>& rest) {
    MemoryBudget::Share share;
    if (!claim(request.payload_length, share)) {
        return false;
    }
    filling_.reset(&new_operation(request));
    filling_->share = std::move(share);
    filling_->memory = std::make_unique_for_overwrite<std::byte[]>(request.payload_length);
    const auto here = std::min<std::size_t>(rest.size(), request.payload_length);
    std::memcpy(filling_->memory.get(), rest.data(), here);
    filling_->filled = static_cast<std::uint32_t>(here);
    rest = rest.subspan(here);
    payload_complete();
    return true;
}

// If it is.
void Session::payload_complete() {
    if (filling_->filled < filling_->asked.payload_length) {
        return;
    }
    Operation& operation = *filling_.release();
    if (operation.asked.has_filter()) {
        requests_->choose_contexts(operation.asked,
                                   {operation.memory.get(), operation.asked.payload_length},
                                   operation.chosen);
        operation.request.length = operation.asked.length;
        operation.request.extents = &operation.extents;
    } else {
        operation.request.buffer = operation.memory.get();
    }
    const wire::Request asked = operation.asked;
    if (asked.verdict != wire::Verdict::ok) {
        delete &operation;
        reply_error(asked, wire::nbd_error(asked.verdict), wire::sentence(asked.verdict));
    } else {
        run(operation);
    }
}

// Of a BLOCK_STATUS, before the disk says the rest. What cannot be compared may differ.
void Session::compare(Operation& operation) const {
    if (operation.request.op != Op::extents) {
        return;
    }
    for (std::size_t i = 0; i < contexts_.size(); ++i) {
        const auto other = others_.find(contexts_[i].name);
        if (((operation.chosen >> i) & 1) == 0 || other == others_.end()) {
            continue;
        }
        auto& extents = operation.differences[contexts_[i].name];
        const int error = list_differences(*disk_, *other->second, operation.request.offset,
                                           operation.request.length, extents);
        if (error != 0) {
            extents.assign(1, {.length = operation.request.length, .flags = kDiffers});
        }
    }
}

void Session::run(Operation& operation) {
    ++operations_;
    bytes_under_way_ += operation.request.op == Op::read || operation.request.op == Op::write
                            ? operation.request.length
                            : 0;
    if (disk_->home_loop() == &home_->loop()) {
        operation.request.done = [](Request& request, int error) {
            auto& done = *static_cast<Operation*>(request.context);
            done.error = error;
            done.session->ended(done);
        };
        disk_->submit(operation.request);
        return;
    }
    operation.request.done = [](Request& request, int error) {
        auto& done = *static_cast<Operation*>(request.context);
        done.error = error;
        done.session->home_->finish_later(done);
    };
    if (disk_->home_loop() != nullptr) {
        disk_->submit(operation.request);
    } else {
        service_.workers().run([this, &operation] {
            compare(operation);
            disk_->submit(operation.request);
        });
    }
}

}  // namespace signpost
