/* SPDX-License-Identifier: MIT */
/*
 * chat.h - a conversation as token ids: messages from JSON, through the model's template.
 *
 * A conversation is a JSON list of messages, or an object as chat servers take it: "messages",
 * "tools", "add_generation_prompt", "chat_template_kwargs". Every message is an object with a
 * "role" that is a string. Marks that a template writes become special tokens; the same characters
 * in a message body stay text, unless CHAT_PARSE_SPECIAL says otherwise.
 *
 * Ownership  chat_open / chat_close; ids are appended to the caller's list
 * Errors     PREP_EDATA, tag CHAT_INPUT, with the message's number; those of template.h, json.h and
 *            tokenizer.h. Members that nothing reads are warnings, class CHAT_UNUSED.
 * Threads    a conversation is const once opened
 */
#ifndef PREP_CHAT_CHAT_H
#define PREP_CHAT_CHAT_H

#include "libprep/base/report.h"
#include "libprep/chat/template.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    CHAT_PARSE_ARGUMENTS = 1, /* arguments of tool calls given as JSON text become objects */
    CHAT_EMPTY_CONTENT = 2,   /* "content": null becomes "", as transformers 5 does */
};

struct chat {
    struct arena arena;
    struct json doc;
    uint32_t messages;
    uint32_t tools;     /* JSON_NONE: none, the template sees null */
    uint32_t arguments; /* an object of further variables, or JSON_NONE */
    int prompt;         /* "add_generation_prompt": 0 or 1, -1 when it is not there */
};

/* The text is copied; name is for messages; flags of the enum above. */
PREP_MUST_CHECK int chat_open(struct chat *c, const char *text, size_t n, const char *name,
                              unsigned flags, struct report *report, struct prep_error *err);
void chat_close(struct chat *c); /* accepts a zeroed struct */

/*
 * Render. `args` are variables of the operator, which win over those of the conversation; prompt
 * is what "add_generation_prompt" is when the conversation does not say.
 */
PREP_MUST_CHECK int chat_render(struct chat_text *out, const struct chat *c,
                                const struct chat_template *t, const struct chat_var *args,
                                size_t n_args, int prompt, struct prep_error *err);

/* How message bodies are read. */
enum chat_bodies {
    CHAT_NO_SPECIAL,    /* tags such as <think> are tokens, role markers are text: the default */
    CHAT_RAW,           /* all text */
    CHAT_PARSE_SPECIAL, /* markers in bodies count, as in most serving engines */
};

PREP_MUST_CHECK int chat_encode(struct token_ids *out, struct tokenizer_encoder *e,
                                const struct chat_text *text, enum chat_bodies bodies,
                                struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif
