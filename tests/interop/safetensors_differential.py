# SPDX-License-Identifier: MIT
"""Random safetensors files, valid and damaged, read by prep-inspect and by the safetensors package.

usage: safetensors_differential.py PREP_INSPECT FOLDER SEED FILES     exit 1 when the two differ

Valid files must give equal names, dtypes, shapes and bytes. Of damaged headers we may
accept nothing that the package refuses, and refuse what it accepts only for the reasons below.
"""
import json
import os
import random
import subprocess
import sys

import safetensors

BITS = {"F64": 64, "I64": 64, "U64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16, "BF16": 16,
        "I16": 16, "U16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "I8": 8, "U8": 8, "BOOL": 8,
        "C64": 64, "F4": 4}
LETTERS = "abcXYZ019._- \"{}[],:" + "\u00e9\u4e2d\U0001f600"
SNIPPETS = (b"0", b"-", b"1e0", b",", b"{}", b'"a":1,', b"\\", b" ", b"9")
# Names that lie, metadata a C string would cut, and more dimensions than we hold.
STRICTER = {"NAME", "METADATA", "SHAPE"}
BATCH = 100


def white(rng):
    return "".join(rng.choice(" \t\n\r") for _ in range(rng.choice((0, 0, 0, 1, 3))))


def string(rng, text):
    """A JSON string, with some of the escapes there are."""
    out = []
    for c in text:
        if rng.random() < 0.1:
            units = c.encode("utf-16-be")
            out += ["\\u%02x%02x" % tuple(units[i:i + 2]) for i in range(0, len(units), 2)]
        else:
            out.append(json.dumps(c, ensure_ascii=False)[1:-1])
    return '"' + "".join(out) + '"'


def obj(rng, pairs):
    def gap():
        return white(rng)
    return "{" + gap() + ("," + gap()).join(
        k + gap() + ":" + gap() + v + gap() for k, v in pairs) + "}"


def some_name(rng, used):
    while True:
        name = "".join(rng.choice(LETTERS) for _ in range(rng.randint(1, 20)))
        if name not in used and name not in (".", ".."):
            used.add(name)
            return name


def some_shape(rng, bits):
    shape = [rng.choice((0, 1, 1, 2, 3, 5, 8)) for _ in range(rng.randint(0, 5))]
    if bits == 4:
        shape.append(2 * rng.randint(1, 4))
    return shape


def make(rng):
    """Header text and data of one valid file."""
    used, entries, at = set(), [], 0
    for _ in range(rng.choice((0, 1, 2, 5, 20))):
        dtype = rng.choice(sorted(BITS))
        shape = some_shape(rng, BITS[dtype])
        n = 1
        for extent in shape:
            n *= extent
        end = at + n * BITS[dtype] // 8
        fields = [('"dtype"', '"%s"' % dtype), ('"shape"', json.dumps(shape)),
                  ('"data_offsets"', "[%d,%s%d]" % (at, white(rng), end))]
        rng.shuffle(fields)
        entries.append((string(rng, some_name(rng, used)), obj(rng, fields)))
        at = end
    rng.shuffle(entries)
    if rng.random() < 0.5:
        keys = set()
        pairs = [(string(rng, some_name(rng, keys)),
                  string(rng, some_name(rng, set()) + "/\\\t\n"))
                 for _ in range(rng.randint(0, 4))]
        entries.insert(rng.randint(0, len(entries)), ('"__metadata__"', obj(rng, pairs)))
    header = (obj(rng, entries) + " " * rng.randint(0, 9)).encode()
    return header, rng.randbytes(at)


def damage(rng, header):
    header = bytearray(header)
    for _ in range(rng.choice((1, 1, 1, 2))):
        i = rng.randrange(len(header))
        what = rng.randrange(4)
        if what == 0:
            header[i] = rng.randrange(256)
        elif what == 1:
            header[i:i + rng.randint(1, 4)] = b""
        elif what == 2:
            header[i:i] = rng.choice(SNIPPETS)
        else:
            j = rng.randrange(len(header))
            header[i], header[j] = header[j], header[i]
        if not header:
            header = bytearray(b"{}")
    return bytes(header)


def file_bytes(header, data):
    return len(header).to_bytes(8, "little") + header + data


def theirs(raw):
    return {name: (t["dtype"], list(t["shape"]), bytes(t["data"]))
            for name, t in safetensors.deserialize(raw)}


def ours(result, raw):
    return {t["name"]: (t["dtype"], t["shape"], raw[t["offset"]:t["offset"] + t["bytes"]])
            for t in result.get("tensors", [])}


def fail(path, *what):
    os.replace(path, "safetensors-differs.safetensors")
    sys.exit(" ".join(map(str, what)) + "; kept as safetensors-differs.safetensors")


def inspect(tool, paths):
    return subprocess.run([tool, "-q", "--json", "--tensors", *paths], capture_output=True,
                          check=False)


def check_valid(tool, folder, rng, n):
    tensors = 0
    for first in range(0, n, BATCH):
        files = {}
        for i in range(first, min(first + BATCH, n)):
            path = os.path.join(folder, f"{i}.safetensors")
            files[path] = file_bytes(*make(rng))
            with open(path, "wb") as f:
                f.write(files[path])
        run = inspect(tool, files)
        if run.returncode != 0:
            sys.exit(run.stderr.decode())
        for result in json.loads(run.stdout)["results"]:
            path = result["path"]
            want, have = theirs(files[path]), ours(result, files[path])
            if want != have:
                odd = next(k for k in {**want, **have} if want.get(k) != have.get(k))
                fail(path, "they read", odd, want.get(odd), "we read", have.get(odd))
            tensors += len(want)
            os.remove(path)
    return tensors


def tag_of(run):
    """Of "prep-inspect: TAG: text", the last line; warnings come before."""
    parts = run.stderr.decode(errors="replace").strip().split("\n")[-1].split(": ")
    return parts[1] if len(parts) > 2 else ""


def check_damaged(tool, folder, rng, n):
    both, neither, stricter = 0, 0, {}
    path = os.path.join(folder, "damaged.safetensors")
    for _ in range(n):
        header, data = make(rng)
        raw = file_bytes(damage(rng, header), data)
        with open(path, "wb") as f:
            f.write(raw)
        try:
            want = theirs(raw)
        except Exception:  # whatever the package raises: it refused
            want = None
        run = inspect(tool, [path])
        if run.returncode == 0:
            have = ours(json.loads(run.stdout)["results"][0], raw)
            if want is None or want != have:
                fail(path, "they refuse or read otherwise what we accept")
            both += 1
        elif want is None:
            neither += 1
        else:
            tag = tag_of(run)
            if tag not in STRICTER:
                fail(path, "they accept what we refuse:", run.stderr.decode())
            stricter[tag] = stricter.get(tag, 0) + 1
        if run.returncode not in (0, 65, 69):
            fail(path, "exit code", run.returncode, run.stderr.decode())
    return both, neither, stricter


def main():
    tool, folder, seed, n = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    rng = random.Random(seed)
    print(f"safetensors {safetensors.__version__}, seed {seed}")
    tensors = check_valid(tool, folder, rng, n)
    print(f"{n} valid files, {tensors} tensors: equal")
    both, neither, stricter = check_damaged(tool, folder, rng, n)
    print(f"{n} damaged files: both read {both}, both refuse {neither}, only we refuse {stricter}")


if __name__ == "__main__":
    main()
