// SPDX-License-Identifier: BSD-3-Clause
//
// ServerHandshake negotiates with one client, as the server: fixed newstyle with every option of
// the protocol. Pure: bytes in, bytes out; no socket, no clock, no log, no disk. Source: the NBD
// project's doc/proto.md, "Newstyle negotiation", "TLS support", "Option types", and its
// extension-ext-header branch.
//
// It knows the protocol and nothing of exports. What depends on them it asks: the outcome is then
// `ask`, question() says what, and nothing more is taken from the client until one of the answers
// is called; which may be at once, or after the catalog was asked.
//
//     send(handshake.take_output());                     the greeting waits for nobody
//     for (;;) switch (handshake.feed(received, n)) {    and drop n bytes of what was received
//         pending:       send take_output(), receive more, feed
//         ask:           send take_output(), answer question(), feed again
//         start_tls:     send take_output(), run TLS, tls_started(), feed what comes inside of it
//         transmission:  send take_output(); settled() holds; the rest is the first requests
//         ended:         send take_output() if that does not wait, then close; reason() for the log
//     }
//
// Nothing that the client sends is trusted: options are counted (kMaxOptions), their data bounded
// (kMaxOptionData; more is skipped unread up to kMaxSkipped, and refused), names are checked to be
// protocol strings before anybody is asked about them, every option consumes exactly its data, and
// what is sent back never repeats the client's words. STARTTLS forgets all that was said before.
//
// Lifetime: one per connection. Threads: one at a time.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "nbd-server/wire/protocol.h"
#include "nbd-server/wire/reply_head.h"

namespace signpost::wire {

// An export, as the session offers it to this client.
struct ExportFacts {
    std::uint64_t size = 0;  // below 2^63; a tail shorter than the minimum block is not advertised

    // kFlag* of what the disk can do. The handshake adds HAS_FLAGS and takes away what cannot be:
    // DF without structured replies, FAST_ZERO without WRITE_ZEROES, BLOCK_STATUS_PAYLOAD without
    // extended headers and a context, TRIM and WRITE_ZEROES when read-only, and unknown bits.
    std::uint16_t flags = 0;

    std::uint32_t minimum_block = 1;                   // a power of two, at most 65,536
    std::uint32_t preferred_block = 4096;              // a power of two
    std::uint32_t maximum_payload = 32 * 1024 * 1024;  // at most kMaxPayload
    bool demand_block_size = false;  // serve only clients that ask for the block size

    std::string name{};                   // the canonical one; empty: as the client said
    std::string description{};            // for humans; may be empty; escaped and cut where needed
    std::vector<std::string> contexts{};  // that are offered, by name: kBaseAllocation, kPlacement
};

struct Refusal {
    OptionReply code;      // an error; TLS_REQD counts as POLICY where the protocol forbids it
    std::string sentence;  // for the client's user; escaped, and cut to kMaxString
};

using ExportAnswer = std::variant<ExportFacts, Refusal>;

struct ListEntry {
    std::string_view name;         // one that is no protocol string is left out
    std::string_view description;  // may be empty; escaped and cut where needed
};

class ServerHandshake {
 public:
    enum class Tls {
        off,
        available,
        required,  // before TLS, nothing but STARTTLS and ABORT
    };

    struct Settings {
        Tls tls = Tls::off;
        bool tickets = false;  // kOptionTicket is understood
        bool extended_headers = true;
    };

    enum class Outcome { pending, ask, start_tls, transmission, ended };

    enum class Purpose { info, go, export_name, meta };

    struct Question {
        enum class Kind {
            open_export,  // answer_export(): does `text` exist for this client, and what is it?
            list,         // answer_list() or refuse_list()
            ticket,       // accept_ticket() or refuse_ticket(): `text` is the ticket
        };
        Kind kind = Kind::open_export;
        Purpose purpose = Purpose::info;  // of open_export
        std::string text;                 // a protocol string; as the client sent it
        // Of Purpose::meta: what it asks for that begins with kDiffPrefix, kMaxDiffs at most. What
        // of it there is, is to be among the ExportFacts' contexts.
        std::vector<std::string> diffs{};
    };

    struct Context {
        std::uint32_t id;
        std::string name;

        bool operator==(const Context&) const = default;
    };

    // What was agreed, when the outcome is transmission.
    struct Settled {
        std::string name;  // of the export, as the client said it
        ReplyStyle style = ReplyStyle::simple;
        std::uint64_t size = 0;  // and the next four: as advertised
        std::uint16_t flags = 0;
        std::uint32_t minimum_block = 1;
        std::uint32_t preferred_block = 4096;
        std::uint32_t maximum_payload = 32 * 1024 * 1024;
        bool knows_block_size = false;  // the client asked for the three, so will respect them
        std::vector<Context> contexts;  // that BLOCK_STATUS reports
    };

