/* SPDX-License-Identifier: MIT */
/*
 * gguf_keys.h - the metadata of a GGUF file, from the files of a model folder.
 *
 * Keys of the architecture come from config.json, sampling from generation_config.json, words and
 * special ids from tokenizer.json and tokenizer_config.json, the chat template from where the
 * reference converter finds it. What the model is called comes from a metadata file, or, when that
 * is asked for, from the name of the folder, as the reference does it.
 *
 * Ownership  keys are copied into the list's arena; texts are borrowed for the call
 * Errors     PREP_EDATA with GGUF_CONFIG (a value that the format cannot hold), GGUF_METADATA,
 *            GGUF_TOKENIZER (a token the architecture needs is missing), those of tokenizer.h and
 *            json.h; PREP_ENOINPUT with NO_TOKENIZER
 * Threads    one list, one thread
 */
#ifndef PREP_MODEL_GGUF_KEYS_H
#define PREP_MODEL_GGUF_KEYS_H

#include "libprep/base/report.h"
#include "libprep/format/gguf.h"
#include "libprep/model/config.h"

#ifdef __cplusplus
extern "C" {
#endif

#define GGUF_ARCHITECTURE "glm-dsa"

/* How the name of a folder is taken apart. Empty texts where there is nothing. */
struct gguf_title {
    char name[128], version[64], basename[128], finetune[128], size_label[64];
};

/* parameters: of the model, to tell a size in the name from a part of it. */
void gguf_title_of(struct gguf_title *t, const char *folder, uint64_t parameters);
/* "16x7.6M", or "754B" without experts; shared and expert: parameters, of one expert. */
void gguf_size_label(char buf[64], uint64_t shared, uint64_t expert, int n_experts);

struct gguf_general {
    struct span generation;    /* generation_config.json, or empty */
    struct span metadata;      /* JSON of the user, keys as in the file; or empty */
    const char *metadata_name; /* its path, for messages */
    const char *folder;        /* take missing names from this path's last part; or NULL */
    const char *size_label;    /* when nothing else says one; or NULL */
    uint64_t parameters;
};

/* general.* up to the languages: before everything else. */
PREP_MUST_CHECK int gguf_general_keys(struct gguf_keys *k, const struct gguf_general *g,
                                      struct prep_error *err);

struct gguf_arch {
    int with_mtp;
    uint32_t file_type; /* put where the converter puts it; UINT32_MAX: not now */
};

/* The keys of the architecture, general.file_type among them, in the converter's order. */
PREP_MUST_CHECK int gguf_config_keys(struct gguf_keys *k, const struct config *c,
                                     const struct gguf_arch *a, struct prep_error *err);

struct gguf_tokenizer {
    struct span tokenizer;      /* tokenizer.json */
    struct span config;         /* tokenizer_config.json, or empty */
    struct span model_config;   /* config.json */
    struct span template_jinja; /* chat_template.jinja, or empty */
    struct span template_json;  /* chat_template.json, or empty */
    const char *pre;            /* NULL: glm4, with a warning when that is a guess */
    uint64_t vocab_size;
};

PREP_MUST_CHECK int gguf_tokenizer_keys(struct gguf_keys *k, const struct gguf_tokenizer *t,
                                        struct report *report, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif
