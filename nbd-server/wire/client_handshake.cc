// SPDX-License-Identifier: BSD-3-Clause
//
// The negotiation is a chain of questions, each sent when the one before it is answered: STARTTLS,
// TICKET, STRUCTURED_REPLY, SET_META_CONTEXT, GO, EXPORT_NAME. The protocol forbids to send an
// option before the last one's final reply, so there is never more than one question open, and
// `option_` is all the context that an answer needs.
//
// What a server may refuse without harm (structured replies, the meta context) is skipped over;
// what it may not (TLS when required, the export itself) ends the negotiation. Nothing is sent
// before the server's greeting is complete, so a client that dialled something else says nothing to
// it.
#include "nbd-server/wire/client_handshake.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <cassert>
#include <utility>

#include "nbd-server/wire/byte_reader.h"
#include "nbd-server/wire/text.h"

namespace signpost::wire {

namespace {

constexpr std::uint64_t kSizeLimit = std::uint64_t{1} << 63;
constexpr std::size_t kExportAnswerBytes = sizeof(Be64) + sizeof(Be16);

std::string_view option_name(Option option) {
    switch (option) {
        case Option::starttls:
            return "STARTTLS";
        case Option::structured_reply:
            return "STRUCTURED_REPLY";
        case Option::set_meta_context:
            return "SET_META_CONTEXT";
        case Option::ticket:
            return "TICKET";
        case Option::go:
            return "GO";
        default:
            return "EXPORT_NAME";
    }
}

std::string error_name(OptionReply type) {
    switch (type) {
        case OptionReply::err_unsup:
            return "not supported";
        case OptionReply::err_policy:
            return "forbidden by its policy";
        case OptionReply::err_invalid:
            return "invalid request";
        case OptionReply::err_platform:
            return "not supported on its platform";
        case OptionReply::err_tls_reqd:
            return "TLS required";
        case OptionReply::err_unknown:
            return "no such export";
        case OptionReply::err_shutdown:
            return "shutting down";
        case OptionReply::err_block_size_reqd:
            return "block size constraints";
        case OptionReply::err_too_big:
            return "request too big";
        case OptionReply::err_ext_header_reqd:
            return "extended headers required";
        default:
            return fmt::format("error {:#010x}", std::to_underlying(type));
    }
}

// The server's own words, as an appendix to ours.
std::string server_words(std::string_view text) {
    return text.empty() ? std::string() : ": " + quoted(text);
}

// Errors by which a server says that it has no TLS to offer.
bool means_no_tls(OptionReply type) {
    return type == OptionReply::err_unsup || type == OptionReply::err_policy ||
           type == OptionReply::err_platform;
}

void append_string(std::string& out, std::string_view text) {
    append_value(out, static_cast<std::uint32_t>(text.size()));
    out += text;
}

}  // namespace

ClientHandshake::ClientHandshake(Wish wish) : wish_(std::move(wish)) {
    if (wish_.export_name.size() > kMaxString) {
        give_up(Outcome::refused, "the export name is longer than 4,096 bytes");
    } else if (wish_.ticket.size() > kMaxString) {
        give_up(Outcome::refused, "the ticket is longer than 4,096 bytes");
    }
}

ClientHandshake::Outcome ClientHandshake::feed(std::span<const std::byte> bytes,
                                               std::size_t& consumed) {
    consumed = 0;
    while (outcome_ == Outcome::pending && consumed < bytes.size()) {
        const std::size_t n = std::min(wanted_ - in_.size(), bytes.size() - consumed);
        in_.append(reinterpret_cast<const char*>(bytes.data()) + consumed, n);
        consumed += n;
        if (in_.size() == wanted_) {
            take(std::exchange(in_, {}));
        }
    }
    if (outcome_ == Outcome::start_tls && consumed < bytes.size()) {
        break_off("the server sent plaintext behind its answer to STARTTLS");
    }
    return outcome_;
}

void ClientHandshake::tls_started() {
    assert(outcome_ == Outcome::start_tls);
    if (outcome_ != Outcome::start_tls) {
        return;
    }
    outcome_ = Outcome::pending;
    in_tls_ = true;
    info_ = {};
    start_options();
}

std::string ClientHandshake::take_output() {
    return std::exchange(out_, {});
}

void ClientHandshake::expect(Step step, std::size_t bytes) {
    step_ = step;
    wanted_ = bytes;
}

void ClientHandshake::take(std::string_view message) {
    switch (step_) {
        case Step::magic:
            return take_magic(ByteReader(message).take_u64());
        case Step::style:
            return take_style(ByteReader(message).take_u64());
        case Step::flags:
            return take_server_flags(ByteReader(message).take_u16());
        case Step::reply_header:
            return take_reply_header(message);
        case Step::reply_body:
            return take_reply(message);
        case Step::export_answer:
            return take_export_answer(message);
    }
}

void ClientHandshake::take_magic(std::uint64_t magic) {
    if (magic != kServerMagic) {
        return break_off("this is no NBD server: it does not begin with NBDMAGIC");
    }
    expect(Step::style, sizeof(Be64));
}

void ClientHandshake::take_style(std::uint64_t style) {
    if (style == kOldstyleMagic) {
        return give_up(Outcome::refused,
                       "the server speaks the oldstyle handshake, which has no export names; "
                       "make it use the newstyle one");
    }
    if (style != kOptionMagic) {
        return break_off("the server's greeting is neither newstyle nor oldstyle");
    }
    expect(Step::flags, sizeof(Be16));
}

void ClientHandshake::take_server_flags(std::uint16_t flags) {
    fixed_newstyle_ = (flags & kServerFixedNewstyle) != 0;
    no_zeroes_ = (flags & kServerNoZeroes) != 0;
    if (!fixed_newstyle_ && wish_.tls == TlsMode::require) {
        return give_up(Outcome::refused,
                       "the server cannot do TLS (no fixed newstyle), and TLS is required");
    }
    if (!fixed_newstyle_ && wish_.ticket_required) {
        return give_up(Outcome::refused,
                       "the server cannot take a ticket (no fixed newstyle), and one is required");
    }
    append_value(out_,
                 (fixed_newstyle_ ? kClientFixedNewstyle : 0) | (no_zeroes_ ? kClientNoZeroes : 0));
    start_options();
}

void ClientHandshake::start_options() {
    if (!fixed_newstyle_) {
        return ask_export_name();
    }
    if (wish_.tls != TlsMode::off && !in_tls_) {
        return send_option(Option::starttls, {});
    }
    ask_ticket();
}

// Before the first option that names the export: the server may judge that by the ticket.
void ClientHandshake::ask_ticket() {
    if (wish_.ticket.empty()) {
        return ask_structured_replies();
    }
    send_option(Option::ticket, wish_.ticket);
}

void ClientHandshake::ask_structured_replies() {
    if (!wish_.structured_replies) {
        return ask_go();
    }
    send_option(Option::structured_reply, {});
}

void ClientHandshake::ask_allocation_context() {
    if (!info_.structured_replies || !wish_.allocation_context) {
        return ask_go();
    }
    std::string data;
    append_string(data, wish_.export_name);
    append_value(data, std::uint32_t{1});
    append_string(data, kBaseAllocation);
    send_option(Option::set_meta_context, data);
}

void ClientHandshake::ask_go() {
    std::string data;
    append_string(data, wish_.export_name);
    append_value(data, std::uint16_t{2});
    append_value(data, std::to_underlying(Info::block_size));
    append_value(data, std::to_underlying(Info::description));
    send_option(Option::go, data);
}

void ClientHandshake::ask_export_name() {
    send_option(Option::export_name, wish_.export_name);
    expect(Step::export_answer, kExportAnswerBytes + (no_zeroes_ ? 0 : kExportNamePadding));
}

void ClientHandshake::send_option(Option option, std::string_view data) {
    append(out_, OptionHeader{kOptionMagic, std::to_underlying(option),
                              static_cast<std::uint32_t>(data.size())});
    out_ += data;
    option_ = option;
    expect(Step::reply_header, sizeof(OptionReplyHeader));
}

void ClientHandshake::take_reply_header(std::string_view message) {
    const auto header = ByteReader(message).take<OptionReplyHeader>();
    if (header.magic != kOptionReplyMagic) {
        return break_off(fmt::format("bad magic in the reply to {}", option_name(option_)));
    }
    if (header.option != std::to_underlying(option_)) {
        return break_off(fmt::format("the server answers option {} instead of {}",
                                     std::uint32_t{header.option}, option_name(option_)));
    }
    if (header.length > kMaxOptionReply) {
        return break_off(fmt::format("a reply of {} bytes to {}", std::uint32_t{header.length},
                                     option_name(option_)));
    }
    if (++replies_ > kMaxOptionReplies) {
        return break_off(fmt::format("more than {} option replies", kMaxOptionReplies));
    }
    reply_ = static_cast<OptionReply>(std::uint32_t{header.type});
    if (header.length == 0) {
        return take_reply({});
    }
    expect(Step::reply_body, header.length);
}

void ClientHandshake::take_reply(std::string_view body) {
    expect(Step::reply_header, sizeof(OptionReplyHeader));
    if (reply_ == OptionReply::ack && !body.empty()) {
        return break_off(fmt::format("the ACK to {} carries data", option_name(option_)));
    }
    if (reply_ == OptionReply::err_shutdown || reply_ == OptionReply::err_tls_reqd) {
        return refuse_by_server(body);
    }
    switch (option_) {
        case Option::starttls:
            return on_starttls_reply(body);
        case Option::ticket:
            return on_ticket_reply(body);
        case Option::structured_reply:
            return on_structured_reply(body);
        case Option::set_meta_context:
            return on_meta_reply(body);
        default:
            return on_go_reply(body);
    }
}

void ClientHandshake::on_starttls_reply(std::string_view body) {
    if (reply_ == OptionReply::ack) {
        outcome_ = Outcome::start_tls;
    } else if (!is_error(reply_)) {
        break_off("unexpected reply to STARTTLS");
    } else if (wish_.tls == TlsMode::prefer && means_no_tls(reply_)) {
        ask_ticket();
    } else {
        refuse_by_server(body);
    }
}

void ClientHandshake::on_ticket_reply(std::string_view body) {
    if (reply_ != OptionReply::ack && !is_error(reply_)) {
        return break_off("unexpected reply to TICKET");
    }
    if (reply_ != OptionReply::ack && wish_.ticket_required) {
        return refuse_by_server(body);
    }
    info_.ticket_accepted = reply_ == OptionReply::ack;
    ask_structured_replies();
}

void ClientHandshake::on_structured_reply(std::string_view) {
    if (reply_ != OptionReply::ack && !is_error(reply_)) {
        return break_off("unexpected reply to STRUCTURED_REPLY");
    }
    info_.structured_replies = reply_ == OptionReply::ack;
    ask_allocation_context();
}

void ClientHandshake::on_meta_reply(std::string_view body) {
    if (is_error(reply_)) {
        info_.allocation_context.reset();  // what was listed before an error counts for nothing
        return ask_go();
    }
    if (reply_ == OptionReply::ack) {
        return ask_go();
    }
    ByteReader reader(body);
    const std::uint32_t id = reader.take_u32();
    if (reply_ != OptionReply::meta_context || !reader.ok()) {
        return break_off("unexpected reply to SET_META_CONTEXT");
    }
    const std::string_view name = reader.take_rest();
    if (name != kBaseAllocation || info_.allocation_context) {
        return break_off(fmt::format("the server selects meta context {}, which was not asked for",
                                     quoted(name)));
    }
    info_.allocation_context = id;
}

void ClientHandshake::on_go_reply(std::string_view body) {
    if (is_error(reply_)) {
        return on_go_error(body);
    }
    if (reply_ == OptionReply::info) {
        return on_info(body);
    }
    if (reply_ != OptionReply::ack) {
        return break_off("unexpected reply to GO");
    }
    if (!has_export_info_) {
        return break_off("the server says yes to GO without the export's size");
    }
    finish();
}

void ClientHandshake::on_go_error(std::string_view text) {
    if (reply_ == OptionReply::err_unsup) {
        ExportInfo fresh;
        fresh.structured_replies = info_.structured_replies;
        fresh.ticket_accepted = info_.ticket_accepted;
        fresh.allocation_context = info_.allocation_context;
        info_ = std::move(fresh);
        has_export_info_ = false;
        return ask_export_name();
    }
    if (reply_ == OptionReply::err_unknown) {
        return give_up(Outcome::unknown,
                       fmt::format("the server has no export {}{}", quoted(wish_.export_name),
                                   server_words(text)));
    }
    refuse_by_server(text);
}

void ClientHandshake::on_info(std::string_view body) {
    ByteReader reader(body);
    const auto type = static_cast<Info>(reader.take_u16());
    if (!reader.ok()) {
        return break_off("an INFO reply without a type");
    }
    if (type == Info::export_) {
        const std::uint64_t size = reader.take_u64();
        const std::uint16_t flags = reader.take_u16();
        if (!reader.ok() || reader.left() != 0) {
            return break_off("INFO_EXPORT has the wrong length");
        }
        on_export_info(size, flags);
    } else if (type == Info::block_size) {
        const std::uint32_t minimum = reader.take_u32();
        const std::uint32_t preferred = reader.take_u32();
        const std::uint32_t maximum = reader.take_u32();
        if (!reader.ok() || reader.left() != 0) {
            return break_off("INFO_BLOCK_SIZE has the wrong length");
        }
        on_block_size_info(minimum, preferred, maximum);
    } else if (type == Info::description) {
        // A decoration: one that breaks the rules is left out, not held against the server.
        const std::string_view text = reader.take_rest();
        info_.description = is_protocol_string(text) ? text : std::string_view();
    }
}

void ClientHandshake::on_export_info(std::uint64_t size, std::uint16_t flags) {
    if (has_export_info_ && (size != info_.size || flags != info_.flags)) {
        return break_off("the server gives the export's size and flags twice, and differently");
    }
    if (size >= kSizeLimit) {
        return break_off(fmt::format("the export's size, {:#x}, is not below 2^63", size));
    }
    if ((flags & kFlagHasFlags) == 0) {
        return break_off(fmt::format("the transmission flags, {:#06x}, lack HAS_FLAGS", flags));
    }
    info_.size = size;
    info_.flags = flags;
    has_export_info_ = true;
}

void ClientHandshake::on_block_size_info(std::uint32_t minimum, std::uint32_t preferred,
                                         std::uint32_t maximum) {
    const bool same = minimum == info_.minimum_block && preferred == info_.preferred_block &&
                      maximum == info_.maximum_payload;
    if (has_block_size_info_ && !same) {
        return break_off("the server gives its block sizes twice, and differently");
    }
    if (!std::has_single_bit(minimum) || minimum > kMaxMinimumBlock || preferred < minimum ||
        maximum < minimum) {
        return break_off(fmt::format("impossible block sizes: minimum {}, preferred {}, maximum {}",
                                     minimum, preferred, maximum));
    }
    info_.minimum_block = minimum;
    info_.preferred_block = preferred;
    info_.maximum_payload = maximum;
    has_block_size_info_ = true;
}

void ClientHandshake::take_export_answer(std::string_view message) {
    ByteReader reader(message);
    const std::uint64_t size = reader.take_u64();
    on_export_info(size, reader.take_u16());
    if (outcome_ == Outcome::pending) {
        finish();
    }
}

void ClientHandshake::finish() {
    if (!info_.structured_replies) {
        info_.flags &= static_cast<std::uint16_t>(~kFlagSendDf);
    }
    if ((info_.flags & kFlagSendWriteZeroes) == 0) {
        info_.flags &= static_cast<std::uint16_t>(~kFlagSendFastZero);
    }
    outcome_ = Outcome::ready;
}

// The server refused the open option, with an error that ends the negotiation.
void ClientHandshake::refuse_by_server(std::string_view text) {
    if (reply_ == OptionReply::err_tls_reqd && in_tls_) {
        return break_off("the server demands TLS although it is up");
    }
    std::string_view remedy;
    if (reply_ == OptionReply::err_tls_reqd && wish_.tls == TlsMode::off) {
        remedy = "; use tls=require";
    } else if (option_ == Option::starttls && wish_.tls == TlsMode::require) {
        remedy = "; TLS is required, so nothing is sent without it";
    } else if (option_ == Option::ticket) {
        remedy = "; without a ticket it is not to be asked for this disk";
    }
    give_up(Outcome::refused, fmt::format("the server refuses {} ({}){}{}", option_name(option_),
                                          error_name(reply_), remedy, server_words(text)));
}

void ClientHandshake::give_up(Outcome outcome, std::string reason) {
    outcome_ = outcome;
    reason_ = std::move(reason);
    if (option_ != Option::none) {
        append(out_, OptionHeader{kOptionMagic, std::to_underlying(Option::abort), 0});
    }
}

void ClientHandshake::break_off(std::string reason) {
    outcome_ = Outcome::broken;
    reason_ = std::move(reason);
    out_.clear();
}

}  // namespace signpost::wire
