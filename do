#!/bin/sh
# SPDX-License-Identifier: MIT
# Install what is missing (Debian: as root or with sudo), then make the target: ./do test
set -eu
cd "$(dirname "$0")"
sh scripts/bootstrap "${1:-all}"
exec make "$@"
