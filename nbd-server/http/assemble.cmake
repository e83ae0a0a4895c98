# SPDX-License-Identifier: BSD-3-Clause
#
# cmake -DFROM=DIRECTORY -DTO=FILE.html -DSCRIPTS=a.js,b.js… -P assemble.cmake: the page as one
# file, index.html with its style and its scripts in it.

file(READ ${FROM}/index.html page)
file(READ ${FROM}/style.css style)
set(script "\"use strict\";\n")
string(REPLACE "," ";" names "${SCRIPTS}")
foreach(name IN LISTS names)
    file(READ ${FROM}/${name} one)
    string(APPEND script "\n${one}")
endforeach()
string(REPLACE "@STYLE@" "${style}" page "${page}")
string(REPLACE "@SCRIPT@" "${script}" page "${page}")
file(WRITE ${TO} "${page}")
