// SPDX-License-Identifier: BSD-3-Clause
//
// The part of a VerifiedCore that gets the chunk digests, and does without them where it may.

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "nbd-server/disk/verified_core.h"

namespace signpost {

namespace {

constexpr std::uint64_t kChunk = DigestTree::kChunkBytes;
constexpr std::chrono::seconds kRetry{1};
constexpr std::chrono::minutes kSeldom{1};

}  // namespace

void VerifiedCore::reach(Disk::Told told) {
    askers_.push_back(std::move(told));
    if (leaves_ != nullptr || unchecked_) {
        answer_askers({});
    } else {
        find_out();
    }
}

// Where clients wait for this so long only, the relay looks for its servers meanwhile.
void VerifiedCore::find_out() {
    if (finding_out_ || closed_) {
        return;
    }
    finding_out_ = true;
    if (!services_.parts().must_check && !unchecked_) {
        relay_->reach([](const Result<void>&) {});
        search_ = loop_.call_at(loop_.now() + services_.parts().search, [weak = weak_from_this()] {
            if (const auto self = weak.lock()) {
                self->search_ = {};
                self->do_without("its chunk digests have not come in time");
            }
        });
    }
    find_leaves(
        services_, loop_, {plan_, digest_, std::exchange(asked_before_, true)},
        [self = shared_from_this()](LeafAnswer answer) { self->found_out(std::move(answer)); });
}

void VerifiedCore::found_out(LeafAnswer answer) {
    finding_out_ = false;
    loop_.cancel(search_);
    if (closed_) {
        answer_askers({});
        return;
    }
    if (answer) {
        if (auto learnt = learn(**answer); !learnt) {
            answer = std::unexpected(learnt.error());
        }
    }
    if (!answer) {
        services_.parts().must_check ? refuse(answer.error().message)
                                     : do_without(answer.error().message);
        return;
    }
    leaves_ = std::move(*answer);
    if (std::exchange(unchecked_, false)) {
        services_.log.info(
            fmt::format("disk '{}': checked from now on", escaped(plan_.disk.str())));
    }
    answer_askers({});
    const std::set<Ask*> waiting = asks_;
    for (Ask* ask : waiting) {
        serve(*ask);
    }
    answer_finished();
}

// Which of LEAVES are those of zeroes.
Result<void> VerifiedCore::learn(const DigestTree::Leaves& leaves) {
    if (leaves.empty()) {
        return {};
    }
    const auto whole = digest_of_zeroes(kChunk);
    const auto end = digest_of_zeroes(bytes_of(leaves.size() - 1));
    if (!whole || !end) {
        return std::unexpected((whole ? end : whole).error());
    }
    zero_chunk_ = *whole;
    zero_end_ = *end;
    return {};
}

// Once the digests are known, or nobody asks for them, what is left to know is whether the disk can
// be had.
void VerifiedCore::answer_askers(const Result<void>& answer) {
    for (Disk::Told& told : std::exchange(askers_, {})) {
        if (answer && relay_ != nullptr) {
            relay_->reach(std::move(told));
        } else {
            told(answer);
        }
    }
}

void VerifiedCore::refuse(const std::string& why) {
    const std::string trouble = fmt::format("disk '{}' cannot be checked, so it is not served: {}",
                                            escaped(plan_.disk.str()), why);
    if (std::exchange(told_trouble_, trouble) != trouble) {
        services_.log.error(trouble);
    }
    answer_askers(fail(Errc::unavailable, trouble));
    if (!asks_.empty()) {
        loop_.call_at(loop_.now() + kRetry, [weak = weak_from_this()] {
            if (const auto self = weak.lock(); self && !self->asks_.empty()) {
                self->find_out();
            }
        });
    }
}

void VerifiedCore::do_without(const std::string& why) {
    if (!std::exchange(unchecked_, true)) {
        services_.log.info(
            fmt::format("disk '{}': not checked: {}", escaped(plan_.disk.str()), why));
        answer_askers({});
        for (Ask* waiting : std::exchange(asks_, {})) {
            const std::unique_ptr<Ask> ask(waiting);
            pass(*ask->request, ask->due);
        }
    }
    if (!finding_out_) {
        again_ = loop_.call_at(loop_.now() + again_in_, [weak = weak_from_this()] {
            if (const auto self = weak.lock()) {
                self->again_ = {};
                self->look_again();
            }
        });
        again_in_ = std::min<EventLoop::Clock::duration>(2 * again_in_, kSeldom);
    }
}

// The catalog is asked first: there may be a copy by now whose server has them.
void VerifiedCore::look_again() {
    services_.work(
        loop_,
        [ask = plan_.ask_again]() -> Result<std::vector<Upstream>> {
            return ask ? ask() : Result<std::vector<Upstream>>();
        },
        [self = shared_from_this()](const Result<std::vector<Upstream>>& answer) {
            self->adopt(answer);
            self->find_out();
        });
}

// --- while they are not known

// Gone when it has come back.
struct VerifiedCore::Pass final : ReadSink {
    Pass(std::shared_ptr<VerifiedCore> to, Request& from, Time until)
        : core(std::move(to)), relay(core->relay_), asked(from), due(until), request(from) {
        request.context = this;
        request.done = [](Request& done, int error) {
            auto& pass = *static_cast<Pass*>(done.context);
            pass.core->passed(pass, error);
        };
        request.sink = from.sink == nullptr ? nullptr : this;
    }

    void take(Request&, ReadPart part) override { parts.push_back(std::move(part)); }

    const std::shared_ptr<VerifiedCore> core;
    const std::shared_ptr<Disk> relay;
    Request& asked;
    const Time due;
    Request request;
    std::vector<ReadPart> parts;
};

void VerifiedCore::pass(Request& request, Time due) {
    auto* const pass = new Pass(shared_from_this(), request, due);
    pass->relay->submit(pass->request);
}

void VerifiedCore::passed(Pass& pass, int error) {
    const std::unique_ptr<Pass> held(&pass);
    Request& asked = pass.asked;
    if (error == 0 && leaves_ != nullptr) {
        begin(asked, pass.due);
        return;
    }
    for (ReadPart& part : pass.parts) {
        asked.sink->take(asked, std::move(part));
    }
    asked.done(asked, error);
}

}  // namespace signpost
