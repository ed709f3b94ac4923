# One entry for build, test, bench, fuzz and install. `make help` lists the targets.
#
#   make                 tools into build/release/bin
#   make test            every test; missing packages are installed first where that is possible
#   make demo            the main job on the bundled nano model
#   SAN=address,undefined | SAN=thread    instrumented variant, in a build folder of its own
#   V=1                  show commands, and what passing tests print

VERSION := 0.1.0
SAN     ?=
WERROR  ?=
V       ?= 0
NPROC   := $(shell nproc 2>/dev/null || echo 2)
# Jobs for the recursive calls, unless -j was given.
J        = $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(NPROC))

ifeq ($(origin CC),default)
CC       := gcc
endif
CLANG    ?= clang
comma    := ,
variant  := $(if $(SAN),san-$(subst $(comma),-,$(SAN)),release)
# A compiler other than gcc gets its own folder, so that variants never mix.
B        := build/$(variant)$(if $(filter gcc,$(notdir $(CC))),,-$(notdir $(CC)))
DATA     := build/data

PKGS     := libarchive libcjson libxxhash libcrypto zlib libpcre2-8
# Asked for once, and only when something is compiled.
PKG_CFLAGS = $(eval PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS)))$(PKG_CFLAGS)
PKG_LIBS   = $(eval PKG_LIBS := $(shell pkg-config --libs $(PKGS)))$(PKG_LIBS)

# MPI between processes: auto takes it where it is found, 0 never, 1 or fails.
MPI      ?= auto
ifneq ($(MPI),0)
MPI_BY   := $(shell for p in ompi-c mpich mpi-c; do pkg-config --exists $$p && echo $$p && exit; done; \
              mpicc --showme:version >/dev/null 2>&1 && echo mpicc)
endif
ifeq ($(MPI)$(MPI_BY),1)
$(error MPI=1, but neither pkg-config nor mpicc knows an MPI; libopenmpi-dev has one)
endif
mpi_ask   = $(if $(filter mpicc,$(MPI_BY)),$(shell mpicc --showme:$(1)),$(shell pkg-config --$(2) $(MPI_BY)))
MPI_CFLAGS = $(eval MPI_CFLAGS := $(patsubst -I%,-isystem%,$(call mpi_ask,compile,cflags)))$(MPI_CFLAGS)
MPI_LIBS   = $(eval MPI_LIBS := $(if $(MPI_BY),$(call mpi_ask,link,libs)))$(MPI_LIBS)

WARN := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes \
        -Wvla -Wundef -Wformat=2 $(if $(WERROR),-Werror)
# A sanitizer costs three times the compiling; less optimising gives most of that back.
OPT  ?= $(if $(SAN),-O1 -g1,-O2 -g)
kernels_opt = $(if $(filter -O1,$(OPT)),-O2)
# Fused multiply-adds change quantized bytes: off everywhere (docs/numerics.md).
CFLAGS_ALL = -std=gnu11 -D_GNU_SOURCE -DPREP_VERSION='"$(VERSION)"' -I. $(OPT) -fopenmp \
        -ffp-contract=off -fno-omit-frame-pointer $(WARN) $(PKG_CFLAGS) \
        $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all) $(CFLAGS)
LDFLAGS_ALL = -fopenmp $(if $(SAN),-fsanitize=$(SAN)) $(LDFLAGS)
LIBS = $(PKG_LIBS) -lm -lpthread -Wl,--push-state,--as-needed $(MPI_LIBS) -Wl,--pop-state
WRAP := -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=aligned_alloc,--wrap=mmap

sources   = $(sort $(wildcard $(1)))
objects   = $(patsubst %.c,$B/%.o,$(1))
programs  = $(patsubst %.c,$B/%,$(call sources,$(1)))

LIB_OBJ  := $(call objects,$(filter-out %/ranks_$(if $(MPI_BY),alone,mpi).c,$(call sources,libprep/*/*.c \
            kernels/*.c kernels/*/*.c)))
