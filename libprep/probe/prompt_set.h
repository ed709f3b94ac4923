/* SPDX-License-Identifier: MIT */
/*
 * prompt_set.h - bundled questions and how their answers are judged (docs/probes.md).
 *
 * A file is {"format": "prep-prompts", "version": 1, "name", "tools"?, "prompts"?: [{"id",
 * "messages", "judge"}], "dialog"?: [messages]}. Of a dialog every assistant message is a prompt:
 * what stands before it is asked, and the answer is judged by it, so that a wrong answer does not
 * change the questions behind it.
 *
 * Ownership  prompt_set_open / prompt_set_close; everything in a prompt lives in its set
 * Errors     PREP_EDATA tag PROBE_SET, with file, byte and what is wrong; those of json.h
 * Threads    a set is const once opened
 */
#ifndef PREP_PROBE_PROMPT_SET_H
#define PREP_PROBE_PROMPT_SET_H

#include "libprep/base/io.h"
#include "libprep/base/json.h"
#include "libprep/probe/tool_call.h"

#ifdef __cplusplus
extern "C" {
#endif

enum prompt_judge {
    PROMPT_NUMBER, /* the last number is `number` */
    PROMPT_WORDS,  /* one of the words of the list `expect` is in the answer */
    PROMPT_CALL, /* the calls of the list `expect`, in order: {"function": {"name", "arguments"}} */
    PROMPT_TEXT, /* no call, and one of the words of `expect`, if it is there */
};

struct prompt {
    const char *id;
    struct span messages; /* JSON: a list */
    enum prompt_judge judge;
    int64_t number;
    uint32_t expect; /* node of the set's document, or JSON_NONE */
};

struct prompt_set {
    struct arena arena;
    struct json doc;
    const char *name;
    uint32_t tools; /* a list, or JSON_NONE */
    struct prompt *prompts;
    size_t n, cap;
};

PREP_MUST_CHECK int prompt_set_parse(struct prompt_set *s, const char *text, size_t n,
                                     const char *name, struct prep_error *err);
PREP_MUST_CHECK int prompt_set_open(struct prompt_set *s, const struct io *io, const char *path,
                                    struct prep_error *err);
void prompt_set_close(struct prompt_set *s); /* accepts a zeroed struct */

/* The conversation to be rendered: {"messages": ..., "tools": ...} in the arena. */
PREP_MUST_CHECK int prompt_request(struct span *json, const struct prompt_set *s, size_t i,
                                   struct arena *arena, struct prep_error *err);

struct prompt_verdict {
    int right;
    int calls;             /* tool calls in the answer */
    enum tool_fault fault; /* of the format, also where no call was wanted */
};

PREP_MUST_CHECK int prompt_try(struct prompt_verdict *v, const struct prompt_set *s, size_t i,
                               const char *answer, size_t n, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif
