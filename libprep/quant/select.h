/* SPDX-License-Identifier: MIT */
/*
 * select.h - which linears are quantized, why, and which of them share a global scale.
 *
 * A preset says what is taken; rules after it add and remove modules, the last that matches wins.
 * What engines load as one piece is taken as a whole or not at all: gate and up of an MLP, the
 * routed experts of a layer, q_a_proj and kv_a_proj_with_mqa. Linears that such a piece joins
 * share their global scale and make one group; a group is the unit of work.
 *
 *   always        gate_proj + up_proj of an expert, shared expert or dense MLP
 *   always        q_a_proj + kv_a_proj_with_mqa
 *   same_input    q_a + kv_a + indexer.wk + indexer.weights_proj; q_b + indexer.wq_b: whatever
 *                 reads the same tensor, as modelopt shares
 *
 * Shapes     choices[linears->n], parallel to the linears
 * Ownership  arrays live in the caller's arena; names and patterns are borrowed
 * Errors     PREP_EUSAGE with MODULES_NO_MATCH (a rule matches no linear), MODULES_NONE (nothing is
 *            left), MODULES_SPLIT (part of a piece); PREP_EDATA with SHAPE (a matrix the format
 *            cannot hold); PATTERN
 * Threads    const after filling
 */
#ifndef PREP_QUANT_SELECT_H
#define PREP_QUANT_SELECT_H

#include "libprep/model/count.h"
#include "libprep/quant/linear.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A shell glob over the whole module name, or "re:" and a regular expression from its start. */
struct quant_rule {
    const char *pattern;
    int take; /* 1: quantize what matches, 0: leave it */
};

/* The layers behind num_hidden_layers. */
enum quant_mtp {
    QUANT_MTP_BF16,
    QUANT_MTP_QUANTIZE, /* by preset and rules, like any layer */
    QUANT_MTP_SEPARATE, /* in shards of their own; BF16, but for `llama`, which takes eh_proj too */
    QUANT_MTP_DROP,
};

struct quant_select_options {
    enum module_set preset;
    const char *preset_name; /* for messages */
    const struct quant_rule *rules;
    size_t n_rules;
    int num_hidden_layers;
    enum quant_mtp mtp;
    int same_input;
    uint64_t in_multiple, out_multiple; /* of what the format can hold */
};

struct quant_choice {
    uint8_t take;
    int rule;       /* that decided; -1: the preset */
    uint32_t group; /* of what is taken */
};

struct quant_selection {
    struct quant_choice *choices;
    uint32_t *taken; /* linears by index, group after group, each in layout order */
    uint32_t *first; /* [n_groups + 1] into taken */
    size_t n_taken, n_groups;
};

PREP_MUST_CHECK int quant_select(struct quant_selection *s, const struct linears *all,
                                 const struct quant_select_options *options, struct arena *arena,
                                 struct prep_error *err);

/* Every linear that is stored in this form, each a group of its own; for repacking. */
PREP_MUST_CHECK int quant_select_form(struct quant_selection *s, const struct linears *all,
                                      enum linear_form form, struct arena *arena,
                                      struct prep_error *err);

/* "experts", "linears", "portable", "llama", "all"; -1 when unknown. */
int quant_preset(enum module_set *set, const char *name);

#ifdef __cplusplus
}
#endif
#endif
