# SPDX-License-Identifier: MIT
# transformers loads what reap-prune writes, and finds the loss of the whole model with the dropped
# experts masked.
. tests/interop/venv.sh
peer_venv transformers torch transformers safetensors numpy
. tests/cli/lib.sh

for keep in 12 9; do
    begin "transformers loads the nano pruned to $keep with the loss of the masked one"
    run reap-prune -q --keep $keep \
        --obs "$DATA/observations/nano16/run-a/observations_1024_cosine.pt" \
        --obs "$DATA/observations/nano16/run-b/observations_1024_cosine-seed_42.pt" \
        "$DATA/glm-nano" "$T/nano-$keep"
    expect_exit 0
    "$PY" tests/interop/masked_loss.py "$DATA/glm-nano" "$T/nano-$keep" \
        "$DATA/observations/nano16/run-b/tokens.json" >"$T/loss" 2>&1 ||
        complain "$(tail -n 5 "$T/loss")"
    sed 's/^/# /' "$T/loss"
done