CLI_OBJ  := $(call objects,$(call sources,tools/cli*.c))
TOOLS    := $(patsubst tools/%.c,$B/bin/%,$(filter-out tools/cli%,$(call sources,tools/*.c)))
SUPPORT_OBJ := $(call objects,$(filter-out %/fault_alloc.c,$(call sources,tests/support/*.c)))

UNIT     := $(call programs,tests/unit/test_*.c)
KERNELS  := $(call programs,tests/kernels/test_*.c)
EMULATED := $(patsubst tests/kernels/%.c,$B/tests/emulate/%,$(call sources,tests/kernels/test_*.c)) \
            $B/tests/emulate/test_whole_forward
GOLDEN   := $(call programs,tests/golden/test_*.c)
FAULTS   := $(call programs,tests/faults/test_*.c)
HELPERS  := $(call programs,tests/tools/*.c)
BENCH    := $(call programs,tests/bench/*.c)
FUZZ     := $(patsubst tests/fuzz/fuzz_%.c,%,$(call sources,tests/fuzz/fuzz_*.c))
REPLAY   := $(FUZZ:%=$B/tests/fuzz/replay_%)
CLI      := $(filter-out %/lib.sh,$(call sources,tests/cli/*.sh))
REHEARSAL := $(call sources,tests/rehearsal/*.sh)
FULL_SHAPE := $(call programs,tests/rehearsal/*.c)
MPI_TESTS := $(call programs,tests/mpi/*.c)
MPI_SH   := $(filter-out %/mpirun.sh,$(call sources,tests/mpi/*.sh))
INTEROP  := $(filter-out %/venv.sh,$(call sources,tests/interop/*.sh))
# Tests that start threads: these run under the thread sanitizer too.
TSAN_TESTS := tests/faults/test_runtime_faults tests/unit/test_weights tests/unit/test_parallel tests/unit/test_executor tests/unit/test_strands \
        tests/unit/test_exec_memory tests/unit/test_verify tests/unit/test_pack tests/unit/test_synth \
        tests/unit/test_product
TSAN     := $(filter $(TSAN_TESTS:%=$B/%),$(UNIT) $(GOLDEN) $(FAULTS))

Q := $(if $(filter 1,$V),,@)
say = $(if $Q,@echo "  $(1)")

.PHONY: all
all: $(TOOLS) ## build every tool into build/release/bin
	@:

# ---- how things are built ----

.SECONDARY:

# The suffix of a kernel's file says which instructions it may use; cpu.c finds out who may call it.
%_avx2.o: ISA_FLAGS = -mavx2 -mfma -mf16c
%_avx512.o: ISA_FLAGS = -mavx512f -mavx512bw -mavx512vl -mavx512dq -mfma -mf16c

# Kernels do the work of the tests that run a model.
$B/kernels/%.o: ISA_FLAGS += $(kernels_opt)

$B/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC    $<)
	$Q$(CC) $(CFLAGS_ALL) $(ISA_FLAGS) -MMD -MP -c $< -o $@

# Prompts that are carried inside the programs.
$B/libprep/probe/bundled.o: $(wildcard probes/*.json)

$B/libprep/base/ranks_mpi.o: ISA_FLAGS = $(MPI_CFLAGS)

# The archive is made anew when another transport goes into it: the file changes only then.
.PHONY: always
$B/.transport: always
	@mkdir -p $(@D)
	@echo $(or $(MPI_BY),none) | cmp -s - $@ || echo $(or $(MPI_BY),none) >$@

define archive
	@mkdir -p $(@D)
	@rm -f $@
	$(call say,AR    $@)
	$Qar rcs $@ $(filter %.o,$^)
endef

define link
	@mkdir -p $(@D)
	$(call say,LD    $@)
	$Q$(CC) $(LDFLAGS_ALL) $(1) $^ $(LIBS) $(2) -o $@
endef

$B/libprep.a: $(LIB_OBJ) $B/.transport
	$(archive)

$B/libcli.a: $(CLI_OBJ)
	$(archive)

$B/libsupport.a: $(SUPPORT_OBJ)
	$(archive)

$B/bin/%: $B/tools/%.o $B/libcli.a $B/libprep.a
	$(call link)

$B/tests/faults/%: $B/tests/faults/%.o $B/tests/support/fault_alloc.o $B/libsupport.a $B/libcli.a \
                   $B/libprep.a
	$(call link,$(WRAP),-lcmocka)

$B/tests/fuzz/replay_%: $B/tests/fuzz/fuzz_%.o $B/tests/fuzz/replay_main.o \
                       $B/tests/support/memory_io.o $B/libprep.a
	$(call link)

$B/tests/tools/check_page: $B/tests/tools/check_page.o $B/libsupport.a $B/libprep.a
	$(call link)

$B/tests/tools/%: $B/tests/tools/%.o $B/libprep.a
	$(call link)

# AVX-512 on AVX2: the emulated objects come before the archive, so its own are not taken from it.
EMULATED_OBJ := $(patsubst %.c,$B/emulated/%.o,$(call sources,kernels/*/*_avx512.c)) \
                $B/tests/emulate/cpu.o
$B/emulated/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC    $< (emulated))
	$Q$(CC) $(CFLAGS_ALL) -Og -g0 -isystem tests/emulate -mavx2 -mfma -mf16c -Wno-psabi -MD -MP -c $< -o $@

