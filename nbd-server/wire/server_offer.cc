// SPDX-License-Identifier: BSD-3-Clause
//
// The half of ServerHandshake that answers: what the session said of an export, a list or a ticket,
// in the words of the protocol, and what of it is settled for the transmission.
#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <utility>

#include "nbd-server/wire/option_data.h"
#include "nbd-server/wire/server_handshake.h"
#include "nbd-server/wire/text.h"

namespace signpost::wire {

namespace {

constexpr std::uint16_t kKnownFlags = kFlagHasFlags | kFlagReadOnly | kFlagSendFlush |
                                      kFlagSendFua | kFlagRotational | kFlagSendTrim |
                                      kFlagSendWriteZeroes | kFlagSendDf | kFlagCanMultiConn |
                                      kFlagSendCache | kFlagSendFastZero | kFlagBlockStatusPayload;

constexpr std::uint32_t kSmallestPreferredBlock = 512;

template <class Value>
std::string info_data(Info info, Value value) {
    std::string data;
    append_value(data, std::to_underlying(info));
    append_value(data, value);
    return data;
}

std::string info_text(Info info, std::string_view text) {
    std::string data;
    append_value(data, std::to_underlying(info));
    return data += text;
}

// What a client assumes that is told no block sizes.
bool is_default_block_size(const ServerHandshake::Settled& settled) {
    const ServerHandshake::Settled usual;
    return settled.minimum_block == usual.minimum_block &&
           settled.preferred_block == usual.preferred_block &&
           settled.maximum_payload == usual.maximum_payload;
}

// Block sizes as the protocol wants them, whatever the disk said.
void set_block_sizes(ServerHandshake::Settled& settled, const ExportFacts& facts) {
    settled.minimum_block = std::bit_floor(std::clamp(facts.minimum_block, 1u, kMaxMinimumBlock));
    const std::uint32_t least = std::max(settled.minimum_block, kSmallestPreferredBlock);
    settled.preferred_block = std::bit_floor(std::clamp(facts.preferred_block, least, kMaxPayload));
    settled.maximum_payload =
        std::clamp(facts.maximum_payload, settled.preferred_block, kMaxPayload);
    settled.size = facts.size - facts.size % settled.minimum_block;
}

}  // namespace

bool ServerHandshake::answers(Question::Kind kind) const {
    return outcome_ == Outcome::ask && question_.kind == kind;
}

ServerHandshake::Outcome ServerHandshake::answer_export(const ExportAnswer& answer) {
    if (!answers(Question::Kind::open_export)) {
        return outcome_;
    }
    outcome_ = Outcome::pending;
    if (const auto* refusal = std::get_if<Refusal>(&answer)) {
        refuse_export(refusal->code, refusal->sentence);
    } else {
        offer(std::get<ExportFacts>(answer));
    }
    data_.clear();
    return outcome_;
}

ServerHandshake::Outcome ServerHandshake::answer_list(std::span<const ListEntry> page, bool last) {
    if (!answers(Question::Kind::list)) {
        return outcome_;
    }
    for (const ListEntry& entry : page) {
        if (is_protocol_string(entry.name)) {
            std::string data;
            append_value(data, static_cast<std::uint32_t>(entry.name.size()));
            data += entry.name;
            data += displayable(entry.description);
            reply(OptionReply::server, data);
        }
    }
    if (last) {
        outcome_ = Outcome::pending;
        reply(OptionReply::ack);
    }
    return outcome_;
}

ServerHandshake::Outcome ServerHandshake::refuse_list(OptionReply code, std::string_view sentence) {
    if (answers(Question::Kind::list)) {
        outcome_ = Outcome::pending;
        refuse(code, sentence);
    }
    return outcome_;
}

ServerHandshake::Outcome ServerHandshake::accept_ticket() {
    if (answers(Question::Kind::ticket)) {
        outcome_ = Outcome::pending;
        ticket_ = question_.text;
        reply(OptionReply::ack);
    }
    return outcome_;
}

ServerHandshake::Outcome ServerHandshake::refuse_ticket(std::string_view sentence) {
    if (answers(Question::Kind::ticket)) {
        outcome_ = Outcome::pending;
        refuse(OptionReply::err_policy, sentence);
    }
    return outcome_;
}

void ServerHandshake::offer(const ExportFacts& facts) {
    if (facts.size >> 63 != 0) {
        return refuse_export(OptionReply::err_platform, "the disk is not smaller than 2^63 bytes");
    }
    switch (question_.purpose) {
        case Purpose::export_name:
            return offer_by_name(facts);
        case Purpose::meta:
            return offer_contexts(facts);
        default:
            return offer_info(facts);
    }
}

void ServerHandshake::offer_info(const ExportFacts& facts) {
    const InfoRequest request = *parse_info_request(data_);
    Settled settled = settle(facts);
    settled.knows_block_size = request.wants(Info::block_size);
    if (facts.demand_block_size && !settled.knows_block_size) {
        reply_block_size(settled);
        return refuse(OptionReply::err_block_size_reqd,
                      "the disk has a minimum block size: ask for it with INFO_BLOCK_SIZE");
    }
    std::string data = info_data(Info::export_, settled.size);
    append_value(data, settled.flags);
    reply(OptionReply::info, data);
    if (settled.knows_block_size || !is_default_block_size(settled)) {
        reply_block_size(settled);
    }
    if (request.wants(Info::name)) {
        const bool is_canonical = !facts.name.empty() && is_protocol_string(facts.name);
        reply(OptionReply::info, info_text(Info::name, is_canonical ? facts.name : settled.name));
    }
    if (request.wants(Info::description) && !facts.description.empty()) {
        reply(OptionReply::info, info_text(Info::description, displayable(facts.description)));
    }
    reply(OptionReply::ack);
    if (question_.purpose == Purpose::go) {
        settled_ = std::move(settled);
        outcome_ = Outcome::transmission;
    }
}

void ServerHandshake::offer_by_name(const ExportFacts& facts) {
    settled_ = settle(facts);
    if (facts.demand_block_size) {
        return end("EXPORT_NAME for a disk that demands block sizes, which it cannot tell");
    }
    append_value(out_, settled_.size);
    append_value(out_, settled_.flags);
    if (!no_zeroes_) {
        out_.append(kExportNamePadding, '\0');
    }
    outcome_ = Outcome::transmission;
}

void ServerHandshake::offer_contexts(const ExportFacts& facts) {
    const MetaRequest request = *parse_meta_request(data_);
    const bool selects = option_ == Option::set_meta_context;
    for (const std::string& name : facts.contexts) {
        if (!is_protocol_string(name) || !request.names(name, selects)) {
            continue;
        }
        const std::uint32_t id = selects ? next_context_++ : 0;
        if (selects) {
            contexts_.push_back({id, name});
        }
        std::string data;
        append_value(data, id);
        reply(OptionReply::meta_context, data += name);
    }
    if (selects) {
        contexts_of_ = question_.text;
    }
    reply(OptionReply::ack);
}

void ServerHandshake::refuse_export(OptionReply code, std::string_view sentence) {
    if (question_.purpose == Purpose::export_name) {
        return end(fmt::format("EXPORT_NAME refused: {}", displayable(sentence)));
    }
    refuse(code, sentence);
}

ServerHandshake::Settled ServerHandshake::settle(const ExportFacts& facts) const {
    Settled settled;
    settled.name = question_.text;
    settled.style = extended_headers_     ? ReplyStyle::extended
                    : structured_replies_ ? ReplyStyle::structured
                                          : ReplyStyle::simple;
    set_block_sizes(settled, facts);
    if (contexts_of_ == settled.name) {
        settled.contexts = contexts_;
    }
    settled.flags = settled_flags(facts.flags, !settled.contexts.empty());
    return settled;
}

std::uint16_t ServerHandshake::settled_flags(std::uint16_t flags, bool has_contexts) const {
    const auto without = [&flags](unsigned what) { flags &= static_cast<std::uint16_t>(~what); };
    without(~unsigned{kKnownFlags});
    if (!structured_replies_ && !extended_headers_) {
        without(kFlagSendDf);
    }
    if (!extended_headers_ || !has_contexts) {
        without(kFlagBlockStatusPayload);
    }
    if ((flags & kFlagReadOnly) != 0) {
        without(kFlagSendTrim | kFlagSendWriteZeroes);
    }
    if ((flags & kFlagSendWriteZeroes) == 0) {
        without(kFlagSendFastZero);
    }
    return flags | kFlagHasFlags;
}

void ServerHandshake::reply_block_size(const Settled& settled) {
    std::string data = info_data(Info::block_size, settled.minimum_block);
    append_value(data, settled.preferred_block);
    append_value(data, settled.maximum_payload);
    reply(OptionReply::info, data);
}

}  // namespace signpost::wire
