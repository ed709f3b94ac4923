#!/bin/sh
# SPDX-License-Identifier: MIT
# Pack fixture folders into tests/data/NAME.tar.zst: the same bytes for the same files.
#
#   sh tests/data/pack.sh FIXTURES [NAME...]     (default: every archive already here)
set -eu
[ $# -ge 1 ] || { echo "usage: pack.sh FIXTURES [NAME...]" >&2; exit 64; }
fixtures=$(cd "$1" && pwd)
shift
cd "$(dirname "$0")"
if [ $# -eq 0 ]; then
    for f in *.tar.zst; do
        set -- "$@" "${f%.tar.zst}"
    done
fi
for name; do
    [ -d "$fixtures/$name" ] || { echo "pack.sh: $fixtures/$name: no such folder" >&2; exit 66; }
    # What a test can do without, or make: too large to carry.
    LC_ALL=C tar --exclude='nano/*/quantized_tensors.safetensors' --exclude='nano-autoround' \
        --exclude='nano-Q*.gguf' --exclude='*.dat' --exclude='logits_seq0.safetensors' \
        --create --format=ustar --sort=name --mtime=@0 --owner=0 --group=0 \
        --numeric-owner --mode=u=rwX,go=rX --directory="$fixtures" "$name" |
        zstd -19 -T1 --quiet --force -o "$name.tar.zst"
done
sha256sum -- *.tar.zst >SHA256SUMS