$B/tests/emulate/%: $B/tests/kernels/%.o $(EMULATED_OBJ) $B/libsupport.a $B/libcli.a $B/libprep.a
	$(call link,,-lcmocka)
# The whole forward, too.
$B/tests/emulate/test_whole_forward: $B/tests/emulate/test_whole_forward.o $(EMULATED_OBJ) \
                                    $B/libsupport.a $B/libcli.a $B/libprep.a
	$(call link,,-lcmocka)

$B/tests/bench/%: $B/tests/bench/%.o $B/libsupport.a $B/libprep.a
	$(call link)

$B/tests/%: $B/tests/%.o $B/libsupport.a $B/libcli.a $B/libprep.a
	$(call link,,-lcmocka)

-include $(shell find $B -name '*.d' 2>/dev/null)

# ---- tests ----

.PHONY: data
data: $B/tests/tools/unpack ## unpack the test data into build/data
	@$< tests/data/SHA256SUMS $(DATA)

# A job is one line for tests/run.sh: a label, then a command.
V_ENV := OMP_WAIT_POLICY=passive PREP_TEST_DATA=$(DATA) PREP_BIN=$B/bin PREP_TEST_TOOLS=$B/tests/tools
short  = $(notdir $B)/$(notdir $(patsubst %/,%,$(dir $(1))))/$(basename $(notdir $(1)))
c_job  = '$(call short,$(1)) $(V_ENV) $(1)'
sh_job = '$(call short,$(1)) $(V_ENV) sh $(1)'
replay_job = '$(call short,$(1)) $(1) tests/fuzz/corpus/$(patsubst replay_%,%,$(notdir $(1)))'
c_jobs = $(foreach t,$(1),$(call c_job,$t))
sh_jobs = $(foreach t,$(1),$(call sh_job,$t))
replay_jobs = $(foreach t,$(REPLAY),$(call replay_job,$t))
LINT_JOB := 'lint $(V_ENV) sh tests/lint/lint.sh'
run    = @printf '%s\n' $(1) | V=$V sh tests/run.sh

has_simde := $(wildcard /usr/include/simde/x86/avx512.h)
has_avx512 = $(shell grep -cm 1 avx512vl /proc/cpuinfo)
no_simde  := 'emulate echo skip emulate libsimde-dev is not installed'
no_mpi    := 'mpi echo skip mpi built without MPI, libopenmpi-dev is not installed'
MPI_JOBS  = $(if $(MPI_BY),$(call sh_jobs,$(MPI_SH)),$(no_mpi))
EMULATE_JOBS = $(if $(has_simde),$(call c_jobs,$(EMULATED)),$(no_simde))
# `make test` emulates only what the machine does not have.
EMULATE_HERE = $(if $(SAN),,$(if $(filter 0,$(has_avx512)),1))

# Whole texts through the model: minutes under a sanitizer, which test_runtime, test_runtime_faults,
# test_generate_faults and test_judge_faults give the same code in seconds.
WHOLE_TEXTS := $(patsubst %,$B/tests/golden/test_%,forward_reference forward_bits quality_windows cuts smoke \
        kv_forms) $(patsubst %,$B/tests/unit/test_%,generate restrict speculate) \
        $(patsubst %,tests/cli/verify-%.sh,run probe cuts)
