/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "kernels/cpu.h"

enum isa cpu_isa_within(enum isa limit)
{
    enum isa have = cpu_isa();
    return have < limit ? have : limit;
}

static const char *const names[N_ISA] = {"scalar", "avx2", "avx512"};

const char *isa_name(enum isa isa)
{
    return names[isa];
}

int isa_parse(enum isa *isa, const char *name)
{
    if (!strcmp(name, "auto")) {
        *isa = cpu_isa();
        return 0;
    }
    for (int i = 0; i < N_ISA; i++) {
        if (!strcmp(name, names[i])) {
            *isa = (enum isa)i;
            return 0;
        }
    }
    return -1;
}
