# shellcheck shell=sh
# SPDX-License-Identifier: MIT
# Scratch Python environments for the peers. Not used by CI.
#
#   . tests/interop/venv.sh
#   peer_venv NAME PACKAGE...            sets $PY, or skips the whole script when they cannot be had
#   peer_venv_on BASE NAME PACKAGE...    the same, seeing the packages of another environment too
_install() # NAME PACKAGE...
{
    name=$1
    shift
    if [ ! -e "$venv/.complete" ]; then
        "$venv/bin/pip" install --quiet "$@" >/dev/null 2>&1 && : >"$venv/.complete"
    fi
    if [ ! -e "$venv/.complete" ]; then
        echo "skip $name packages cannot be installed: $*"
        exit 0
    fi
    PY=$venv/bin/python
    export PY TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1 PYTHONWARNINGS=ignore
}

peer_venv()
{
    venv=${PREP_VENVS:-build/venvs}/$1
    [ -e "$venv/.complete" ] || python3 -m venv "$venv" >/dev/null 2>&1
    _install "$@"
}

peer_venv_on()
{
    case $1 in
    transformers) peer_venv transformers torch transformers safetensors numpy ;;
    *) echo "skip $2 there is no environment $1"; exit 0 ;;
    esac
    shift
    base=$("$PY" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    venv=${PREP_VENVS:-build/venvs}/$1
    if [ ! -e "$venv/.complete" ]; then
        python3 -m venv "$venv" >/dev/null 2>&1 &&
            echo "$base" >"$("$venv/bin/python" -c \
                'import sysconfig; print(sysconfig.get_path("purelib"))')/base.pth"
    fi
    _install "$@"
}

# Run a comparison of this folder: its words become comments, its exit code the verdict.
compare() # SCRIPT ARGUMENT...
{
    script=$1
    shift
    "$PY" "tests/interop/$script" "$@" >"$T/said" 2>&1 || complain "$(tail -n 5 "$T/said")"
    grep -E '^(note: )?[a-zA-Z-]+( [0-9][^ ]*)?: [0-9].*equal$|^note: ' "$T/said" | sed 's/^/# /'
}

# Numbers behind the codes of a checkpoint: $T/f32 and $T/bf16.
decode() # CHECKPOINT
{
    tools=${PREP_TEST_TOOLS:-build/release/tests/tools}
    "$tools/decode" "$1" "$T/f32" >/dev/null && "$tools/decode" "$1" "$T/bf16" --bf16 >/dev/null ||
        complain "cannot decode $1"
}

# The library with ggml's quantizers: PREP_GGML_LIBRARY, or that of llama-cpp-python, which pip
# compiles: some minutes, once.
peer_ggml()
{
    if [ -z "${PREP_GGML_LIBRARY:-}" ]; then
        peer_venv llama llama-cpp-python
        PREP_GGML_LIBRARY=$("$PY" -c 'import importlib.util as u, pathlib
at = pathlib.Path(u.find_spec("llama_cpp").origin).parent
print(next(iter(sorted(at.rglob("libggml-base.so*"))), ""))')
    fi
    if [ ! -e "$PREP_GGML_LIBRARY" ]; then
        echo "skip llama there is no libggml-base.so"
        exit 0
    fi
    export PREP_GGML_LIBRARY
}

# llama.cpp whole: PREP_LLAMA_LIBRARY and PREP_LLAMA_CPP, or libllama.so of llama-cpp-python and the
# sources in its package, which have the converter.
peer_llama()
{
    if [ -z "${PREP_LLAMA_LIBRARY:-}" ] || [ -z "${PREP_LLAMA_CPP:-}" ]; then
        peer_venv llama llama-cpp-python
        PREP_LLAMA_LIBRARY=$("$PY" -c 'import importlib.util as u, pathlib
at = pathlib.Path(u.find_spec("llama_cpp").origin).parent
print(next(iter(sorted(at.rglob("libllama.so*"))), ""))')
        [ -e "$venv/source" ] || {
            "$venv/bin/pip" download --quiet --no-deps --no-binary :all: -d "$venv/sdist" \
                "$("$venv/bin/pip" freeze | grep -i '^llama[-_]cpp[-_]python==')" >/dev/null 2>&1 &&
                mkdir "$venv/source" &&
                tar -xzf "$venv"/sdist/*.tar.gz -C "$venv/source" --strip-components 1
        }
        PREP_LLAMA_CPP=$venv/source/vendor/llama.cpp
    fi
    if [ ! -e "$PREP_LLAMA_LIBRARY" ] || [ ! -e "$PREP_LLAMA_CPP/convert_hf_to_gguf.py" ]; then
        echo "skip llama there is no libllama.so, or no converter"
        exit 0
    fi
    export PREP_LLAMA_LIBRARY PREP_LLAMA_CPP
}
