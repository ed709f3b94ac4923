# SPDX-License-Identifier: MIT
# prep-plan: the published figures, exact output, and what is refused.
. tests/cli/lib.sh

CONFIG=tests/data-src/glm-5.1/config.json

begin 'prints the parameters and sizes the family publishes'
run prep-plan $CONFIG --no-mtp --experts 192,154
expect_exit 0
expect_stdout_like '^192 experts: 562\.688 B parameters, 40\.804 B active per token$'
expect_stdout_like '^  NVFP4, routed experts +343977118464 +343\.98 +320\.35$'
expect_stdout_like '^  NVFP4, linears +320375759640 +320\.38 +298\.37$'
expect_stdout_like '^  W4A16 g128, linears +297155256576 +297\.16 +276\.75$'
expect_stdout_like '^  GGUF Q4_K_M experts, Q8_0 rest +348128184576 +348\.13 +324\.22$'
expect_stdout_like '^154 experts: 455\.086 B parameters, 40\.786 B active per token$'
expect_stdout_like '^  GGUF Q4_K_M experts, Q8_0 rest +283227628416 +283\.23 +263\.78$'
expect_stdout_like '^  bf16 +89856 '
expect_stderr ''

begin 'says what one rank holds and how many tokens fit beside it'
run prep-plan $CONFIG --experts 160 --tp 4 --rank-memory 90G
expect_exit 0
expect_stdout_like '^  NVFP4, routed experts +305643670784 +305\.64 +284\.65 +74\.19 +186549 +373098$'

begin 'prints nano exactly, from its folder'
run prep-plan "$DATA/glm-nano" --tp 2 --context 100
expect_exit 0
expect_stdout '16 experts: 0.019 B parameters (0.015 B and 0.004 B of MTP), 0.008 B active per token
  format                                        bytes         GB        GiB   GiB/rank
  BF16                                       38891264       0.04       0.04       0.02
  FP8, blocks of 128x128 (source)            20660384       0.02       0.02       0.01
  NVFP4, routed experts                      25326464       0.03       0.02       0.01
  NVFP4, portable set                        22594584       0.02       0.02       0.01
  NVFP4, linears                             19591904       0.02       0.02       0.01
  W4A16 g128, portable set                   22278144       0.02       0.02       0.01
  W4A16 g128, linears                        19211104       0.02       0.02       0.01
  W4A16 g128, linears, no g_idx              19013472       0.02       0.02       0.01
  GGUF Q8_0                                  20732544       0.02       0.02       0.01
  GGUF Q6_K                                  16124352       0.02       0.02       0.01*
  GGUF Q6_K experts, Q8_0 rest               17685120       0.02       0.02       0.01*
  GGUF Q5_K_M                                13839744       0.01       0.01       0.01*
  GGUF Q5_K_M experts, Q8_0 rest             16292480       0.02       0.02       0.01*
  GGUF Q4_K_M                                11780736       0.01       0.01       0.01*
  GGUF Q4_K_M experts, Q8_0 rest             14981760       0.01       0.01       0.01*
  GGUF Q3_K_M                                 9430784       0.01       0.01       0.01*
  GGUF Q3_K_M experts, Q8_0 rest             13326976       0.01       0.01       0.01*
  GGUF Q2_K                                   7379520       0.01       0.01       0.00*
  GGUF Q2_K experts, Q8_0 rest               11917952       0.01       0.01       0.01*
  * blocks or groups are cut, and held on both sides: engines refuse this split
cache per rank, 6 layers with MTP, 100 tokens
  layout                              bytes per token         GB        GiB
  bf16                                           3456       0.00       0.00
  fp8                                            1728       0.00       0.00
  dsa-fp8                                        1968       0.00       0.00
  index-keys-fp8                                  408       0.00       0.00'

begin 'prints one JSON object'
run prep-plan $CONFIG --json
expect_exit 0
expect_stdout_like '^\{"schema":"prep-plan/1",.*"n_routed_experts":256.*"stored":753864139008.*\}$'
expect_stdout_like '"id":"bf16","text":"BF16","bytes":1507728316928,"tensors":59870,'

begin 'refuses what cannot be'
run prep-plan $CONFIG --tp 3
expect_exit 64
expect_stderr "prep-plan: TP_DIVISIBILITY: $CONFIG: 64 heads do not split over 3 ranks"
run prep-plan $CONFIG --experts 192,300
expect_exit 64
expect_stderr "prep-plan: PLAN_KEEP_RANGE: $CONFIG: 300 experts asked for, layer 3 has 256"
run prep-plan $CONFIG --experts 7
expect_exit 64
expect_stderr_like 'PLAN_TOPK'
run prep-plan $CONFIG --experts ,
expect_exit 64
run prep-plan "$T/nothing.json"
expect_exit 66
expect_stderr_lines 1
expect_stderr_like '^prep-plan: NO_CONFIG: '
printf '{"model_type": "llama"}' >"$T/config.json"
run prep-plan "$T"
expect_exit 69
expect_stderr_like '^prep-plan: ARCHITECTURE: '
expect_stdout ''
