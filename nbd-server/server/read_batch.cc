// SPDX-License-Identifier: BSD-3-Clause

#include "nbd-server/server/read_batch.h"

#include <sys/uio.h>

#include <cerrno>

#include "nbd-server/server/session.h"

namespace signpost {

bool ReadBatch::add(const wire::Request& request) {
    const std::size_t head = wire::read_head_size(session_.style_);
    const auto length = static_cast<std::size_t>(request.length);
    if (length > room_.size() - head) {
        return false;
    }
    if (length > room_.size() - used_ - head) {
        finish();
    }
    const auto data = room_.subspan(used_ + head, length);
    if (session_.disk_->read_now(request.offset, data) != Disk::Now::done) {
        return false;
    }
    wire::put_read_head(room_.subspan(used_, head), session_.reply_to(request), request.offset,
                        static_cast<std::uint32_t>(length), wire::Ending::done);
    used_ += head + length;
    reads_.push_back(request);
    return true;
}

bool ReadBatch::content_holds() {
    std::vector<ReadRange> ranges;
    ranges.reserve(reads_.size());
    for (const wire::Request& request : reads_) {
        ranges.push_back({request.offset, request.length});
    }
    return session_.disk_->content_holds(ranges);
}

void ReadBatch::finish() {
    if (reads_.empty()) {
        return;
    }
    const bool good = content_holds();
    session_.home_->counts().count(Op::read, session_.route_, {}, good, reads_.size());
    if (!good) {
        for (const wire::Request& request : reads_) {
            session_.reply_error(request, wire::kErrorIo, "the image has changed");
        }
    } else {
        std::size_t sent = 0;
        if (session_.out_.empty()) {
            const iovec part{room_.data(), used_};
            const ssize_t n = session_.stream_.send({&part, 1}, false);
            if (n < 0 && errno != EAGAIN) {
                session_.abort("the connection was lost while replies were sent");
            }
            sent = n > 0 ? static_cast<std::size_t>(n) : 0;
            session_.out_.count_sent(sent);
        }
        session_.keep(room_.subspan(sent, used_ - sent));
        if (reads_.size() == 1) {
            session_.expect_soon(used_);
        }
    }
    used_ = 0;
    reads_.clear();
}

}  // namespace signpost
