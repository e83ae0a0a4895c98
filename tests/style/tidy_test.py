#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Each rule of tidy.py against a small bad sample, and a good tree against all of them."""

import os
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tidy  # noqa: E402 (its folder has just been named)

HEAD = "// SPDX-License-Identifier: BSD-3-Clause\n"
HEADER = HEAD + "#pragma once\n"


def function_of(lines, name="serve"):
    body = "".join(f"    step({i});\n" for i in range(lines - 2))
    return f"void {name}(int count) {{\n{body}}}\n"


class TidyTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.heavy = {name: set(users) for name, users in tidy.HEAVY_HEADERS.items()}
        self.addCleanup(tidy.HEAVY_HEADERS.update, self.heavy)
        tidy.HEAVY_HEADERS.update({name: set() for name in self.heavy})

    def write(self, path, text):
        path = os.path.join(self.folder.name, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    def breaches(self):
        return [f"{path}:{line}: {said}" for path, line, said in
                tidy.check_tree(self.folder.name)]

    def assert_breach(self, place, words):
        found = self.breaches()
        self.assertEqual(len(found), 1, found)
        self.assertTrue(found[0].startswith(place + ": "), found)
        self.assertIn(words, found[0])

    def test_good_tree_has_no_breach(self):
        self.write("catalog/a.h", HEADER + "int a();\n")
        self.write("nbd-server/disk/b.cc", HEAD + '#include "catalog/a.h"\n' + function_of(70))
        self.write("README.md", "# Title\n")
        self.assertEqual(self.breaches(), [])

    def test_line_of_101_columns(self):
        self.write("catalog/a.cc", HEAD + "// " + "x" * 97 + "\n// " + "x" * 98 + "\n")
        self.assert_breach("catalog/a.cc:3", "101 columns")

    def test_wide_table_in_a_document_is_allowed(self):
        self.write("README.md", "| " + "x" * 120 + " |\n")
        self.assertEqual(self.breaches(), [])

    def test_wide_sentence_in_a_document(self):
        self.write("README.md", "x" * 120 + "\n")
        self.assert_breach("README.md:1", "120 columns")

    def test_tab(self):
        self.write("catalog/a.cc", HEAD + "\tint a;\n")
        self.assert_breach("catalog/a.cc:2", "a tab")

    def test_space_at_end(self):
        self.write("tests/a.sh", "# SPDX-License-Identifier: BSD-3-Clause\necho \n")
        self.assert_breach("tests/a.sh:2", "space at the end")

    def test_missing_licence(self):
        self.write("catalog/a.cc", "int a;\n")
        self.assert_breach("catalog/a.cc:1", "SPDX")

    def test_unfinished(self):
        self.write("catalog/a.cc", HEAD + "// TO" + "DO: later\n")
        self.assert_breach("catalog/a.cc:2", "unfinished")

    def test_name_for_mktemp_is_not_unfinished(self):
        self.write("run", "#!/bin/bash\n# SPDX-License-Identifier: BSD-3-Clause\nmktemp a.XXXXXX\n")
        self.assertEqual(self.breaches(), [])

    def test_function_of_71_lines(self):
        self.write("catalog/a.cc", HEAD + "namespace a {\n" + function_of(71) + "}\n")
        self.assert_breach("catalog/a.cc:3", "serve is 71 lines")

    def test_long_member_with_initializers(self):
        body = "".join(f"    step({i});\n" for i in range(75))
        self.write("catalog/a.cc", HEAD + "A::A(int x)\n    : a_(x), b_{x} {\n" + body + "}\n")
        self.assert_breach("catalog/a.cc:2", "is 78 lines")

    def test_long_class_is_not_a_function(self):
        members = "".join(f"    int get{i}() const {{ return {i}; }}\n" for i in range(90))
        self.write("catalog/a.h", HEADER + "class A {\n   public:\n" + members + "};\n")
        self.assertEqual(self.breaches(), [])

    def test_long_table_is_not_a_function(self):
        rows = "".join(f"    {{{i}, name({i})}},\n" for i in range(90))
        self.write("catalog/a.cc", HEAD + "const Row kRows[] = {\n" + rows + "};\n")
        self.assertEqual(self.breaches(), [])

    def test_two_functions_after_each_other_are_measured_apart(self):
        self.write("catalog/a.cc", HEAD + function_of(40) + "\n" +
                   function_of(40, "stop").replace("step", "end"))
        lines = tidy.read_tree(self.folder.name)["catalog/a.cc"]
        self.assertEqual([last - first + 1 for first, last, _ in tidy.functions(lines)], [40, 40])

    def test_banned_call(self):
        self.write("catalog/a.cc", HEAD + "int a = std::atoi(text);\n")
        self.assert_breach("catalog/a.cc:2", "std::from_chars")

    def test_member_of_the_same_name_is_not_banned(self):
        self.write("catalog/a.cc", HEAD + 'int a = device.system(1);\nauto b = "system(1)";\n')
        self.assertEqual(self.breaches(), [])

    def test_iostream(self):
        self.write("catalog/a.cc", HEAD + "#include <iostream>\n")
        self.assert_breach("catalog/a.cc:2", "use fmt")

    def test_vague_class(self):
        self.write("catalog/a.cc", HEAD + "class DiskManager;\n")
        self.assert_breach("catalog/a.cc:2", "DiskManager")

    def test_security_table_names_a_test_that_is_not_there(self):
        self.write("tests/unit/a_test.cc", HEAD + "TEST(Disk, Reads) {}\n")
        self.write("tests/e2e/plugin-list.sh", "# SPDX-License-Identifier: BSD-3-Clause\n")
        self.write("SECURITY.md", "| a | `Disk.Reads`, `e2e-plugin-list` |\n| b | `Disk.Flies` |\n")
        self.assert_breach("SECURITY.md:2", "Disk.Flies")

    def test_using_namespace(self):
        self.write("catalog/a.cc", HEAD + "using namespace std;\n"
                   "using namespace std::chrono_literals;\n")
        self.assert_breach("catalog/a.cc:2", "name what you use")

    def test_header_without_pragma_once(self):
        self.write("catalog/a.h", HEAD + "int a();\n")
        self.assert_breach("catalog/a.h:1", "#pragma once")

    def test_include_against_the_arrows(self):
        self.write("nbd-server/wire/w.h", HEADER)
        self.write("catalog/a.cc", HEAD + '#include "nbd-server/wire/w.h"\n')
        self.assert_breach("catalog/a.cc:2", "against the arrows")

    def test_include_not_from_the_root(self):
        self.write("catalog/a.h", HEADER)
        self.write("catalog/a.cc", HEAD + '#include "a.h"\n')
        self.assert_breach("catalog/a.cc:2", "from the root")

    def test_heavy_header_in_a_file_that_is_not_listed(self):
        self.write("catalog/a.cc", HEAD + "#include <sqlite3.h>\n")
        self.assert_breach("catalog/a.cc:2", "sqlite3.h is heavy")

    def test_listed_file_that_needs_the_heavy_header_no_more(self):
        self.write("catalog/a.cc", HEAD)
        tidy.HEAVY_HEADERS["sqlite3.h"] = {"catalog/a.cc"}
        self.assert_breach("catalog/a.cc:1", "any more")

    def test_duplicate_block(self):
        block = "".join(f"    first_{i}({i});\n" for i in range(tidy.DUPLICATE_LINES))
        self.write("catalog/a.cc", HEAD + block)
        self.write("catalog/b.cc", HEAD + "int b;\n" + block)
        self.assert_breach("catalog/b.cc:3", "lines as in catalog/a.cc:2")

    def test_overrides_are_no_duplicates(self):
        block = "".join(f"    int get_{i}(int first,\n        int second) override;\n"
                        for i in range(tidy.DUPLICATE_LINES))
        self.write("catalog/a.h", HEADER + block)
        self.write("catalog/b.h", HEADER + block)
        self.assertEqual(self.breaches(), [])

    def test_shorter_block_is_no_duplicate(self):
        block = "".join(f"    first_{i}({i});\n" for i in range(tidy.DUPLICATE_LINES - 1))
        self.write("catalog/a.cc", HEAD + block)
        self.write("catalog/b.cc", HEAD + block)
        self.assertEqual(self.breaches(), [])


if __name__ == "__main__":
    unittest.main()
