# SPDX-License-Identifier: MIT
"""What the scripts here share: tensors of a checkpoint by name, and what was compared."""
import contextlib
import glob
import os
import sys

from safetensors import safe_open


class Checkpoint:
    """All tensors of the shards of a folder, or of one file, read when asked for."""

    def __init__(self, path, stack):
        shards = [path] if os.path.isfile(path) else sorted(glob.glob(f"{path}/*.safetensors"))
        files = [stack.enter_context(safe_open(shard, framework="pt")) for shard in shards]
        self.where = {name: f for f in files for name in f.keys()}

    def __contains__(self, name):
        return name in self.where

    def __getitem__(self, name):
        return self.where[name].get_tensor(name)

    def names(self):
        return sorted(self.where)

    def modules(self, suffix):
        """Modules that have a tensor of that name, without the dot."""
        return [n[:-len(suffix) - 1] for n in self.names() if n.endswith("." + suffix)]

    def parts(self, module, *suffixes):
        """Those tensors of a module that are there, by suffix."""
        return {s: self[f"{module}.{s}"] for s in suffixes if f"{module}.{s}" in self}


@contextlib.contextmanager
def opened(*paths):
    with contextlib.ExitStack() as stack:
        yield [Checkpoint(path, stack) for path in paths]


class Comparison:
    """Bit for bit; the first difference ends the script."""

    def __init__(self, peer):
        self.peer, self.n, self.values = peer, 0, 0

    def equal(self, name, ours, theirs):
        """Equal values; -0 equals +0, a NaN nothing."""
        if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
            sys.exit(f"{name}: ours is {ours.dtype} {tuple(ours.shape)}, "
                     f"{self.peer}'s {theirs.dtype} {tuple(theirs.shape)}")
        odd = (ours != theirs).nonzero()
        if len(odd):
            at = tuple(odd[0].tolist())
            sys.exit(f"{name}{list(at)}: ours is {ours[at].item()!r}, {self.peer}'s "
                     f"{theirs[at].item()!r}; {len(odd)} of {ours.numel()} values differ")
        self.n += 1
        self.values += ours.numel()

    def done(self, what):
        if not self.n:
            sys.exit(f"{self.peer}: nothing to compare")
        print(f"{self.peer}: {self.n} {what}, {self.values} values, equal")
