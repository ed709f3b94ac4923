# One entry for build, test, bench, fuzz and install. `make help` lists the targets.
#
#   make                 tools into build/release/bin
#   make test            every test (installs what is missing on Debian, as root or with sudo)
#   make demo            the main job on the bundled nano model
#   SAN=address,undefined | SAN=thread    instrumented variant, in a build folder of its own
#   CUDA=auto|0|1        CUDA parts (none yet); MPI=auto|0|1 likewise

VERSION := 0.1.0
SAN     ?=
CUDA    ?= auto
WERROR  ?=
V       ?= 0

CC       ?= cc
ifeq ($(origin CC),default)
CC       := gcc
endif
comma    := ,
variant  := $(if $(SAN),san-$(subst $(comma),-,$(SAN)),release)
# A compiler other than gcc gets its own folder, so that variants never mix.
B        := build/$(variant)$(if $(filter gcc,$(notdir $(CC))),,-$(notdir $(CC)))

PKGS     := libarchive libcjson libxxhash libcrypto zlib libpcre2-8
PKG_CFLAGS = $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
PKG_LIBS   = $(shell pkg-config --libs $(PKGS) 2>/dev/null)

WARN := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes \
        -Wvla -Wundef -Wformat=2 $(if $(WERROR),-Werror)
OPT  ?= -O2 -g
# Fused multiply-adds change quantized bytes: off everywhere (docs/numerics.md).
CFLAGS_ALL = -std=gnu11 -D_GNU_SOURCE -DPREP_VERSION='"$(VERSION)"' -I. $(OPT) -fopenmp \
        -ffp-contract=off -fno-omit-frame-pointer $(WARN) $(PKG_CFLAGS) \
        $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all) $(CFLAGS)
LDFLAGS_ALL = -fopenmp $(if $(SAN),-fsanitize=$(SAN)) $(LDFLAGS)
LIBS = $(PKG_LIBS) -lm -lpthread

LIB_SRC  := $(sort $(wildcard libprep/*/*.c))
LIB_OBJ  := $(LIB_SRC:%.c=$B/%.o)
CLI_OBJ  := $(patsubst %.c,$B/%.o,$(sort $(wildcard tools/cli*.c)))
TOOL_SRC := $(filter-out tools/cli%,$(sort $(wildcard tools/*.c)))
TOOLS    := $(TOOL_SRC:tools/%.c=$B/bin/%)
SUPPORT_OBJ := $(patsubst %.c,$B/%.o,$(filter-out %/fault_alloc.c,$(sort $(wildcard tests/support/*.c))))
UNIT     := $(patsubst tests/%.c,$B/tests/%,$(sort $(wildcard tests/unit/test_*.c tests/golden/test_*.c tests/faults/test_*.c)))

Q := $(if $(filter 1,$V),,@)

.PHONY: all
all: $(TOOLS) ## build every tool

$B/%.o: %.c
	@mkdir -p $(@D)
	$(if $Q,@echo "  CC    $<")
	$Q$(CC) $(CFLAGS_ALL) -MMD -MP -c $< -o $@

$B/libprep.a: $(LIB_OBJ)
	@rm -f $@
	$(if $Q,@echo "  AR    $@")
	$Qar rcs $@ $^

$B/bin/%: $B/tools/%.o $(CLI_OBJ) $B/libprep.a
	@mkdir -p $(@D)
	$(if $Q,@echo "  LD    $@")
	$Q$(CC) $(LDFLAGS_ALL) $^ $(LIBS) -o $@

$B/tests/%: $B/tests/%.o $(SUPPORT_OBJ) $(CLI_OBJ) $B/libprep.a
	@mkdir -p $(@D)
	$(if $Q,@echo "  LD    $@")
	$Q$(CC) $(LDFLAGS_ALL) $^ $(LIBS) -lcmocka -o $@

.PHONY: tests-build
tests-build: $(UNIT)

.PHONY: config
config: ## what was found on this machine
	@echo "compiler   $(CC): $$($(CC) --version 2>/dev/null | head -n 1)"
	@echo "variant    $B"
	@for p in $(PKGS) cmocka; do printf '%-10s %s\n' $$p "$$(pkg-config --modversion $$p 2>/dev/null || echo missing)"; done

.PHONY: clean
clean: ## remove build/
	rm -rf build

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

-include $(shell find build -name '*.d' 2>/dev/null)