    static constexpr std::uint32_t kMaxOptions = 64;
    static constexpr std::uint32_t kMaxOptionData = 64 * 1024;
    static constexpr std::size_t kMaxDiffs = 4;
    static constexpr std::uint32_t kMaxSkipped = 1024 * 1024;

    explicit ServerHandshake(Settings settings);

    // Takes what it can of BYTES and says in `consumed` how many: all of them while pending, and
    // none behind the option that led to another outcome. Bytes fed after start_tls are plaintext
    // behind STARTTLS, smuggled in: the outcome is then ended.
    Outcome feed(std::span<const std::byte> bytes, std::size_t& consumed);

    // Bytes to send; empty when none. Clears them.
    std::string take_output();

    Outcome outcome() const { return outcome_; }

    // The answers, each to its question, when the outcome is ask; at other times they do nothing.
    // Each gives the outcome, which only answer_list() with last == false leaves at ask. LIST may
    // be answered in any number of pages, with take_output() between them: then no more than a page
    // is in memory. A refusal may follow pages too.
    const Question& question() const { return question_; }
    Outcome answer_export(const ExportAnswer& answer);
    Outcome answer_list(std::span<const ListEntry> page, bool last);
    Outcome refuse_list(OptionReply code, std::string_view sentence);
    Outcome accept_ticket();
    Outcome refuse_ticket(std::string_view sentence);

    // The ticket that was accepted last and is in force: empty when there is none, when a later one
    // was refused, and after STARTTLS.
    const std::string& ticket() const { return ticket_; }

    // TLS is up: the negotiation starts afresh inside it.
    void tls_started();
    bool in_tls() const { return in_tls_; }

    // From now on every option but ABORT gets ERR_SHUTDOWN, the one in question included.
    void shutting_down();

    const Settled& settled() const { return settled_; }

    // After ended: why, in one line, with the client's own words escaped; and whether it was the
    // client's wish (ABORT).
    const std::string& reason() const { return reason_; }
    bool aborted() const { return aborted_; }

 private:
    // What the bytes that are being collected will be.
    enum class Step : std::uint8_t { client_flags, option_header, option_data, skipped_data };

    void expect(Step step, std::size_t bytes);
    std::size_t collect(std::span<const std::byte> bytes);
    std::size_t skip(std::span<const std::byte> bytes);
    void take(std::string message);
    void take_client_flags(std::uint32_t flags);
    void take_option_header(std::string_view message);
    void take_long_option(std::uint32_t length);
    void refuse_long_option();
    void take_option(std::string data);
    bool is_known() const;
    bool refuses_by_state();

    void on_export_name(std::string data);
    void on_abort();
    void on_list(std::string_view data);
    void on_starttls(std::string_view data);
    void on_info(std::string data);
    void on_structured_reply(std::string_view data);
    void on_extended_headers(std::string_view data);
    void on_meta_context(std::string data);
    void on_ticket(std::string data);

    void ask(Question::Kind kind, std::string text = {}, Purpose purpose = Purpose::info);
    bool answers(Question::Kind kind) const;
    void offer(const ExportFacts& facts);
    void offer_info(const ExportFacts& facts);
    void offer_by_name(const ExportFacts& facts);
    void offer_contexts(const ExportFacts& facts);
    void refuse_export(OptionReply code, std::string_view sentence);
    Settled settle(const ExportFacts& facts) const;
    std::uint16_t settled_flags(std::uint16_t flags, bool has_contexts) const;

    void reply(OptionReply type, std::string_view data = {});
    void reply_block_size(const Settled& settled);
    OptionReply permitted(OptionReply code) const;
    void refuse(OptionReply code, std::string_view sentence);
    void end(std::string reason);

    Settings settings_;
    Outcome outcome_ = Outcome::pending;
    Question question_;
    Settled settled_;
    std::string reason_;
    std::string ticket_;

    Step step_ = Step::client_flags;
    std::size_t wanted_ = sizeof(Be32);
    std::string in_;  // less than wanted_ bytes
    std::string out_;
    Option option_ = Option::none;  // the one that is to be answered
    std::string data_;              // its data, while it is in question
    std::uint32_t options_ = 0;
    std::uint32_t next_context_ = 1;
    std::string contexts_of_;        // the export that SET_META_CONTEXT named last
    std::vector<Context> contexts_;  // and what it selected
    bool no_zeroes_ = false;
    bool structured_replies_ = false;
    bool extended_headers_ = false;
    bool in_tls_ = false;
    bool shutting_down_ = false;
    bool aborted_ = false;
};

}  // namespace signpost::wire
