#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Print libprep/chat/text_table.c: what Python 3.11 (Unicode 14.0) does to a code point in repr() and
in the methods that change case.

    python3.11 tests/data-src/unicode/python_classes.py >libprep/chat/text_table.c
"""
import unicodedata

ESCAPED, UNASSIGNED, CASED = 1, 2, 4


def classes(c):
    s = chr(c)
    if 0xD800 <= c <= 0xDFFF:
        return 0
    if unicodedata.category(s) == "Cn":
        return UNASSIGNED
    cased = s.upper() != s or s.lower() != s or s.title() != s or (s + "a").title()[-1] == "a"
    return (0 if s.isprintable() else ESCAPED) | (CASED if cased else 0)


assert unicodedata.unidata_version == "14.0.0", unicodedata.unidata_version
ranges = []
for c in range(0x80, 0x110000):
    k = classes(c)
    if k and ranges and ranges[-1][2] == k and ranges[-1][1] == c - 1:
        ranges[-1][1] = c
    elif k:
        ranges.append([c, c, k])
print("/* SPDX-License-Identifier: MIT */")
print("/* Printed by tests/data-src/unicode/python_classes.py; Unicode 14.0. */")
print('#include "libprep/chat/text.h"\n')
print("/* clang-format off */")
print("const struct tpl_class_range tpl_class_ranges[] = {")
for i in range(0, len(ranges), 4):
    print("    " + " ".join("{0x%05x, 0x%05x, %d}," % tuple(r) for r in ranges[i:i + 4]))
print("};")
print("/* clang-format on */")
print("const size_t tpl_n_class_ranges = sizeof tpl_class_ranges / sizeof *tpl_class_ranges;")
