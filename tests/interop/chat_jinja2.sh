# SPDX-License-Identifier: MIT
# jinja2 and our interpreter of chat templates: made-up messages over two templates, and made-up
# templates. PREP_TEST_SEED repeats a run.
. tests/interop/venv.sh
peer_venv jinja2 jinja2==3.1.6
. tests/cli/lib.sh

tools=${PREP_TEST_TOOLS:-build/release/tests/tools}
seed=${PREP_TEST_SEED:-20250601}

differential() # ARGUMENT...
{
    "$PY" tests/interop/chat_differential.py "$tools/render_chat" "$seed" "$@" >"$T/said" 2>&1 ||
        complain "$(tail -n 30 "$T/said")"
    sed 's/^/# /' "$T/said"
}

begin "2,000 message lists are rendered as by jinja2"
differential messages 2000 "$DATA/chat/features.jinja" "$DATA/glm-nano/chat_template.jinja"

begin "10,000 made-up templates are rendered as by jinja2, or refused"
differential templates 10000
