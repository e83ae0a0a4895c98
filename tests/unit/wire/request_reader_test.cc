// SPDX-License-Identifier: BSD-3-Clause
//
// The client's requests and the verdicts on them. Numbers as in server_handshake_test.cc.
#include "nbd-server/wire/request_reader.h"

#include <gtest/gtest.h>

#include <vector>

#include "nbd-server/wire/reply_reader.h"
#include "tests/unit/wire/bytes.h"

namespace signpost::wire::test {
namespace {

using Next = RequestReader::Next;
using Contract = RequestReader::Contract;

constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;
constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
constexpr std::uint16_t kEverything = 0x0ded;  // all flags but read-only, rotational, payload

constexpr std::uint16_t kRead = 0;
constexpr std::uint16_t kWrite = 1;
constexpr std::uint16_t kDisc = 2;
constexpr std::uint16_t kFlush = 3;
constexpr std::uint16_t kTrim = 4;
constexpr std::uint16_t kCache = 5;
constexpr std::uint16_t kZeroes = 6;
constexpr std::uint16_t kStatus = 7;

Contract writable() {
    return {.structured_replies = true, .size = kGiB, .flags = kEverything, .contexts = {7, 9}};
}

Contract with_flags(std::uint16_t flags) {
    Contract contract = writable();
    contract.flags = flags;
    return contract;
}

Contract extended(std::uint16_t flags = kEverything | kFlagBlockStatusPayload) {
    Contract contract = with_flags(flags);
    contract.extended_headers = true;
    return contract;
}

Request read_one(const Contract& contract, std::string_view bytes) {
    RequestReader reader(contract);
    Request request;
    EXPECT_EQ(reader.next(as_span(bytes), request), Next::request) << reader.reason();
    EXPECT_EQ(request.consumed, contract.extended_headers ? 32u : 28u);
    return request;
}

struct Range {
    std::uint64_t offset = 0;
    std::uint64_t length = 4096;
};

// The error to COMMAND; with extended headers a WRITE has its PAYLOAD_LEN.
std::uint32_t error_of(const Contract& contract, std::uint16_t command, Range range = {},
                       std::uint16_t flags = 0) {
    if (!contract.extended_headers) {
        const auto length = static_cast<std::uint32_t>(range.length);
        return nbd_error(
            read_one(contract, request(command, flags, 1, range.offset, length)).verdict);
    }
    flags |= command == kWrite ? kCommandPayloadLength : 0;
    return nbd_error(
        read_one(contract, extended_request(command, flags, 1, range.offset, range.length))
            .verdict);
}

constexpr std::uint32_t kOk = 0;

TEST(RequestReader, TakesTheFieldsOfACompactRequest) {
    const Request got =
        read_one(writable(), request(kZeroes, 2, 0x0102030405060708, 0x10000, 0x20000));
    EXPECT_EQ(got.command, Command::write_zeroes);
    EXPECT_EQ(got.flags, 2);
    EXPECT_EQ(got.cookie, 0x0102030405060708u);
    EXPECT_EQ(got.offset, 0x10000u);
    EXPECT_EQ(got.length, 0x20000u);
    EXPECT_EQ(got.payload_length, 0u);
    EXPECT_EQ(got.verdict, Verdict::ok);
}

TEST(RequestReader, TakesTheFieldsOfAnExtendedRequest) {
    Contract contract = extended();
    contract.size = std::uint64_t{1} << 62;
    const Request got = read_one(
        contract, extended_request(kTrim, 1, 42, std::uint64_t{1} << 40, std::uint64_t{1} << 41));
    EXPECT_EQ(got.command, Command::trim);
    EXPECT_EQ(got.flags, 1);
    EXPECT_EQ(got.cookie, 42u);
    EXPECT_EQ(got.offset, std::uint64_t{1} << 40);
    EXPECT_EQ(got.length, std::uint64_t{1} << 41);
    EXPECT_EQ(got.verdict, Verdict::ok);
}

TEST(RequestReader, ReadsWhatTheClientSideWrites) {
    std::string bytes;
    append_request(bytes, Command::write, kCommandFua, 77, 8192, 512);
    EXPECT_EQ(bytes, request(kWrite, 1, 77, 8192, 512));
    const Request got = read_one(writable(), bytes);
    EXPECT_EQ(got.payload_length, 512u);
    EXPECT_EQ(got.verdict, Verdict::ok);
}

TEST(RequestReader, P068_TheCookieIsOpaque) {
    for (const std::uint64_t cookie :
         {std::uint64_t{0}, ~std::uint64_t{0}, std::uint64_t{0x2560951325609513}}) {
        EXPECT_EQ(read_one(writable(), request(kRead, 0, cookie, 0, 1)).cookie, cookie);
        EXPECT_EQ(read_one(writable(), request(99, 0, cookie, 0, 1)).cookie, cookie);
    }
}

TEST(RequestReader, P069_TheLastBlockIsReadable) {
    EXPECT_EQ(error_of(writable(), kRead, {kGiB - 512, 512}), kOk);
    EXPECT_EQ(error_of(writable(), kRead, {kGiB - 1, 1}), kOk);
    EXPECT_EQ(error_of(extended(), kRead, {kGiB - 1, 1}), kOk);
}

TEST(RequestReader, P070_UnalignedRequestsAreGoodWhenTheMinimumBlockIs1) {
    EXPECT_EQ(error_of(writable(), kRead, {1, 3}), kOk);
    EXPECT_EQ(error_of(writable(), kWrite, {511, 7}), kOk);
}

TEST(RequestReader, P071_BelowTheMinimumBlockIsACleanEinval) {
    Contract contract = writable();
    contract.minimum_block = 512;
    for (const std::uint16_t command : {kRead, kWrite, kTrim, kCache, kZeroes, kStatus}) {
        EXPECT_EQ(error_of(contract, command, {512, 511}), kErrorInvalid) << command;
        EXPECT_EQ(error_of(contract, command, {511, 512}), kErrorInvalid) << command;
        EXPECT_EQ(error_of(contract, command, {512, 512}), kOk) << command;
    }
    EXPECT_EQ(read_one(contract, request(kWrite, 0, 1, 1, 100)).payload_length, 100u);
}

TEST(RequestReader, P072_AReadPastTheEndIsEinval) {
    EXPECT_EQ(error_of(writable(), kRead, {kGiB, 1}), kErrorInvalid);
    EXPECT_EQ(error_of(writable(), kRead, {kGiB - 1, 2}), kErrorInvalid);
    EXPECT_EQ(error_of(writable(), kRead, {kGiB + 1, 1}), kErrorInvalid);
    EXPECT_EQ(error_of(writable(), kCache, {kGiB - 1, 2}), kErrorInvalid);
}

TEST(RequestReader, P073_RangesDoNotWrapAround) {
    const std::uint64_t top = ~std::uint64_t{0};
    for (const std::uint16_t command : {kRead, kTrim, kCache, kStatus}) {
        EXPECT_EQ(error_of(writable(), command, {top, 1}), kErrorInvalid) << command;
        EXPECT_EQ(error_of(writable(), command, {top - 4095, 4096}), kErrorInvalid) << command;
        EXPECT_EQ(error_of(extended(), command, {4096, top - 4095}), kErrorInvalid) << command;
        EXPECT_EQ(error_of(extended(), command, {4096, top}), kErrorInvalid) << command;
    }
    EXPECT_EQ(error_of(extended(), kZeroes, {4096, top - 4095}), kErrorNoSpace);
}

TEST(RequestReader, P074_ALengthOf0IsAnErrorAndTheSessionGoesOn) {
    for (const std::uint16_t command : {kRead, kWrite, kTrim, kCache, kZeroes, kStatus}) {
        for (const Contract& contract : {writable(), extended()}) {
            RequestReader reader(contract);
            Request got;
            const std::string bytes = contract.extended_headers
                                          ? extended_request(command, 0, 1, 0, 0)
                                          : request(command, 0, 1, 0, 0);
            EXPECT_EQ(reader.next(as_span(bytes), got), Next::request);
            EXPECT_EQ(nbd_error(got.verdict), kErrorInvalid);
            EXPECT_EQ(got.payload_length, 0u);
        }
    }
}

TEST(RequestReader, P075_32MiBAreAccepted) {
    for (const Contract& contract : {writable(), extended()}) {
        EXPECT_EQ(error_of(contract, kRead, {0, 32 * kMiB}), kOk);
        EXPECT_EQ(error_of(contract, kWrite, {0, 32 * kMiB}), kOk);
        EXPECT_EQ(error_of(contract, kRead, {0, kMaxPayload}), kOk);
        EXPECT_EQ(error_of(contract, kWrite, {0, kMaxPayload}), kOk);
    }
}

TEST(RequestReader, P076_AnOversizeReadIsAnError) {
    EXPECT_EQ(error_of(writable(), kRead, {0, kMaxPayload + 1}), kErrorOverflow);
    EXPECT_EQ(error_of(extended(), kRead, {0, kGiB}), kErrorOverflow);
    Contract unlimited = writable();
    unlimited.maximum_payload = kNoPayloadLimit;
    EXPECT_EQ(error_of(unlimited, kRead, {0, kMaxPayload + 1}), kErrorOverflow);
    Contract simple = writable();
    simple.structured_replies = false;
    EXPECT_EQ(error_of(simple, kRead, {0, kMaxPayload + 1}), kErrorInvalid);
    EXPECT_EQ(error_of(simple, kRead, {0, 0xffffffff}), kErrorInvalid);
}

TEST(RequestReader, P076_AnOversizeWriteIsAnErrorAndItsPayloadIsKnown) {
    for (const Contract& contract : {writable(), extended()}) {
        const std::uint64_t length = RequestReader::kMaxDropped;
        const std::string bytes =
            contract.extended_headers
                ? extended_request(kWrite, kCommandPayloadLength, 1, 0, length)
                : request(kWrite, 0, 1, 0, static_cast<std::uint32_t>(length));
        const Request got = read_one(contract, bytes);
        EXPECT_EQ(nbd_error(got.verdict), kErrorInvalid);
        EXPECT_EQ(got.payload_length, length);
    }
    Contract small = writable();
    small.maximum_payload = 4096;
    EXPECT_EQ(error_of(small, kWrite, {0, 4096}), kOk);
    EXPECT_EQ(error_of(small, kWrite, {0, 4097}), kErrorInvalid);
    EXPECT_EQ(error_of(small, kRead, {0, 4097}), kErrorOverflow);
}

TEST(RequestReader, P077_UnknownCommandsAreEinval) {
    for (const std::uint16_t command : {8, 9, 100, 0x7fff, 0xffff}) {
        const Request got = read_one(writable(), request(command, 0, 1, 0, 4096));
        EXPECT_EQ(got.verdict, Verdict::unknown_command);
        EXPECT_EQ(got.payload_length, 0u);
        EXPECT_EQ(error_of(extended(), command), kErrorInvalid);
    }
}

TEST(RequestReader, P078_UnknownFlagsAreEinval) {
    for (const std::uint16_t command : {kRead, kWrite, kTrim, kCache, kZeroes, kStatus}) {
        for (const std::uint16_t flag : {1 << 6, 1 << 10, 1 << 15}) {
            EXPECT_EQ(error_of(writable(), command, {}, flag), kErrorInvalid);
            EXPECT_EQ(error_of(extended(), command, {}, flag), kErrorInvalid);
        }
        EXPECT_EQ(error_of(writable(), command, {}, kCommandPayloadLength), kErrorInvalid);
    }
    EXPECT_EQ(error_of(writable(), kFlush, {0, 0}, 1 << 6), kErrorInvalid);
}

TEST(RequestReader, P079_FuaIsAcceptedOnEveryCommandWhenAdvertised) {
    for (const std::uint16_t command : {kRead, kWrite, kTrim, kCache, kZeroes, kStatus}) {
        EXPECT_EQ(error_of(writable(), command, {}, kCommandFua), kOk) << command;
        EXPECT_EQ(error_of(with_flags(kEverything & ~kFlagSendFua), command, {}, kCommandFua),
                  kErrorInvalid);
    }
    EXPECT_EQ(error_of(writable(), kFlush, {0, 0}, kCommandFua), kOk);
}

TEST(RequestReader, P080_AFlagThatIsNotForTheCommandIsEinval) {
    struct Case {
        std::uint16_t flag;
        std::vector<std::uint16_t> commands;  // that may have it
    };
    const Case cases[] = {{kCommandNoHole, {kZeroes}},
                          {kCommandDf, {kRead}},
                          {kCommandReqOne, {kStatus}},
                          {kCommandFastZero, {kZeroes}}};
    for (const auto& [flag, commands] : cases) {
        for (const std::uint16_t command : {kRead, kWrite, kTrim, kCache, kZeroes, kStatus}) {
            const bool may = std::find(commands.begin(), commands.end(), command) != commands.end();
            EXPECT_EQ(error_of(writable(), command, {}, flag), may ? kOk : kErrorInvalid)
                << command << " with " << flag;
        }
    }
}

TEST(RequestReader, P083_AFlushHasNeitherOffsetNorLength) {
    EXPECT_EQ(error_of(writable(), kFlush, {0, 0}), kOk);
    EXPECT_EQ(error_of(writable(), kFlush, {0, 1}), kErrorInvalid);
    EXPECT_EQ(error_of(writable(), kFlush, {1, 0}), kErrorInvalid);
}

TEST(RequestReader, P084_DiscIsDiscWhateverItSays) {
    for (const std::string& bytes :
         {request(kDisc, 0, 0, 0, 0), request(kDisc, 0xffff, 1, ~std::uint64_t{0}, 0xffffffff)}) {
        const Request got = read_one(with_flags(kFlagReadOnly), bytes);
        EXPECT_EQ(got.command, Command::disconnect);
        EXPECT_EQ(got.verdict, Verdict::ok);
        EXPECT_EQ(got.payload_length, 0u);
    }
}

TEST(RequestReader, P086_ABadMagicBreaksItForGood) {
    for (const Contract& contract : {writable(), extended()}) {
        RequestReader reader(contract);
        Request got;
        const std::string good = contract.extended_headers ? extended_request(kRead, 0, 1, 0, 512)
                                                           : request(kRead, 0, 1, 0, 512);
        std::string bad = good;
        bad[0] ^= 1;
        EXPECT_EQ(reader.next(as_span(good), got), Next::request);
        EXPECT_EQ(reader.next(as_span(bad), got), Next::broken);
        EXPECT_NE(reader.reason().find("begins with"), std::string::npos);
        EXPECT_EQ(reader.next(as_span(good), got), Next::broken);
    }
}

TEST(RequestReader, P086_TheOtherKindOfHeaderIsABadMagic) {
    Request got;
    RequestReader compact(writable());
    EXPECT_EQ(compact.next(as_span(extended_request(kRead, 0, 1, 0, 512)), got), Next::broken);
    RequestReader wide(extended());
    EXPECT_EQ(wide.next(as_span(request(kRead, 0, 1, 0, 512) + "more"), got), Next::broken);
}

TEST(RequestReader, P087_AReadOnlyDiskRefusesAllWritesWithEperm) {
    const Contract contract = with_flags(kFlagHasFlags | kFlagReadOnly | kFlagSendFlush);
    for (const std::uint16_t command : {kWrite, kTrim, kZeroes}) {
        EXPECT_EQ(error_of(contract, command), kErrorPerm) << command;
        EXPECT_EQ(error_of(contract, command, {kGiB, 4096}, 0x8000), kErrorPerm) << command;
        EXPECT_EQ(error_of(contract, command, {0, 0}), kErrorPerm) << command;
    }
    EXPECT_EQ(read_one(contract, request(kWrite, 0, 1, 0, 4096)).payload_length, 4096u);
    EXPECT_EQ(error_of(contract, kRead), kOk);
    EXPECT_EQ(error_of(contract, kFlush, {0, 0}), kOk);
}

TEST(RequestReader, P089_AWritePastTheEndIsEnospc) {
    for (const Contract& contract : {writable(), extended()}) {
        EXPECT_EQ(error_of(contract, kWrite, {kGiB, 1}), kErrorNoSpace);
        EXPECT_EQ(error_of(contract, kWrite, {kGiB - 1, 2}), kErrorNoSpace);
        EXPECT_EQ(error_of(contract, kWrite, {~std::uint64_t{0}, 1}), kErrorNoSpace);
    }
}

TEST(RequestReader, P091_AWriteHeaderOf4GiBBreaks) {
    RequestReader reader(writable());
    Request got;
    EXPECT_EQ(reader.next(as_span(request(kWrite, 0, 1, 0, 0xffffffff)), got), Next::broken);
    EXPECT_NE(reader.reason().find("4294967295"), std::string::npos);
    const auto limit = static_cast<std::uint32_t>(RequestReader::kMaxDropped);
    RequestReader again(writable());
    EXPECT_EQ(again.next(as_span(request(kWrite, 0, 1, 0, limit + 1)), got), Next::broken);
    RequestReader wide(extended());
    EXPECT_EQ(wide.next(as_span(extended_request(kRead, kCommandPayloadLength, 1, 0,
                                                 std::uint64_t{1} << 40)),
                        got),
              Next::broken);
}

TEST(RequestReader, P093_TrimWithinTheDisk) {
    EXPECT_EQ(error_of(writable(), kTrim, {0, kGiB}), kOk);
    EXPECT_EQ(error_of(writable(), kTrim, {1, kGiB}), kErrorInvalid);
}

TEST(RequestReader, P094_WriteZeroesMayExceedThePayloadAndNotTheDisk) {
    EXPECT_EQ(error_of(writable(), kZeroes, {0, kGiB}), kOk);
    EXPECT_EQ(error_of(writable(), kZeroes, {0, kGiB}, kCommandNoHole), kOk);
    EXPECT_EQ(error_of(writable(), kZeroes, {1, kGiB}), kErrorNoSpace);
    EXPECT_EQ(error_of(writable(), kZeroes, {0, 0xffffffff}), kErrorNoSpace);
}

TEST(RequestReader, P095_FastZeroOnlyWhenAdvertised) {
    EXPECT_EQ(error_of(writable(), kZeroes, {}, kCommandFastZero), kOk);
    EXPECT_EQ(error_of(with_flags(kEverything & ~kFlagSendFastZero), kZeroes, {}, kCommandFastZero),
              kErrorInvalid);
}

TEST(RequestReader, P096_CacheMayExceedThePayload) {
    EXPECT_EQ(error_of(writable(), kCache, {0, kGiB}), kOk);
}

TEST(RequestReader, P097_UnadvertisedCommandsAreEinval) {
    const Contract contract = with_flags(kFlagHasFlags);
    EXPECT_EQ(error_of(contract, kFlush, {0, 0}), kErrorInvalid);
    for (const std::uint16_t command : {kTrim, kCache, kZeroes}) {
        EXPECT_EQ(error_of(contract, command), kErrorInvalid) << command;
    }
    EXPECT_EQ(error_of(contract, kRead), kOk);
    EXPECT_EQ(error_of(contract, kWrite), kOk);
}

TEST(RequestReader, P099_ASplitHeaderNeedsMore) {
    for (const Contract& contract : {writable(), extended()}) {
        RequestReader reader(contract);
        Request got;
        const std::string bytes = contract.extended_headers ? extended_request(kRead, 0, 1, 0, 512)
                                                            : request(kRead, 0, 1, 0, 512);
        for (std::size_t n = 0; n < bytes.size(); ++n) {
            ASSERT_EQ(reader.next(as_span(bytes).first(n), got), Next::need_more) << n;
        }
        EXPECT_EQ(reader.header_size(), bytes.size());
        EXPECT_EQ(reader.next(as_span(bytes), got), Next::request);
    }
}

TEST(RequestReader, P106_DfOnlyWhenAdvertisedWithChunks) {
    EXPECT_EQ(error_of(writable(), kRead, {0, 65'536}, kCommandDf), kOk);
    Contract simple = writable();
    simple.structured_replies = false;
    EXPECT_EQ(error_of(simple, kRead, {}, kCommandDf), kErrorInvalid);
    EXPECT_EQ(error_of(with_flags(kEverything & ~kFlagSendDf), kRead, {}, kCommandDf),
              kErrorInvalid);
}

TEST(RequestReader, P111_BlockStatusWithoutAContextIsEinval) {
    Contract contract = writable();
    contract.contexts.clear();
    EXPECT_EQ(read_one(contract, request(kStatus, 0, 1, 0, 512)).verdict, Verdict::no_contexts);
    EXPECT_EQ(error_of(contract, kStatus), kErrorInvalid);
}

TEST(RequestReader, P112_BlockStatusPastTheEndIsEinval) {
    EXPECT_EQ(error_of(writable(), kStatus, {kGiB, 1}), kErrorInvalid);
    EXPECT_EQ(error_of(writable(), kStatus, {kGiB - 1, 2}), kErrorInvalid);
}

TEST(RequestReader, P113_BlockStatusOf4GiBAndHugeOffsets) {
    EXPECT_EQ(error_of(writable(), kStatus, {0, 0xffffffff}), kErrorInvalid);
    Contract large = extended();
    large.size = std::uint64_t{1} << 62;
    EXPECT_EQ(error_of(large, kStatus, {0, std::uint64_t{1} << 62}), kOk);
    EXPECT_EQ(error_of(large, kStatus, {1, std::uint64_t{1} << 62}), kErrorInvalid);
    large.extended_headers = false;
    EXPECT_EQ(error_of(large, kStatus, {0, 0xffffffff}), kOk);
    EXPECT_EQ(error_of(large, kStatus, {(std::uint64_t{1} << 62) - 512, 512}), kOk);
}

TEST(RequestReader, P117_FlagsThatDoNotApplyToBlockStatus) {
    for (const std::uint16_t flag : {kCommandNoHole, kCommandDf, kCommandFastZero}) {
        EXPECT_EQ(error_of(writable(), kStatus, {}, flag), kErrorInvalid);
    }
    EXPECT_EQ(error_of(writable(), kStatus, {}, kCommandReqOne), kOk);
}

TEST(RequestReader, P118_ABatchOfRequestsIsReadOneByOne) {
    std::string batch;
    for (std::uint64_t i = 0; i < 1000; ++i) {
        batch += i % 3 == 0 ? request(kWrite, 0, i, i * 512, 8) + "payload!"
                            : request(i % 3 == 1 ? kRead : kStatus, 0, i, i * 512, 512);
    }
    RequestReader reader(writable());
    Request got;
    auto left = as_span(batch);
    for (std::uint64_t i = 0; i < 1000; ++i) {
        ASSERT_EQ(reader.next(left, got), Next::request);
        ASSERT_EQ(got.cookie, i);
        ASSERT_EQ(got.verdict, Verdict::ok);
        left = left.subspan(got.consumed + got.payload_length);
    }
    EXPECT_EQ(reader.next(left, got), Next::need_more);
}

TEST(RequestReader, AnExtendedWriteNeedsItsPayloadFlag) {
    const Request without = read_one(extended(), extended_request(kWrite, 0, 1, 0, 4096));
    EXPECT_EQ(without.verdict, Verdict::no_payload);
    EXPECT_EQ(without.payload_length, 0u);
    const Request with =
        read_one(extended(), extended_request(kWrite, kCommandPayloadLength, 1, 0, 4096));
    EXPECT_EQ(with.verdict, Verdict::ok);
    EXPECT_EQ(with.payload_length, 4096u);
}

TEST(RequestReader, APayloadThatNobodyWantsIsConsumedAndRefused) {
    for (const std::uint16_t command : {kRead, kFlush, kTrim, kCache, kZeroes, std::uint16_t{99}}) {
        const Request got =
            read_one(extended(), extended_request(command, kCommandPayloadLength, 1, 0, 100));
        EXPECT_EQ(nbd_error(got.verdict), kErrorInvalid);
        EXPECT_EQ(got.payload_length, 100u);
    }
    const Request status =
        read_one(extended(kEverything), extended_request(kStatus, kCommandPayloadLength, 1, 0, 12));
    EXPECT_EQ(status.verdict, Verdict::unwanted_payload);
    EXPECT_EQ(status.payload_length, 12u);
}

struct Filtered {
    Verdict verdict;
    std::uint64_t length;
    std::uint64_t chosen;

    bool operator==(const Filtered&) const = default;
};

Filtered filter(std::string_view payload, std::uint64_t offset = 0) {
    RequestReader reader(extended());
    Request got;
    const std::string bytes =
        extended_request(kStatus, kCommandPayloadLength, 1, offset, payload.size());
    EXPECT_EQ(reader.next(as_span(bytes), got), Next::request);
    EXPECT_TRUE(got.has_filter());
    EXPECT_EQ(got.length, 0u);
    EXPECT_EQ(got.payload_length, payload.size());
    Filtered filtered{};
    reader.choose_contexts(got, as_span(payload), filtered.chosen);
    filtered.verdict = got.verdict;
    filtered.length = got.length;
    return filtered;
}

TEST(RequestReader, AFilterChoosesContexts) {
    EXPECT_EQ(filter(Bytes().u64(4096).u32(9).str()), (Filtered{Verdict::ok, 4096, 2}));
    EXPECT_EQ(filter(Bytes().u64(1).u32(9).u32(7).str()), (Filtered{Verdict::ok, 1, 3}));
}

TEST(RequestReader, AMalformedFilterIsEinval) {
    for (const std::string& bad :
         {Bytes().u64(4096).u32(8).str(), Bytes().u64(4096).u32(7).u32(7).str(),
          Bytes().u64(4096).u32(7).u16(0).str()}) {
        EXPECT_EQ(filter(bad).verdict, Verdict::bad_filter);
        EXPECT_EQ(filter(bad).chosen, 0u);
    }
}

TEST(RequestReader, AFilterTooShortToNameAContextIsEinvalUnread) {
    for (const std::uint64_t length : {1u, 8u, 11u}) {
        const Request got =
            read_one(extended(), extended_request(kStatus, kCommandPayloadLength, 1, 0, length));
        EXPECT_EQ(got.verdict, Verdict::bad_filter);
        EXPECT_FALSE(got.has_filter());
        EXPECT_EQ(got.payload_length, length);
    }
}

TEST(RequestReader, TheRangeOfAFilteredRequestIsJudgedToo) {
    EXPECT_EQ(filter(Bytes().u64(2).u32(7).str(), kGiB - 1).verdict, Verdict::beyond_end);
    EXPECT_EQ(filter(Bytes().u64(0).u32(7).str()).verdict, Verdict::empty);
}

TEST(RequestReader, ALongFilterIsRefusedUnread) {
    const Request got =
        read_one(extended(), extended_request(kStatus, kCommandPayloadLength, 1, 0, 100'000));
    EXPECT_EQ(got.verdict, Verdict::bad_filter);
    EXPECT_EQ(got.payload_length, 100'000u);
    EXPECT_FALSE(got.has_filter());
}

TEST(RequestReader, EveryVerdictButOkHasAnErrorAndASentence) {
    EXPECT_EQ(nbd_error(Verdict::ok), 0u);
    for (int i = 1; i <= static_cast<int>(Verdict::bad_flush); ++i) {
        EXPECT_NE(nbd_error(static_cast<Verdict>(i)), 0u) << i;
        EXPECT_FALSE(sentence(static_cast<Verdict>(i)).empty()) << i;
    }
}

}  // namespace
}  // namespace signpost::wire::test
