# SPDX-License-Identifier: MIT
# A scratch Python environment for the peers: . tests/interop/venv.sh NAME PACKAGE...
# Sets $PY, or skips the whole script when the packages cannot be had. Not used by CI.
venv=${PREP_VENVS:-build/venvs}/$1
name=$1
shift
if [ ! -x "$venv/bin/python" ] || ! "$venv/bin/python" -c 'import os, sys; sys.exit(
        not os.path.exists(sys.prefix + "/.complete"))'; then
    python3 -m venv "$venv" >/dev/null 2>&1 &&
        "$venv/bin/pip" install --quiet "$@" >/dev/null 2>&1 &&
        : >"$venv/.complete"
fi
if [ ! -e "$venv/.complete" ]; then
    echo "skip $name packages cannot be installed: $*"
    exit 0
fi
PY=$venv/bin/python
export PY TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1
