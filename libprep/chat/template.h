/* SPDX-License-Identifier: MIT */
/*
 * template.h - the chat template of a model: an interpreter of the part of Jinja they use.
 *
 * chat_template_open() reads and checks a template, chat_template_render() runs it over variables
 * that come from JSON. What it prints is what jinja2 3.1 prints in the environment of the
 * transformers library (trim_blocks, lstrip_blocks, loop controls, its tojson), or the run fails:
 * a construct that is not supported is refused, never passed over (docs/formats/chat-template.md).
 * The text tells which of its bytes came from messages, so that they are not read as role markers.
 *
 * Units      lines from 1; bytes of UTF-8
 * Ownership  chat_template_open / chat_template_free; a text is freed by the caller
 * Errors     PREP_EDATA, tags TPL_SYNTAX, TPL_TYPE (wrong type, attribute of nothing), TPL_RAISED
 *            (the template's own raise_exception), TPL_LIMIT (template over 1 MiB, text over 64
 * MiB, 10^7 steps, depth 100, 512 MiB of memory); PREP_EUNSUP, tag TPL_UNSUPPORTED. Every message
 * names the template and the line. Threads    a template is const and shared
 */
#ifndef PREP_CHAT_TEMPLATE_H
#define PREP_CHAT_TEMPLATE_H

#include <stddef.h>
#include <stdint.h>

#include "libprep/base/io.h"
#include "libprep/base/json.h"
#include "libprep/model/tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

struct chat_template;

/* From text; name is for messages and is copied. */
PREP_MUST_CHECK int chat_template_parse(struct chat_template **t, const char *text, size_t n,
                                        const char *name, struct prep_error *err);
/*
 * The template of a model folder: chat_template.jinja, else "chat_template" of
 * tokenizer_config.json (where there are several, the one called "default"); or a file by its own
 * path. PREP_ENOINPUT when the folder has none.
 */
PREP_MUST_CHECK int chat_template_open(struct chat_template **t, const struct io *io,
                                       const char *path, struct prep_error *err);
void chat_template_free(struct chat_template *t); /* accepts NULL */

/* SHA-256 of the template's text, hexadecimal. */
const char *chat_template_sha256(const struct chat_template *t);

enum chat_origin {
    CHAT_TRUSTED,  /* what the operator gives: counts as text of the template */
    CHAT_DATA,     /* message text */
    CHAT_MESSAGES, /* message text, except the words under "role" of the list's objects */
};

/* A variable: a node of a JSON document. One that is not passed is undefined. */
struct chat_var {
    const char *name;
    const struct json *doc;
    uint32_t node;
    enum chat_origin origin;
};

struct chat_text {
    char *p; /* no NUL at the end */
    size_t n;
    struct tokenizer_part *parts; /* where each byte is from */
    size_t n_parts;
};

PREP_MUST_CHECK int chat_template_render(struct chat_text *out, const struct chat_template *t,
                                         const struct chat_var *vars, size_t n_vars,
                                         struct prep_error *err);
void chat_text_free(struct chat_text *text);

#ifdef __cplusplus
}
#endif
#endif