VARIANT_JOBS = $(if $(filter thread,$(SAN)),$(call c_jobs,$(TSAN)),$(call c_jobs,$(if $(SAN),,$(FULL_SHAPE)) \
        $(KERNELS) $(filter-out $(if $(SAN),$(WHOLE_TEXTS)),$(UNIT) $(GOLDEN)) $(FAULTS)) $(if $(EMULATE_HERE),$(EMULATE_JOBS)) \
        $(replay_jobs) $(call sh_jobs,$(filter-out $(if $(SAN),$(WHOLE_TEXTS)),$(CLI)) \
        $(if $(SAN),,$(REHEARSAL))) $(if $(SAN),,$(MPI_JOBS)))

# What takes minutes of GGUF at full shape is left to `make rehearsal`.
jobs: V_ENV += REHEARSE_GGUF=part
.PHONY: tests-build jobs
tests-build: $(if $(filter thread,$(SAN)),$(TSAN),$(TOOLS) $(HELPERS) $(UNIT) $(KERNELS) \
        $(GOLDEN) $(FAULTS) $(REPLAY) $(if $(SAN),,$(FULL_SHAPE)) \
        $(if $(SAN),,$(MPI_TESTS)) $(if $(EMULATE_HERE),$(if $(has_simde),$(EMULATED))))
jobs:
	@printf '%s\n' $(VARIANT_JOBS)

SANITIZED := $(MAKE) --no-print-directory SAN=address,undefined
RACES     := $(MAKE) --no-print-directory SAN=thread CC=$(CLANG)
have_tsan  = echo 'int main(void) { return 0; }' | \
        $(CLANG) -fsanitize=thread -fopenmp -x c - -o build/.tsan 2>/dev/null
no_tsan   := tsan echo skip tsan $(CLANG) with its thread sanitizer and OpenMP is not installed

.PHONY: test
test: ## everything: packages, build, all tests, also under the sanitizers, lint
	@sh scripts/bootstrap test
	@mkdir -p build
	@$(MAKE) $J --no-print-directory data tests-build
	@$(SANITIZED) $J tests-build
	@if $(have_tsan); then $(RACES) $J tests-build; fi
	@{ $(SANITIZED) -s jobs; \
	   if $(have_tsan); then $(RACES) -s jobs; else echo '$(no_tsan)'; fi; \
	   $(MAKE) --no-print-directory -s jobs; \
	   echo $(LINT_JOB); } | V=$V sh tests/run.sh

.PHONY: unit kernels emulate golden cli mpi faults corpus rehearsal interop lint asan tsan
unit: data $(UNIT) ## unit tests
	$(call run,$(call c_jobs,$(UNIT)))
kernels: $(KERNELS) ## every variant of every kernel against its scalar one
	$(call run,$(call c_jobs,$(KERNELS)))
emulate: data $(if $(has_simde),$(EMULATED)) ## the same with AVX-512 emulated on a machine without it
	$(call run,$(EMULATE_JOBS))
golden: data $(HELPERS) $(GOLDEN) ## tests against golden data
	$(call run,$(call c_jobs,$(GOLDEN)))
cli: data $(TOOLS) $(HELPERS) ## the commands: exact output and exit codes
	$(call run,$(call sh_jobs,$(CLI)))
mpi: data $(TOOLS) $(MPI_TESTS) ## several ranks under mpirun: the bytes of one process
	$(call run,$(MPI_JOBS))
faults: data $(FAULTS) ## failing calls, failing memory, power loss
	$(call run,$(call c_jobs,$(FAULTS)))
corpus: $(REPLAY) ## inputs of the fuzzers, replayed
	$(call run,$(replay_jobs))
rehearsal: data $(TOOLS) $(HELPERS) $(FULL_SHAPE) ## the whole GLM-5.1 without a disk, the recipes on the nano model
	$(call run,$(call c_jobs,$(FULL_SHAPE)) $(call sh_jobs,$(REHEARSAL)))
interop: data $(TOOLS) $(HELPERS) ## against other programs, where they are installed
	$(call run,$(call sh_jobs,$(INTEROP)))
lint: $(TOOLS) ## layering, headers, format, lengths, help texts
	$(call run,$(LINT_JOB))
asan: ## all tests under the address and undefined-behaviour sanitizers
	@$(SANITIZED) $J data tests-build
	@$(SANITIZED) -s jobs | V=$V sh tests/run.sh
