/* SPDX-License-Identifier: MIT */
/*
 * config_lists.h - the lists of what is not quantized. Private to configs.c.
 *
 * Ownership  names are borrowed or in the arena given
 * Errors     PREP_ENOMEM
 */
#ifndef PREP_QUANT_CONFIG_LISTS_H
#define PREP_QUANT_CONFIG_LISTS_H

#include "libprep/quant/configs.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A module that may stand in a list: every linear, the routers, the embedding. */
struct listed {
    const char *name;
    enum role role;
    enum part part;
    int layer;
    int take;
    uint64_t order; /* of names.h */
};

struct name_list {
    const char **names;
    size_t n, cap;
};

PREP_MUST_CHECK int quant_list_modelopt(struct name_list *out, const struct quant_config_request *r,
                                        struct arena *arena, struct prep_error *err);
PREP_MUST_CHECK int quant_list_compressed(struct name_list *out,
                                          const struct quant_config_request *r, struct arena *arena,
                                          struct prep_error *err);
PREP_MUST_CHECK int quant_list_gptq(struct name_list *out, const struct quant_config_request *r,
                                    struct arena *arena, struct prep_error *err);
/* Frees names[], not the names. */
void name_list_free(struct name_list *l);

#ifdef __cplusplus
}
#endif
#endif
