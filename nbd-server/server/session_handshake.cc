// SPDX-License-Identifier: BSD-3-Clause
//
// How a session negotiates. What may take long (the catalog, opening an image) is done on a worker
// thread, while nothing more is taken from the client. A disk that the client may not see and one
// that is not there cost the same way and get the same words.

#include <fmt/format.h>
#include <sys/socket.h>

#include <cstring>
#include <ctime>
#include <utility>

#include "catalog/disk_name.h"
#include "nbd-server/server/session.h"

namespace signpost {

namespace {

using Outcome = wire::ServerHandshake::Outcome;
using Question = wire::ServerHandshake::Question;
using Purpose = wire::ServerHandshake::Purpose;

constexpr std::size_t kListPage = 1000;
constexpr unsigned kMostReopened = 4;

// Whoever it is that is served by it.
bool is_unix_socket(int socket) {
    int domain = 0;
    socklen_t size = sizeof domain;
    return ::getsockopt(socket, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain == AF_UNIX;
}

wire::ServerHandshake::Tls tls_of(const Policy& policy, int socket) {
    using Tls = wire::ServerHandshake::Tls;
    if (policy.credentials == nullptr || policy.tls == DoorTls::off) {
        return Tls::off;
    }
    return policy.tls == DoorTls::require && !is_unix_socket(socket) ? Tls::required
                                                                     : Tls::available;
}

// Asks for what this server has, and no other.
bool is_own_only(const std::string& export_name) {
    const auto parsed = ExportName::parse(export_name);
    return parsed && parsed->local_only;
}

// Without `local:`. Empty: not a disk's name, so that no rule decides about it.
std::string disk_in(const std::string& export_name) {
    const auto parsed = ExportName::parse(export_name);
    return parsed ? parsed->disk.str() : std::string();
}

bool can_be_compared(const Disk& disk) {
    return disk.traits().read_only && !disk.traits().relayed && disk.home_loop() == nullptr;
}

std::string_view purpose_text(Purpose purpose) {
    switch (purpose) {
        case Purpose::info:
            return "info";
        case Purpose::go:
            return "go";
        case Purpose::export_name:
            return "export_name";
        case Purpose::meta:
            return "meta";
    }
    return "";
}

// The client asked for no disk by name: the only one there is.
Result<std::string> default_export(Federation& federation) {
    auto listing = federation.exports(2);
    if (!listing) {
        return std::unexpected(std::move(listing.error()));
    }
    if (listing->entries.empty()) {
        return fail(Errc::not_found, "there is no default export: no disk is known yet");
    }
    if (listing->entries.size() != 1 || !listing->complete) {
        return fail(Errc::not_found,
                    "there is no default export: there are several disks; ask for one by name, "
                    "`nbdinfo --list` shows them");
    }
    return std::move(listing->entries.front().name);
}

}  // namespace

void Session::start_handshake() {
    policy_ = service_.policy();
    handshake_ = std::make_unique<wire::ServerHandshake>(wire::ServerHandshake::Settings{
        .tls = tls_of(*policy_, stream_.socket()), .tickets = policy_->ticket_keys != nullptr});
    out_.text(handshake_->take_output());
    flush();
}

void Session::negotiate() {
    while (negotiates()) {
        std::size_t consumed = 0;
        const auto outcome = handshake_->feed(std::as_bytes(std::span(input_)), consumed);
        input_.erase(0, consumed);
        follow(outcome);
        if (outcome == Outcome::pending) {
            return;
        }
    }
}

void Session::follow(Outcome outcome) {
    out_.text(handshake_->take_output());
    switch (outcome) {
        case Outcome::pending:
            flush();
            break;
        case Outcome::ask:
            flush();
            answer_question();
            break;
        case Outcome::start_tls:
            begin_tls();
            break;
        case Outcome::transmission:
            begin_transmission();
            break;
        case Outcome::ended:
            close_in_order(handshake_->reason());
            break;
    }
}

void Session::answer_question() {
    switch (handshake_->question().kind) {
        case Question::Kind::open_export:
            reopened_ = 0;
            open_export();
            break;
        case Question::Kind::list:
            list_after_.clear();
            service_.audit({.op = "list", .session = number_, .client = &asker()});
            list_exports();
            break;
        case Question::Kind::ticket:
            take_ticket();
            break;
    }
}

bool Session::may_see(std::string_view disk) const {
    if (ticket_ && ticket_->disk != disk) {
        return false;
    }
    return decide(policy_->access, asker(), disk).right != Right::deny;
}

void Session::begin_question() {
    asking_ = true;
    asked_at_ = home_->loop().now();
}

// The time that the server took does not count as the client's.
void Session::end_question() {
    asking_ = false;
    deadline_ += home_->loop().now() - asked_at_;
}

void Session::let_go() {
    disk_.reset();
    others_.clear();
    diffs_asked_.clear();
}

void Session::open_export() {
    std::string name = handshake_->question().text;
    if (disk_ != nullptr && name == opened_name_) {
        if (!reach_first()) {
            accept();
        }
        return;
    }
    begin_question();
    let_go();
    service_.workers().run([self = shared_from_this(), name = std::move(name)]() mutable {
        Result<std::string> wanted = name;
        if (self->ticket_ && !is_own_only(name)) {
            // Nobody vouches for what somebody else has vouched for: a relay asks for the image.
            wanted = std::string(ExportName::kLocalPrefix) + name;
        } else if (name.empty()) {
            wanted = default_export(self->service_.federation());
        }
        Access access;
        std::string meant = wanted ? disk_in(*wanted) : std::string();
        Result<std::shared_ptr<Disk>> disk = nullptr;
        if (wanted) {
            access = decide(self->policy_->access, self->asker(), meant);
            if (self->ticket_ && (self->ticket_->disk != meant)) {
                access = {Right::deny, "the ticket is for another disk"};
            }
            if (!self->client_.user.empty() && access.right == Right::read_write) {
                access.right = Right::read_only;  // for the console only reads
            }
            const bool write =
                access.right == Right::read_write && (!self->ticket_ || self->ticket_->write);
            Asker asker = self->service_.asker_of(self->client_);
            asker.identity = self->asker().who();
            asker.may_open = [&](const DiskName& point) {
                meant = point.str();
                return self->may_see(meant);
            };
            disk = self->service_.federation().open(*wanted, write, asker);
        } else {
            disk = std::unexpected(wanted.error());
            access.right = Right::read_only;
        }
        auto& loop = self->home_->loop();
        loop.post([self = std::move(self), name = std::move(name), disk = std::move(disk), access,
                   meant = std::move(meant)]() mutable {
            self->opened_disk_ = std::move(meant);
            self->opened(name, std::move(disk), access);
        });
    });
}

// REFUSAL: empty when it was not refused.
void Session::audit_opened(std::string_view refusal) {
    const auto purpose = purpose_text(handshake_->question().purpose);
    service_.audit({.op = refusal.empty() ? purpose : "deny",
                    .session = number_,
                    .client = &asker(),
                    .export_name = opened_name_,
                    .disk = opened_disk_,
                    .right = to_string(access_),
                    .rule = access_.rule,
                    .reason = refusal});
}

void Session::opened(const std::string& name, Result<std::shared_ptr<Disk>> disk, Access access) {
    end_question();
    if (phase_ == Phase::closed) {
        forget();
        return;
    }
    opened_name_ = name;
    access_ = access;
    if (access.right == Right::deny) {
        refuse_export({Errc::not_found, "not permitted"});
    } else if (!disk) {
        refuse_export(disk.error());
    } else {
        disk_ = std::move(*disk);
        if (phase_ == Phase::handshake && reach_first()) {
            return;
        }
        accept();
    }
    negotiate_on();
}

// A client that chooses a disk of another server is told now when it cannot be had there, rather
// than when it reads. True: the answer comes later.
bool Session::reach_first() {
    const auto purpose = handshake_->question().purpose;
    if (!disk_->traits().relayed || (purpose != Purpose::go && purpose != Purpose::export_name)) {
        return false;
    }
    begin_question();
    disk_->reach([self = shared_from_this()](const Result<void>& answer) {
        self->home_->loop().post([self, answer] { self->reached(answer); });
    });
    return true;
}

void Session::reached(const Result<void>& answer) {
    end_question();
    if (phase_ == Phase::closed) {
        forget();
        return;
    }
    if (answer) {
        accept();
    } else {
        disk_.reset();
        if (answer.error().code == Errc::conflict && ++reopened_ < kMostReopened) {
            service_.log().info(fmt::format("session {}: '{}' is opened anew: {}", number_,
                                            escaped(opened_name_), answer.error().message));
            open_export();
            return;
        }
        refuse_export(answer.error());
    }
    negotiate_on();
}

// Of the disks that the client wants to have this one compared with, those that this server has
// itself and this client may read. True: the answer comes later.
bool Session::open_others() {
    const auto& diffs = handshake_->question().diffs;
    if (diffs.empty() || diffs == diffs_asked_) {
        return false;
    }
    diffs_asked_ = diffs;
    if (!can_be_compared(*disk_)) {
        service_.log().info(
            fmt::format("session {} {}: '{}' is not compared with others: it is "
                        "relayed, or may be written to",
                        number_, asker().str(), escaped(opened_name_)));
        return false;
    }
    begin_question();
    service_.workers().run([self = shared_from_this(), diffs] {
        std::map<std::string, std::shared_ptr<Disk>> others;
        for (const std::string& context : diffs) {
            if (auto other = self->open_other(context)) {
                others.emplace(context, std::move(other));
            }
        }
        self->home_->loop().post([self, others = std::move(others)]() mutable {
            self->others_opened(std::move(others));
        });
    });
    return true;
}

// On a worker. Null: it is not to be had.
std::shared_ptr<Disk> Session::open_other(const std::string& context) {
    const std::string name = disk_in(context.substr(std::strlen(wire::kDiffPrefix)));
    const Access access = decide(policy_->access, asker(), name);
    Asker who = service_.asker_of(client_);
    who.may_open = [this](const DiskName& point) { return may_see(point.str()); };
    Result<std::shared_ptr<Disk>> disk =
        access.right == Right::deny || ticket_
            ? fail(Errc::denied, "not permitted")
            : service_.federation().open(std::string(ExportName::kLocalPrefix) + name, false, who);
    if (disk && can_be_compared(**disk)) {
        return std::move(*disk);
    }
    service_.log().info(fmt::format("session {} {}: '{}' cannot be compared with '{}': {}", number_,
                                    asker().str(), escaped(opened_name_), escaped(name),
                                    disk ? "it may be written to" : disk.error().message));
    return nullptr;
}

void Session::others_opened(std::map<std::string, std::shared_ptr<Disk>> others) {
    end_question();
    if (phase_ == Phase::closed) {
        forget();
        return;
    }
    others_.merge(others);
    while (others_.size() > wire::ServerHandshake::kMaxDiffs) {
        others_.erase(others_.begin());
    }
    accept();
    negotiate_on();
}

void Session::accept() {
    if (phase_ == Phase::handshake && open_others()) {
        return;
    }
    audit_opened({});
    if (access_.trusted_relay) {
        service_.log().info(
            fmt::format("session {} {}: '{}' goes to a trusted relay; for whom it "
                        "asks is not known here",
                        number_, asker().str(), escaped(opened_name_)));
    }
    if (phase_ == Phase::handshake) {
        follow(handshake_->answer_export(facts_of(*disk_)));
    }
}

// What the client may not see and what is not there look the same to it.
void Session::refuse_export(const Error& why) {
    service_.live().refused(access_.right == Right::deny ? Errc::denied : why.code);
    audit_opened(why.message);
    if (phase_ != Phase::handshake) {
        return;
    }
    service_.log().info(fmt::format("session {} {}: export '{}' refused: {}", number_,
                                    asker().str(), escaped(opened_name_), why.message));
    const bool unknown = why.code == Errc::not_found;
    opened_name_.clear();
    follow(handshake_->answer_export(wire::Refusal{
        wire::OptionReply::err_unknown, unknown ? std::string(kNoSuchDisk) : why.message}));
}

// After an answer: with what has come meanwhile, here or inside TLS.
void Session::negotiate_on() {
    negotiate();
    go_on();
    settle();
}

wire::ExportFacts Session::facts_of(const Disk& disk) const {
    const DiskTraits& traits = disk.traits();
    wire::ExportFacts facts;
    facts.size = traits.size;
    facts.flags = wire::kFlagSendFlush | wire::kFlagSendFua | wire::kFlagSendDf |
                  wire::kFlagSendCache | wire::kFlagBlockStatusPayload;
    facts.flags |= traits.read_only
                       ? wire::kFlagReadOnly
                       : wire::kFlagSendTrim | wire::kFlagSendWriteZeroes | wire::kFlagSendFastZero;
    facts.flags |= traits.multi_conn ? wire::kFlagCanMultiConn : 0;
    facts.flags |= traits.rotational ? wire::kFlagRotational : 0;
    facts.minimum_block = traits.minimum_block;
    facts.preferred_block = traits.preferred_block;
    facts.maximum_payload = static_cast<std::uint32_t>(kMaxPayload);
    facts.description = traits.description;
    facts.contexts = {wire::kBaseAllocation, wire::kPlacement};
    for (const auto& [context, other] : others_) {
        facts.contexts.push_back(context);
    }
    return facts;
}

void Session::list_exports() {
    begin_question();
    service_.workers().run([self = shared_from_this(), after = list_after_] {
        auto page = self->service_.federation().exports(kListPage, after);
        self->home_->loop().post(
            [self, page = std::move(page)]() mutable { self->listed(std::move(page)); });
    });
}

// One page is on its way to the client before the next is read, so memory does not grow with the
// list.
void Session::listed(Result<Federation::Listing> page) {
    end_question();
    if (phase_ == Phase::closed) {
        forget();
    }
    if (phase_ != Phase::handshake) {
        return;
    }
    if (!page) {
        follow(handshake_->refuse_list(wire::OptionReply::err_policy, page.error().message));
        negotiate_on();
        return;
    }
    std::vector<wire::ListEntry> entries;
    entries.reserve(page->entries.size());
    for (const ExportEntry& entry : page->entries) {
        if (may_see(entry.name)) {
            entries.push_back({entry.name, entry.description});
        }
    }
    const bool last = page->complete || page->entries.empty();
    const auto outcome = handshake_->answer_list(entries, last);
    if (!last) {
        list_after_ = page->entries.back().name;
        out_.text(handshake_->take_output());
        list_waits_ = true;
        deadline_ = home_->loop().now() + service_.limits().handshake_timeout;  // for each page
        flush();
        settle();
        return;
    }
    follow(outcome);
    negotiate_on();
}

// Whatever comes of it, what an earlier ticket or no ticket has opened is not this one's.
void Session::take_ticket() {
    ticket_.reset();
    let_go();
    const auto claims = service_.admit_ticket(handshake_->question().text);
    service_.audit({.op = "ticket",
                    .session = number_,
                    .client = &client_,
                    .disk = claims ? claims->disk : "",
                    .peer = claims ? claims->issuer : "",
                    .nonce = claims ? claims->nonce : "",
                    .reason = claims ? "" : claims.error().message});
    if (!claims) {
        service_.log().error(fmt::format("session {} {}: ticket refused: {}", number_,
                                         client_.str(), claims.error().message));
        follow(handshake_->refuse_ticket(claims.error().message));
        return;
    }
    ticket_ = *claims;
    follow(handshake_->accept_ticket());
}

// TLS begins with the next byte on the wire, so what was said before must have left.
void Session::begin_tls() {
    flush();
    if (phase_ == Phase::closed) {
        return;
    }
    if (!out_.empty()) {
        abort("the client does not read what it asked for");
        return;
    }
    auto tls = start_tls_server(policy_->credentials, stream_.socket());
    if (!tls) {
        service_.log().error(fmt::format("session {}: {}", number_, tls.error().message));
        abort("TLS could not be started");
        return;
    }
    stream_.start_tls(std::move(*tls));
    phase_ = Phase::tls;
    drive_tls();
}

void Session::drive_tls() {
    TlsServer& tls = *stream_.tls();
    const auto step = tls.handshake();
    tls_waits_for_write_ = step == TlsServer::Step::want_write;
    if (step == TlsServer::Step::failed) {
        service_.log().info(
            fmt::format("session {} {}: TLS failed: {}", number_, client_.str(), tls.reason()));
        abort("TLS failed: " + tls.reason());
    } else if (step == TlsServer::Step::done) {
        client_.tls = true;
        client_.dn = tls.peer().dn;
        client_.sans = tls.peer().sans;
        client_.psk = tls.peer().psk;
        let_go();
        ticket_.reset();
        handshake_->tls_started();
        phase_ = Phase::handshake;
        out_.text(handshake_->take_output());
        flush();
        if (phase_ == Phase::handshake && stream_.has_buffered()) {
            receive();
        }
    }
}

void Session::begin_meter() {
    SessionReport facts;
    facts.id = number_;
    facts.disk = opened_disk_;
    facts.export_name = opened_name_;
    facts.client = asker().str();
    facts.tls = client_.tls;
    facts.since = std::time(nullptr);
    route_ = !disk_->traits().relayed ? SessionRoute::local
             : disk_->is_near()       ? SessionRoute::cache
                                      : SessionRoute::relay;
    facts.route = kRouteNames[static_cast<std::size_t>(route_)];
    meter_ = service_.live().begin(std::move(facts));
}

void Session::begin_transmission() {
    const auto& settled = handshake_->settled();
    wire::RequestReader::Contract contract;
    contract.extended_headers = settled.style == wire::ReplyStyle::extended;
    contract.structured_replies = settled.style != wire::ReplyStyle::simple;
    contract.size = settled.size;
    contract.flags = settled.flags;
    contract.minimum_block = settled.minimum_block;
    contract.maximum_payload = settled.maximum_payload;
    for (const auto& context : settled.contexts) {
        contract.contexts.push_back(context.id);
    }
    requests_.emplace(std::move(contract));
    contexts_ = settled.contexts;
    style_ = settled.style;
    export_name_ = opened_name_;
    phase_ = Phase::transmission;
    begin_meter();
    handshake_.reset();
    starved_ = input_.empty();
    service_.log().debug(
        fmt::format("session {} {}: serves '{}'", number_, asker().str(), escaped(export_name_)));
    flush();
    if (phase_ != Phase::transmission) {
        return;
    }
    const SessionLoop* const target =
        disk_->is_near() ? nullptr : service_.loop_of(disk_->home_loop());
    if (target != nullptr && target != home_) {
        moving_ = true;
        home_->loop().post([self = shared_from_this()] { self->move_home(); });
    } else {
        flush_soon();
    }
}

}  // namespace signpost
