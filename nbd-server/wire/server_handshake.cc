// SPDX-License-Identifier: BSD-3-Clause
//
// One option at a time: its header, its data, its answer. Each option has its function, which finds
// its data good or refuses it, and either answers at once or asks the session. In the second case
// the data is kept, and read again when the answer comes: so what the client asked is in one place,
// and a question holds no state of its own.
//
// The data of an option is collected before anything is said to it, even when it is refused
// whatever it says: so the next option is found where it is, and a client that sends all at once
// gets the same answers as one that waits.
#include "nbd-server/wire/server_handshake.h"

#include <fmt/core.h>

#include <algorithm>
#include <cassert>
#include <utility>

#include "nbd-server/wire/byte_reader.h"
#include "nbd-server/wire/option_data.h"
#include "nbd-server/wire/text.h"

namespace signpost::wire {

namespace {}  // namespace

ServerHandshake::ServerHandshake(Settings settings) : settings_(settings) {
    append_value(out_, kServerMagic);
    append_value(out_, kOptionMagic);
    append_value(out_, static_cast<std::uint16_t>(kServerFixedNewstyle | kServerNoZeroes));
}

ServerHandshake::Outcome ServerHandshake::feed(std::span<const std::byte> bytes,
                                               std::size_t& consumed) {
    consumed = 0;
    while (outcome_ == Outcome::pending && consumed < bytes.size()) {
        const auto left = bytes.subspan(consumed);
        consumed += step_ == Step::skipped_data ? skip(left) : collect(left);
    }
    if (outcome_ == Outcome::start_tls && consumed < bytes.size()) {
        out_.clear();
        end("the client sent plaintext behind STARTTLS");
    }
    return outcome_;
}

std::size_t ServerHandshake::collect(std::span<const std::byte> bytes) {
    const std::size_t n = std::min(wanted_ - in_.size(), bytes.size());
    in_.append(reinterpret_cast<const char*>(bytes.data()), n);
    if (in_.size() == wanted_) {
        take(std::exchange(in_, {}));
    }
    return n;
}

std::size_t ServerHandshake::skip(std::span<const std::byte> bytes) {
    const std::size_t n = std::min(wanted_, bytes.size());
    wanted_ -= n;
    if (wanted_ == 0) {
        expect(Step::option_header, sizeof(OptionHeader));
        refuse_long_option();
    }
    return n;
}

std::string ServerHandshake::take_output() {
    return std::exchange(out_, {});
}

void ServerHandshake::tls_started() {
    assert(outcome_ == Outcome::start_tls);
    if (outcome_ != Outcome::start_tls) {
        return;
    }
    outcome_ = Outcome::pending;
    in_tls_ = true;
    structured_replies_ = false;
    extended_headers_ = false;
    contexts_of_.clear();
    contexts_.clear();
    ticket_.clear();
    question_ = {};
}

void ServerHandshake::shutting_down() {
    shutting_down_ = true;
    if (outcome_ == Outcome::ask) {
        outcome_ = Outcome::pending;
        refuses_by_state();
    }
}

void ServerHandshake::expect(Step step, std::size_t bytes) {
    step_ = step;
    wanted_ = bytes;
}

void ServerHandshake::take(std::string message) {
    switch (step_) {
        case Step::client_flags:
            return take_client_flags(ByteReader(message).take_u32());
        case Step::option_header:
            return take_option_header(message);
        default:
            return take_option(std::move(message));
    }
}

void ServerHandshake::take_client_flags(std::uint32_t flags) {
    if ((flags & ~(kClientFixedNewstyle | kClientNoZeroes)) != 0) {
        return end(fmt::format("unknown client flags {:#010x}", flags));
    }
    no_zeroes_ = (flags & kClientNoZeroes) != 0;
    expect(Step::option_header, sizeof(OptionHeader));
}

void ServerHandshake::take_option_header(std::string_view message) {
    const auto header = ByteReader(message).take<OptionHeader>();
    if (header.magic != kOptionMagic) {
        return end("bad magic where an option begins");
    }
    if (++options_ > kMaxOptions) {
        return end(fmt::format("more than {} options", kMaxOptions));
    }
    option_ = static_cast<Option>(std::uint32_t{header.option});
    if (option_ == Option::set_meta_context) {
        contexts_of_.clear();  // what it replaces is gone even when it fails
        contexts_.clear();
    }
    if (option_ == Option::export_name && header.length > kMaxString) {
        return end(
            fmt::format("EXPORT_NAME with a name of {} bytes", std::uint32_t{header.length}));
    }
    if (header.length > kMaxOptionData) {
        return take_long_option(header.length);
    }
    if (header.length == 0) {
        return take_option({});
    }
    expect(Step::option_data, header.length);
}

void ServerHandshake::take_long_option(std::uint32_t length) {
    if (length <= kMaxSkipped) {
        return expect(Step::skipped_data, length);
    }
    refuse_long_option();
    if (outcome_ == Outcome::pending) {
        end(fmt::format("an option announces {} bytes of data", length));
    }
}

// The data was skipped, or is not going to be waited for.
void ServerHandshake::refuse_long_option() {
    if (refuses_by_state()) {
        return;
    }
    if (option_ == Option::abort) {
        on_abort();
    } else if (is_known()) {
        refuse(OptionReply::err_too_big,
               fmt::format("the data of an option is at most {} bytes", kMaxOptionData));
    } else {
        refuse(OptionReply::err_unsup, "this server does not know the option");
    }
}

void ServerHandshake::take_option(std::string data) {
    expect(Step::option_header, sizeof(OptionHeader));
    if (refuses_by_state()) {
        return;
    }
    if (!is_known()) {
        return refuse(OptionReply::err_unsup, "this server does not know the option");
    }
    switch (option_) {
        case Option::export_name:
            return on_export_name(std::move(data));
        case Option::list:
            return on_list(data);
        case Option::starttls:
            return on_starttls(data);
        case Option::info:
        case Option::go:
            return on_info(std::move(data));
        case Option::structured_reply:
            return on_structured_reply(data);
        case Option::extended_headers:
            return on_extended_headers(data);
        case Option::list_meta_context:
        case Option::set_meta_context:
            return on_meta_context(std::move(data));
        case Option::ticket:
            return on_ticket(std::move(data));
        default:
            return on_abort();
    }
}

bool ServerHandshake::is_known() const {
    switch (option_) {
        case Option::export_name:
        case Option::abort:
        case Option::list:
        case Option::starttls:
        case Option::info:
        case Option::go:
        case Option::structured_reply:
        case Option::list_meta_context:
        case Option::set_meta_context:
            return true;
        case Option::extended_headers:
            return settings_.extended_headers;
        case Option::ticket:
            return settings_.tickets;
        default:
            return false;
    }
}

// Answers an option that is refused whatever it says: TLS comes first, or the server goes down.
bool ServerHandshake::refuses_by_state() {
    const bool needs_tls = settings_.tls == Tls::required && !in_tls_;
    const bool is_way_out =
        option_ == Option::abort || (needs_tls && !shutting_down_ && option_ == Option::starttls);
    if (is_way_out || !(needs_tls || shutting_down_)) {
        return false;
    }
    if (option_ == Option::export_name) {
        end(needs_tls ? "EXPORT_NAME before TLS, which is required" : "EXPORT_NAME at shutdown");
    } else if (needs_tls && option_ != Option::starttls) {
        refuse(OptionReply::err_tls_reqd, "this server requires TLS: begin with STARTTLS");
    } else {
        refuse(OptionReply::err_shutdown, "this server is shutting down");
    }
    return true;
}

void ServerHandshake::on_export_name(std::string data) {
    if (extended_headers_) {
        return end("EXPORT_NAME after EXTENDED_HEADERS");
    }
    if (!is_protocol_string(data)) {
        return end(fmt::format("EXPORT_NAME with the malformed name {}", quoted(data)));
    }
    ask(Question::Kind::open_export, std::move(data), Purpose::export_name);
}

void ServerHandshake::on_abort() {
    reply(OptionReply::ack);
    aborted_ = true;
    end("the client ended the negotiation");
}

void ServerHandshake::on_list(std::string_view data) {
    if (!data.empty()) {
        return refuse(OptionReply::err_invalid, "LIST takes no data");
    }
    ask(Question::Kind::list);
}

void ServerHandshake::on_starttls(std::string_view data) {
    if (!data.empty()) {
        return refuse(OptionReply::err_invalid, "STARTTLS takes no data");
    }
    if (in_tls_) {
        return refuse(OptionReply::err_invalid, "TLS is up already");
    }
    if (settings_.tls == Tls::off) {
        return refuse(OptionReply::err_policy, "this server has no TLS here");
    }
    reply(OptionReply::ack);
    outcome_ = Outcome::start_tls;
}

void ServerHandshake::on_info(std::string data) {
    const auto request = parse_info_request(data);
    if (!request) {
        return refuse(OptionReply::err_invalid, request.error());
    }
    std::string name(request->name);
    data_ = std::move(data);
    ask(Question::Kind::open_export, std::move(name),
        option_ == Option::go ? Purpose::go : Purpose::info);
}

void ServerHandshake::on_structured_reply(std::string_view data) {
    if (!data.empty()) {
        return refuse(OptionReply::err_invalid, "STRUCTURED_REPLY takes no data");
    }
    if (extended_headers_) {
        return refuse(OptionReply::err_ext_header_reqd, "extended headers are in force already");
    }
    structured_replies_ = true;
    reply(OptionReply::ack);
}

void ServerHandshake::on_extended_headers(std::string_view data) {
    if (!data.empty()) {
        return refuse(OptionReply::err_invalid, "EXTENDED_HEADERS takes no data");
    }
    extended_headers_ = true;
    reply(OptionReply::ack);
}

void ServerHandshake::on_meta_context(std::string data) {
    if (!structured_replies_ && !extended_headers_) {
        return refuse(OptionReply::err_invalid, "metadata needs structured replies first");
    }
    const auto request = parse_meta_request(data);
    if (!request) {
        return refuse(OptionReply::err_invalid, request.error());
    }
    std::string name(request->name);
    auto diffs = request->with_prefix(kDiffPrefix, kMaxDiffs);
    data_ = std::move(data);
    ask(Question::Kind::open_export, std::move(name), Purpose::meta);
    question_.diffs = std::move(diffs);
}

void ServerHandshake::on_ticket(std::string data) {
    ticket_.clear();
    if (data.empty() || !is_protocol_string(data)) {
        return refuse(OptionReply::err_invalid, "a ticket is a text of 1 to 4096 bytes");
    }
    ask(Question::Kind::ticket, std::move(data));
}

void ServerHandshake::ask(Question::Kind kind, std::string text, Purpose purpose) {
    question_ = {kind, purpose, std::move(text), {}};
    outcome_ = Outcome::ask;
}

void ServerHandshake::reply(OptionReply type, std::string_view data) {
    append(out_,
           OptionReplyHeader{kOptionReplyMagic, std::to_underlying(option_),
                             std::to_underlying(type), static_cast<std::uint32_t>(data.size())});
    out_ += data;
}

// TLS_REQD has its places: before TLS, of a server that has TLS; and where TLS is not required of
// all, only to INFO and GO.
OptionReply ServerHandshake::permitted(OptionReply code) const {
    if (!is_error(code)) {
        return OptionReply::err_policy;
    }
    const bool is_about_one = option_ == Option::info || option_ == Option::go;
    const bool may_demand_tls = !in_tls_ && (settings_.tls == Tls::required ||
                                             (settings_.tls == Tls::available && is_about_one));
    return code == OptionReply::err_tls_reqd && !may_demand_tls ? OptionReply::err_policy : code;
}

void ServerHandshake::refuse(OptionReply code, std::string_view sentence) {
    reply(permitted(code), displayable(sentence));
}

void ServerHandshake::end(std::string reason) {
    outcome_ = Outcome::ended;
    reason_ = std::move(reason);
}

}  // namespace signpost::wire
