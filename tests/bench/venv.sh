#!/bin/sh
# SPDX-License-Identifier: MIT
# Make build/bench-venv with what the Python yardsticks need and print its python.
#
#   sh tests/bench/venv.sh
#
# Exit 69 when there is no python3 with venv, or the packages cannot be had.
set -eu
venv=build/bench-venv
if ! "$venv/bin/python" -c 'import safetensors, numpy, ml_dtypes' 2>/dev/null; then
    rm -rf "$venv"
    python3 -m venv "$venv" >&2 || exit 69
    "$venv/bin/pip" install -q --disable-pip-version-check --timeout 20 --retries 1 \
        'safetensors>=0.5' numpy ml_dtypes >&2 || exit 69
fi
echo "$venv/bin/python"
