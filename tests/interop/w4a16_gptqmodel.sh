# SPDX-License-Identifier: MIT
# What quantize-gptq writes, loaded whole by gptqmodel on the CPU: its linears have the numbers that we
# read.
. tests/interop/venv.sh
peer_venv_on transformers gptqmodel gptqmodel
. tests/cli/lib.sh

for modules in experts linears; do
    begin "gptqmodel loads W4A16 $modules and reads it as we do"
    rm -rf "$T/nano"
    run quantize-gptq -q --modules $modules "$DATA/glm-nano" "$T/nano"
    expect_exit 0
    decode "$T/nano"
    compare w4a16_weights.py "$T/nano" "$T/f32" gptqmodel
done
