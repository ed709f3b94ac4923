# SPDX-License-Identifier: MIT
"""Random JSON texts, valid and damaged, read by json_parse() and by Python's json made strict.

usage: json_differential.py JSON_ECHO SEED TEXTS     exit 1 when the two differ

Strict: UTF-8 without a mark, no NaN or Infinity, no half surrogate, no key twice in an object,
64 levels. Integers beyond 64 bits count as the nearest double.
"""
import json
import random
import subprocess
import sys

MAX_DEPTH = 64
NUMBERS = ("0", "-0", "1", "-1", "18446744073709551615", "18446744073709551616",
           "-9223372036854775808", "-9223372036854775809", "9007199254740993", "0.1", "1e5", "1E+5",
           "2.5e-3", "1e308", "1e309", "-1e309", "5e-324", "2e-324", "1.7976931348623157e308",
           "123456789012345678901234567890", "0.1000000000000000055511151231257827",
           "2.2250738585072011e-308", "-0.0")
NO_NUMBERS = ("00", "01", "+1", ".5", "1.", "1e", "0x1", "NaN", "-Infinity", "Infinity")
PIECES = ("\\u0000", "\\ud83d\\ude00", "\\n", "\\/", "\\b", "\x7f", "\u2028", "\u00e9",
          "\U0001f600", "a", "b", "key", " ")
NO_PIECES = ("\\ud83d", "\\ude00", "\\uD800\\u0041", "\\x", "\\u12", "\t")
SNIPPETS = (b",", b":", b"{", b"}", b"[", b"]", b'"', b"\\", b" ", b"\n", b"\x0b", b"\0",
            b"\xef\xbb\xbf", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xff", b"0", b"-",
            b"e", b"/**/", b"'", b"true", b"nul", b"\xc2\xa0")


def white(rng):
    return rng.choice(("", "", "", " ", "\t", "\r\n"))


def string(rng):
    pieces = PIECES if rng.random() < 0.9 else PIECES + NO_PIECES
    return '"' + "".join(rng.choice(pieces) for _ in range(rng.randint(0, 5))) + '"'


def number(rng):
    if rng.random() < 0.5:
        return rng.choice(NUMBERS if rng.random() < 0.97 else NO_NUMBERS)
    digits = "".join(rng.choice("0123456789") for _ in range(rng.randint(1, 25))).lstrip("0") or "0"
    text = rng.choice(("", "-")) + digits
    if rng.random() < 0.5:
        text += "." + "".join(rng.choice("0123456789") for _ in range(rng.randint(1, 20)))
    if rng.random() < 0.4:
        text += rng.choice("eE") + rng.choice(("", "+", "-")) + str(rng.randint(0, 330))
    return text


def literal(rng):
    return rng.choice(("true", "false", "null"))


def value(rng, depth):
    kind = rng.randrange(9)
    if kind < 4 or depth > 5:
        return rng.choice((number, number, string, literal))(rng)
    n = rng.choice((0, 1, 2, 3))

    def w():
        return white(rng)
    if kind < 6:
        return "[" + w() + ("," + w()).join(value(rng, depth + 1) + w() for _ in range(n)) + "]"
    return "{" + w() + ("," + w()).join(
        string(rng) + w() + ":" + w() + value(rng, depth + 1) + w() for _ in range(n)) + "}"


def text(rng):
    if rng.random() < 0.01:
        n = rng.randint(MAX_DEPTH - 3, MAX_DEPTH + 3)
        opening = [rng.choice("[{") for _ in range(n)]
        body = "".join("[" if b == "[" else '{"k":' for b in opening)
        return (body + "0" + "".join("]" if b == "[" else "}" for b in reversed(opening))).encode()
    raw = bytearray((white(rng) + value(rng, 0) + white(rng)).encode())
    for _ in range(rng.choice((0, 0, 1, 1, 2))):
        i = rng.randint(0, len(raw))
        j = min(len(raw), i + rng.choice((0, 0, 1, 2)))
        raw[i:j] = rng.choice(SNIPPETS) if rng.random() < 0.8 else bytes([rng.randrange(256)])
    return bytes(raw)


def refuse(why):
    raise ValueError(why)


def once(pairs):
    keys = [k for k, _ in pairs]
    if len(set(keys)) < len(keys):
        refuse("key twice")
    return dict(pairs)


def integer(digits):
    n = int(digits)
    return n if -2**63 <= n < 2**64 else float(digits)


def judge(node, depth):
    if depth > MAX_DEPTH:
        refuse("depth")
    if isinstance(node, str):
        node.encode()  # refuses half surrogates
    elif isinstance(node, list):
        for child in node:
            judge(child, depth + isinstance(child, (list, dict)))
    elif isinstance(node, dict):
        for key, child in node.items():
            key.encode()
            judge(child, depth + isinstance(child, (list, dict)))


def theirs(raw):
    """(value,) or None when refused."""
    try:
        node = json.loads(raw.decode(), object_pairs_hook=once, parse_constant=refuse,
                          parse_int=integer)
        judge(node, 1)
        return (node,)
    except ValueError:  # JSONDecodeError and UnicodeError are both
        return None


def same(a, b):
    """Equal, and numbers told from truth values, which Python's == does not."""
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(v, b[k]) for k, v in a.items())
    return isinstance(a, bool) == isinstance(b, bool) and a == b


def main():
    tool, seed, n = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    rng = random.Random(seed)
    texts = [text(rng) for _ in range(n)]
    stdin = b"".join(len(t).to_bytes(4, "little") + t for t in texts)
    run = subprocess.run([tool], input=stdin, stdout=subprocess.PIPE, check=True)
    lines = run.stdout.decode().split("\n")[:-1]
    if len(lines) != n:
        sys.exit(f"{len(lines)} answers to {n} texts")
    accepted = 0
    for raw, line in zip(texts, lines):
        want = theirs(raw)
        have = None if line.startswith("!") else (json.loads(line, parse_int=integer),)
        if (want is None) != (have is None) or (want and not same(want[0], have[0])):
            sys.exit(f"text {raw!r}\nthey read {want}\nwe read {line}")
        accepted += want is not None
    print(f"Python {sys.version.split()[0]}, seed {seed}: {n} texts, {accepted} accepted by both, "
          f"{n - accepted} refused by both")


if __name__ == "__main__":
    main()
