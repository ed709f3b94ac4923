# shellcheck shell=sh
# SPDX-License-Identifier: MIT
# Scratch Python environments for the peers. Not used by CI.
#
#   . tests/interop/venv.sh
#   peer_venv NAME PACKAGE...     sets $PY, or skips the whole script when they cannot be had
peer_venv()
{
    venv=${PREP_VENVS:-build/venvs}/$1
    name=$1
    shift
    if [ ! -e "$venv/.complete" ]; then
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
}
