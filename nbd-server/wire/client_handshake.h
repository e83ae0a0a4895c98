// SPDX-License-Identifier: BSD-3-Clause
//
// ClientHandshake negotiates one export of an NBD server, as the client: fixed newstyle, STARTTLS,
// a ticket between Signpost servers, STRUCTURED_REPLY, SET_META_CONTEXT base:allocation, GO with
// the block-size and description requests. It falls back where the server is older: no structured
// replies, no meta contexts, EXPORT_NAME when GO is unknown. Pure: bytes in, bytes out; no socket,
// no clock, no log. Source: the NBD project's doc/proto.md, "Newstyle negotiation" and "Option
// types".
//
// Nothing that the server sends is trusted: option replies are bounded (kMaxOptionReply bytes each,
// kMaxOptionReplies in all), magic and option echoed, lengths checked before use. A server that
// breaks the protocol gives Outcome::broken, never an assert.
//
// Lifetime: one object per connection. Threads: one at a time.

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nbd-server/wire/protocol.h"

namespace signpost::wire {

enum class TlsMode {
    off,      // plaintext; a server that requires TLS is refused
    prefer,   // TLS if the server has it
    require,  // TLS or nothing
};

// What the server said of the export.
struct ExportInfo {
    std::uint64_t size = 0;   // below 2^63
    std::uint16_t flags = 0;  // kFlag*, as sent, less what cannot be: DF without structured
                              // replies, FAST_ZERO without WRITE_ZEROES
    std::uint32_t minimum_block = 1;
    std::uint32_t preferred_block = 4096;
    std::uint32_t maximum_payload = 32 * 1024 * 1024;
    bool structured_replies = false;
    std::optional<std::uint32_t> allocation_context;  // id of base:allocation, when selected
    bool ticket_accepted = false;
    std::string description;  // valid UTF-8, at most 4,096 bytes; may be empty
};

class ClientHandshake {
 public:
    struct Wish {
        std::string export_name;  // at most 4,096 bytes
        TlsMode tls = TlsMode::off;
        bool structured_replies = true;
        bool allocation_context = true;
        std::string ticket{};          // sent, when not empty; at most 4,096 bytes
        bool ticket_required = false;  // a server that refuses it, or knows none, is refused
    };

    enum class Outcome {
        pending,    // send output(), then feed what comes
        start_tls,  // send output() first, then run the TLS handshake, then call tls_started()
        ready,      // info() holds; what feed() did not consume belongs to the transmission phase
        unknown,    // the server has no such export (ERR_UNKNOWN)
        refused,    // the server said no: policy, TLS required, shutting down, unsupported
        broken,     // the server broke the protocol
    };

    static constexpr std::uint32_t kMaxOptionReply = 64 * 1024;
    static constexpr std::uint32_t kMaxOptionReplies = 64;

    explicit ClientHandshake(Wish wish);

    // Takes what it can of BYTES and says how many bytes it took in `consumed`. After start_tls,
    // bytes that are left over are plaintext behind STARTTLS: the outcome is then broken.
    Outcome feed(std::span<const std::byte> bytes, std::size_t& consumed);

    // TLS is up: the negotiation starts afresh inside it (all earlier answers are forgotten).
    void tls_started();

    // Bytes to send; empty when none. Clears them. After unknown or refused they are the polite way
    // out (ABORT): to be sent, if that does not wait, before the connection is closed.
    std::string take_output();

    Outcome outcome() const { return outcome_; }
    const ExportInfo& info() const { return info_; }

    // After unknown, refused or broken: why, in one line, with the server's own words escaped.
    const std::string& reason() const { return reason_; }

 private:
    // What the bytes that are being collected will be.
    enum class Step : std::uint8_t { magic, style, flags, reply_header, reply_body, export_answer };

    void expect(Step step, std::size_t bytes);
    void take(std::string_view message);

    void take_magic(std::uint64_t magic);
    void take_style(std::uint64_t style);
    void take_server_flags(std::uint16_t flags);
    void take_reply_header(std::string_view message);
    void take_reply(std::string_view body);
    void take_export_answer(std::string_view message);

    void on_starttls_reply(std::string_view body);
    void on_ticket_reply(std::string_view body);
    void on_structured_reply(std::string_view body);
    void on_meta_reply(std::string_view body);
    void on_go_reply(std::string_view body);
    void on_go_error(std::string_view text);

    void on_info(std::string_view body);
    void on_export_info(std::uint64_t size, std::uint16_t flags);
    void on_block_size_info(std::uint32_t minimum, std::uint32_t preferred, std::uint32_t maximum);

    void start_options();
    void ask_ticket();
    void ask_structured_replies();
    void ask_allocation_context();
    void ask_go();
    void ask_export_name();
    void send_option(Option option, std::string_view data);

    void finish();
    void give_up(Outcome outcome, std::string reason);
    void refuse_by_server(std::string_view text);
    void break_off(std::string reason);

    Wish wish_;
    Outcome outcome_ = Outcome::pending;
    ExportInfo info_;
    std::string reason_;

    Step step_ = Step::magic;
    std::size_t wanted_ = sizeof(std::uint64_t);
    std::string in_;  // less than wanted_ bytes
    std::string out_;
    Option option_ = Option::none;  // the one that the server has to answer
    OptionReply reply_ = OptionReply::ack;
    std::uint32_t replies_ = 0;
    bool fixed_newstyle_ = false;
    bool no_zeroes_ = false;
    bool in_tls_ = false;
    bool has_export_info_ = false;
    bool has_block_size_info_ = false;
};

}  // namespace signpost::wire
