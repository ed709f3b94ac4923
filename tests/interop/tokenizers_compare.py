#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Encode made-up strings, and decode made-up ids, with the tokenizers package and with ours.

    tokenizers_compare.py TOKENIZE FOLDER [TOKENIZER.json] --strings N --seed S [--text JSONL]
    tokenizers_compare.py TOKENIZE FOLDER --random FILES --strings N --seed S
"""
import argparse
import json
import random
import struct
import subprocess
import sys

from tokenizers import Tokenizer

SCRIPTS = [(0x41, 0x7A), (0xC0, 0x24F), (0x370, 0x3FF), (0x400, 0x4FF), (0x590, 0x5FF),
           (0x600, 0x6FF), (0x900, 0x97F), (0xE00, 0xE7F), (0x1100, 0x11FF), (0x1E00, 0x1EFF),
           (0x2000, 0x206F), (0x2150, 0x218F), (0x2460, 0x24FF), (0x3000, 0x30FF),
           (0x4E00, 0x4FFF), (0xAC00, 0xAD00), (0xFF00, 0xFFEF), (0x10400, 0x1044F),
           (0x1D400, 0x1D7FF), (0x1F300, 0x1F6FF), (0x20000, 0x20100), (0x31350, 0x32400)]
SPACES = " \t\n\r\v\f\u0085\u00a0\u1680\u2003\u2028\u2029\u202f\u3000\u180e\u200b\ufeff"
PIECES = ["'s", "'S", "'\u017f", "'t", "'RE", "'ve", "'m", "'Ll", "'d", "''", "'", "don't", "1", "12",
          "1234", "\u0661\u00b2", "a", "The", "e\u0301", "\u0301", "\u200d", "_", "-", "...", "!?",
          "{}", "\r\n", "\n\n", "  ", "   \n", "\x00", "\x7f", "\ufffd", "word", "nrm", "nrmx"]


def character(rng):
    if rng.random() < 0.3:
        return chr(rng.randrange(0x20, 0x7F))
    if rng.random() < 0.8:
        first, last = rng.choice(SCRIPTS)
        return chr(rng.randint(first, last))
    while True:
        c = rng.randrange(0x110000)
        if not 0xD800 <= c < 0xE000:
            return chr(c)


def make_string(rng, added, text):
    parts = []
    for _ in range(rng.choice([1, 2, 3, 5, 8, 13, 30])):
        kind = rng.random()
        if kind < 0.25:
            parts.append(rng.choice(PIECES))
        elif kind < 0.45:
            parts.append("".join(character(rng) for _ in range(rng.randint(1, 6))))
        elif kind < 0.6:
            parts.append(rng.choice(SPACES) * rng.choice([1, 1, 2, 3, 9]))
        elif kind < 0.72 and added:
            token = rng.choice(added)
            cut = rng.randint(0, len(token)) if rng.random() < 0.2 else len(token)
            parts.append(token[:cut])
        elif kind < 0.8:
            parts.append("".join(rng.choice("abcd ") for _ in range(rng.randint(1, 12))))
        elif kind < 0.82:
            parts.append(rng.choice(["a", " ", "\n", "ab", "=", "\u4e00"]) * rng.randint(20, 200))
        elif text:
            begin = rng.randrange(len(text))
            parts.append(text[begin:begin + rng.randint(1, 40)])
    return "".join(parts)


def random_tokenizer(rng):
    """Words over a few letters, merged in any way that makes one, in any order."""
    alphabet = rng.choice(["ab", "abc", "ab ", "abcd"])
    spelled = {b: chr(b) for b in [*range(33, 127), *range(161, 173), *range(174, 256)]}
    for b in range(256):
        spelled.setdefault(b, chr(256 + sum(1 for k in range(b)
                                            if not (33 <= k < 127 or 161 <= k < 173 or k >= 174))))
    vocab = {spelled[b]: i for i, b in enumerate(rng.sample(range(256), 256))}
    for _ in range(rng.randint(5, 120)):
        word = "".join(rng.choice(alphabet) for _ in range(rng.randint(2, 7)))
        vocab.setdefault("".join(spelled[ord(c)] for c in word), len(vocab))
    merges = [[w[:i], w[i:]] for w in vocab for i in range(1, len(w))
              if w[:i] in vocab and w[i:] in vocab and rng.random() < 0.9]
    merges += rng.choices(merges, k=len(merges) // 10) if merges else []
    rng.shuffle(merges)
    pattern = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" \
              r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [],
            "normalizer": None, "post_processor": None, "decoder": {
                "type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True,
                "use_regex": True},
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated",
                 "invert": False},
                {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
                 "use_regex": False}]},
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "fuse_unk": False,
                      "continuing_subword_prefix": None, "end_of_word_suffix": None,
                      "byte_fallback": False, "ignore_merges": rng.random() < 0.5,
                      "vocab": vocab, "merges": merges}}


def records(program, path, mode, payload):
    out = subprocess.run([program, path, mode], input=payload, stdout=subprocess.PIPE,
                         check=True).stdout
    return out


def our_ids(program, path, mode, strings):
    raw = [s.encode() for s in strings]
    out = records(program, path, mode, b"".join(struct.pack("<I", len(r)) + r for r in raw))
    at, result = 0, []
    for _ in strings:
        (n,) = struct.unpack_from("<I", out, at)
        result.append(list(struct.unpack_from(f"<{n}I", out, at + 4)))
        at += 4 + 4 * n
    assert at == len(out)
    return result


def our_text(program, path, mode, lists):
    out = records(program, path, mode,
                  b"".join(struct.pack(f"<{len(k) + 1}I", len(k), *k) for k in lists))
    at, result = 0, []
    for _ in lists:
        (n,) = struct.unpack_from("<I", out, at)
        result.append(out[at + 4:at + 4 + n].decode())
        at += 4 + n
    assert at == len(out)
    return result


def report(what, inputs, ours, theirs):
    wrong = [i for i in range(len(inputs)) if ours[i] != theirs[i]]
    for i in wrong[:3]:
        print(f"{what}: {inputs[i]!r}: ours {ours[i]!r}, theirs {theirs[i]!r}")
    print(f"{what}: {len(inputs) - len(wrong)} of {len(inputs)} equal")
    return len(wrong)


def compare(program, path, strings, rng):
    wrong = 0
    tokenizer = Tokenizer.from_file(path)
    for mode, special, wrap in [("all", False, False), ("nospecial", True, False),
                                ("wrap", False, True)]:
        tokenizer.encode_special_tokens = special
        theirs = []
        for begin in range(0, len(strings), 1000):
            theirs += [e.ids for e in tokenizer.encode_batch(strings[begin:begin + 1000],
                                                             add_special_tokens=wrap)]
        if mode == "wrap" and tokenizer.post_processor is None:
            continue
        wrong += report(mode, strings, our_ids(program, path, mode, strings), theirs)
    size = tokenizer.get_vocab_size() + 20
    lists = [[rng.randrange(size) for _ in range(rng.randint(0, 12))]
             for _ in range(len(strings) // 4)]
    for mode, skip in [("decode", False), ("decode-skip", True)]:
        theirs = [tokenizer.decode(k, skip_special_tokens=skip) for k in lists]
        wrong += report(mode, lists, our_text(program, path, mode, lists), theirs)
    return wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("folder")
    parser.add_argument("tokenizer", nargs="?")
    parser.add_argument("--random", type=int, default=0)
    parser.add_argument("--strings", type=int)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--text")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    text, wrong = "", 0
    if args.text:
        with open(args.text, encoding="utf-8") as f:
            text = "".join(json.loads(line)["text"] for line in f)
    for _ in range(args.random):
        path = args.folder + "/random.json"
        with open(path, "w", encoding="utf-8") as f:
            json.dump(random_tokenizer(rng), f)
        strings = ["".join(rng.choice("aabbcd ") for _ in range(rng.randint(1, 300)))
                   for _ in range(args.strings)]
        wrong += compare(args.program, path, strings, rng)
    if args.tokenizer:
        with open(args.tokenizer, encoding="utf-8") as f:
            added = [k["content"] for k in json.load(f)["added_tokens"]]
        strings = [make_string(rng, added, text) for _ in range(args.strings)]
        wrong += compare(args.program, args.tokenizer, strings, rng)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
