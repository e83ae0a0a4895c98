# SPDX-License-Identifier: BSD-3-Clause
#
# What every target of ours has in common: the language, the warnings, the sanitizers of the preset,
# the hardening, and includes written from the root of the tree. Nothing is set globally.

set(SIGNPOST_SANITIZE "" CACHE STRING
    "Sanitizers, as -fsanitize takes them: address,undefined or thread; empty: none")
option(SIGNPOST_WERROR "Warnings are errors (developers and CI)" OFF)
option(SIGNPOST_FUZZ "Build the fuzzers (clang)" OFF)
option(SIGNPOST_PCH "Precompile what most sources include; shorter builds" OFF)

# The standard headers that most sources include. Where they are precompiled a source may lack an
# include and still build, so one preset is without.
set(SIGNPOST_COMMON_HEADERS <algorithm> <atomic> <chrono> <functional> <map> <memory> <mutex>
    <optional> <span> <string> <thread> <vector> <fmt/format.h>)

function(signpost_target name)
    target_compile_features(${name} PUBLIC cxx_std_23)
    target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR})
    target_compile_options(${name} PRIVATE -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor
        $<$<BOOL:${SIGNPOST_WERROR}>:-Werror> -fvisibility=hidden -fstack-protector-strong)
    set_target_properties(${name} PROPERTIES CXX_EXTENSIONS OFF POSITION_INDEPENDENT_CODE ON)
    target_compile_definitions(${name} PRIVATE _GNU_SOURCE
        $<$<CONFIG:Release>:_FORTIFY_SOURCE=2>)
    target_link_options(${name} PRIVATE -Wl,-z,relro,-z,now)
    if(SIGNPOST_SANITIZE)
        target_compile_options(${name} PUBLIC -fsanitize=${SIGNPOST_SANITIZE}
            -fno-omit-frame-pointer -fno-sanitize-recover=all)
        target_link_options(${name} PUBLIC -fsanitize=${SIGNPOST_SANITIZE})
    endif()
    if(SIGNPOST_FUZZ)
        target_compile_options(${name} PUBLIC -fsanitize=fuzzer-no-link)
    endif()
    get_target_property(sources ${name} SOURCES)
    list(LENGTH sources count)
    if(SIGNPOST_PCH AND count GREATER 5)
        target_precompile_headers(${name} PRIVATE ${SIGNPOST_COMMON_HEADERS} ${ARGN})
        # So that ccache can tell one precompiled header from another.
        target_compile_options(${name} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>
            "$<$<CXX_COMPILER_ID:Clang>:SHELL:-Xclang -fno-pch-timestamp>")
    endif()
endfunction()

# What this directory builds waits for its compiler longer than it will ever run: optimized lightly.
function(signpost_cold_code)
    add_compile_options($<$<CONFIG:Release>:-O1>)
endfunction()

# signpost_test(NAME SOURCES... LIBS... [LABELS...]): one GoogleTest program, each of its tests a
# test of ctest's, so that one that fails or skips is seen by its own name. Labels are joined to one
# word (unit-contract), because gtest_discover_tests passes no list on; `ctest -L` finds each part.
# What ThreadSanitizer is to see has the label `threads`, and is built by threaded_tests.
function(signpost_test name)
    cmake_parse_arguments(arg "" "" "SOURCES;LIBS;LABELS" ${ARGN})
    add_executable(${name} ${arg_SOURCES})
    signpost_target(${name} <gtest/gtest.h>)
    target_link_libraries(${name} PRIVATE ${arg_LIBS} GTest::gtest GTest::gtest_main)
    if("threads" IN_LIST arg_LABELS)
        add_dependencies(threaded_tests ${name})
    endif()
    list(PREPEND arg_LABELS unit)
    list(JOIN arg_LABELS "-" label)
    gtest_discover_tests(${name} TEST_PREFIX ${name}: DISCOVERY_MODE PRE_TEST
        DISCOVERY_TIMEOUT 60 PROPERTIES TIMEOUT 300 LABELS ${label})
endfunction()

# signpost_fuzzer(NAME SOURCE LIBS...): LLVMFuzzerTestOneInput over the seeds in corpus/NAME. With
# SIGNPOST_FUZZ it fuzzes for SIGNPOST_FUZZ_SECONDS; in any other build it reads each seed once.
set(SIGNPOST_FUZZ_SECONDS 20 CACHE STRING "How long each fuzzer runs as a test")
function(signpost_fuzzer name source)
    set(corpus ${CMAKE_CURRENT_SOURCE_DIR}/corpus/${name})
    add_executable(${name} ${source})
    add_dependencies(fuzzers ${name})
    signpost_target(${name})
    target_link_libraries(${name} PRIVATE ${ARGN} fmt::fmt)
    if(SIGNPOST_FUZZ)
        target_link_options(${name} PRIVATE -fsanitize=fuzzer)
        set(found ${CMAKE_CURRENT_BINARY_DIR}/${name}.found)
        file(MAKE_DIRECTORY ${found})
        add_test(NAME fuzz-${name} COMMAND ${name} -max_total_time=${SIGNPOST_FUZZ_SECONDS}
            -timeout=10 -rss_limit_mb=2048 -print_final_stats=1
            -artifact_prefix=${CMAKE_CURRENT_BINARY_DIR}/${name}. ${found} ${corpus})
        set_tests_properties(fuzz-${name} PROPERTIES LABELS fuzz
            TIMEOUT ${SIGNPOST_FUZZ_SECONDS}0)
    else()
        target_sources(${name} PRIVATE replay_main.cc)
        add_test(NAME seeds-${name} COMMAND ${name} ${corpus})
        set_tests_properties(seeds-${name} PROPERTIES LABELS unit TIMEOUT 300)
    endif()
endfunction()

# signpost_page(POD SECTION): the manual page that POD is, with `all` and installed. Its bytes
# depend on POD and the release only, not on when it is made.
function(signpost_page pod section)
    find_program(POD2MAN pod2man REQUIRED)
    find_program(GZIP gzip REQUIRED)
    cmake_path(GET pod STEM LAST_ONLY name)
    set(page ${CMAKE_CURRENT_BINARY_DIR}/${name}.${section})
    string(TOUPPER ${name} title)
    add_custom_command(OUTPUT ${page} ${page}.gz
        COMMAND ${POD2MAN} --section=${section} --name=${title} --center=Signpost
            --release=signpost-${PROJECT_VERSION} --date=${SIGNPOST_RELEASE_DATE} --utf8 --stderr
            ${CMAKE_CURRENT_SOURCE_DIR}/${pod} ${page}
        COMMAND ${GZIP} --best --no-name --keep --force ${page}
        DEPENDS ${pod}
        COMMENT "Making ${name}(${section})"
        VERBATIM)
    add_custom_target(${name}_page ALL DEPENDS ${page})
    set_property(GLOBAL APPEND PROPERTY SIGNPOST_PAGES ${name}_page)
    install(FILES ${page}.gz DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section})
endfunction()
