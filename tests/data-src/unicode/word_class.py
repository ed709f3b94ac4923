#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Ask the tokenizers package which code points are word characters; print ranges as classes.tsv.

    python3 word_class.py FIXTURES/tokenizer/variants/added.json >word.tsv

A token with single_word set is not matched beside a word character.
"""
import sys

from tokenizers import Tokenizer


def main():
    tokenizer = Tokenizer.from_file(sys.argv[1])
    token = tokenizer.token_to_id("word")
    points = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    ranges = []
    for begin in range(0, len(points), 4096):
        batch = points[begin:begin + 4096]
        encoded = tokenizer.encode_batch([chr(c) + "word" for c in batch])
        for c, e in zip(batch, encoded):
            if token in e.ids:
                continue
            if ranges and ranges[-1][1] == c - 1:
                ranges[-1][1] = c
            else:
                ranges.append([c, c])
    for first, last in ranges:
        print(f"W\t{first:04X}\t{last:04X}")


if __name__ == "__main__":
    main()