tsan: ## threaded tests under clang's thread sanitizer
	@$(RACES) $J tests-build
	@$(RACES) -s jobs | V=$V sh tests/run.sh

.PHONY: bench
bench: data $(TOOLS) $(BENCH) ## measure speed (docs/performance.md)
	@$B/tests/bench/bench_hash
	@$B/tests/bench/bench_open
	@$B/tests/bench/bench_open -e 1024
	@$(V_ENV) sh tests/bench/bench_json.sh
	@$(V_ENV) sh tests/bench/bench_prune.sh
	@$(V_ENV) sh tests/bench/bench_tokenizer.sh
	@$(V_ENV) sh tests/bench/bench_peers.sh
	@$(V_ENV) sh tests/bench/bench_ggml.sh
	@$(V_ENV) sh tests/bench/bench_gguf_tool.sh
	@$(V_ENV) sh tests/bench/bench_matmul.sh
	@$(V_ENV) sh tests/bench/bench_prefill.sh
	@$(V_ENV) sh tests/bench/bench_decode.sh
	@$(V_ENV) sh tests/bench/bench_tp.sh
	@$(V_ENV) sh tests/bench/bench_end_to_end.sh

.PHONY: quality
quality: data $(TOOLS) $(HELPERS) ## every quantizer on nano and its hard copies, beside the peers (minutes)
	@sh tests/quality/quality.sh $B/bin $B/tests/tools $(DATA) build/quality $(MODELS)

FUZZ_SECONDS ?= 60
FUZZ_FLAGS := SAN=fuzzer-no-link,address,undefined CC=$(CLANG) OPT='-O2 -g'
FUZZ_B     := build/san-fuzzer-no-link-address-undefined-$(notdir $(CLANG))
.PHONY: fuzz fuzz-build
fuzz: ## every fuzz target for FUZZ_SECONDS (60)
	@$(MAKE) $J --no-print-directory $(FUZZ_FLAGS) fuzz-build
	@set -e; for t in $(FUZZ); do echo "== $$t"; mkdir -p build/fuzz/$$t; \
	  $(FUZZ_B)/tests/fuzz/fuzz_$$t -max_total_time=$(FUZZ_SECONDS) -timeout=10 \
	    -artifact_prefix=build/fuzz/$$t- build/fuzz/$$t tests/fuzz/corpus/$$t; done
fuzz-build: $(FUZZ:%=$B/tests/fuzz/fuzz_%)
$B/tests/fuzz/fuzz_%: $B/tests/fuzz/fuzz_%.o $B/tests/support/memory_io.o $B/libprep.a
	$(call link,-fsanitize=fuzzer)

# ---- the rest ----

.PHONY: demo
demo: ## prune the bundled nano model, stitch its MTP layer, look at the result
	@sh scripts/bootstrap
	@$(MAKE) $J --no-print-directory all data
	@sh scripts/demo $B/bin $(DATA) build/demo

MAN := $(TOOLS:$B/bin/%=$B/man/%.1)
$B/man/%.1: $B/bin/%
	@mkdir -p $(@D)
	@$< --help-man >$@
.PHONY: man install
man: $(MAN) ## man pages into build/release/man
PREFIX ?= /usr/local
install: all man ## tools and man pages into $(DESTDIR)$(PREFIX)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 755 $(TOOLS) $(DESTDIR)$(PREFIX)/bin
	install -m 644 $(MAN) $(DESTDIR)$(PREFIX)/share/man/man1

.PHONY: config format clean help
config: ## what was found on this machine
	@echo "compiler   $(CC): $$($(CC) --version 2>/dev/null | head -n 1)"
	@echo "variant    $B"
	@for p in $(PKGS) cmocka; do \
	  printf '%-10s %s\n' $$p "$$(pkg-config --modversion $$p 2>/dev/null || echo missing)"; done
	@echo "mpi        $(or $(MPI_BY),missing)"
	@mkdir -p build; if $(have_tsan); then echo "races      $(CLANG)"; else echo "races      no"; fi
format: ## format every source file
	clang-format -i $$(git ls-files '*.[ch]')
clean: ## remove build/
	rm -rf build
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
