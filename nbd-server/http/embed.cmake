# SPDX-License-Identifier: BSD-3-Clause
#
# cmake -DFROM=FILE -DTO=FILE.cc -P embed.cmake: the bytes of a file as a source.

file(READ ${FROM} bytes HEX)
string(LENGTH "${bytes}" digits)
math(EXPR size "${digits} / 2")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
string(REGEX REPLACE "(0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,)" "\\1\n" bytes "${bytes}")
file(WRITE ${TO} "#include <cstddef>
namespace signpost {
extern const unsigned char kPageBytes[];
extern const std::size_t kPageSize;
const unsigned char kPageBytes[] = {${bytes}};
const std::size_t kPageSize = ${size};
}
")
