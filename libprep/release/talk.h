/* SPDX-License-Identifier: MIT */
/*
 * talk.h - texts from one model: it goes on with a prompt, answers messages, or talks turn by turn.
 *
 * A prompt is text as it is. Messages go through the model's chat template (chat.h). A conversation
 * is messages that grow: a line is asked, what the model says is kept, and the keys of all before
 * stay where the next prompt begins as the last one did.
 *
 * Text ends at the ids that generation_config.json names as eos_token_id, or config.json when there
 * is no such file; at stop strings; after n_new tokens; or where the context ends.
 *
 * Units      seconds by job->now
 * Ownership  talk_open / talk_close; the job's strings are borrowed until then; an answer is freed
 *            by talk_answer_free(), also after an error
 * Errors     those of judge_model.h, tokenizer.h, chat.h, template.h, generation_config.h and
 *            generate.h; PREP_EUSAGE for an empty prompt; PREP_EDATA with TALK_TEXT for a line or
 *            prompt that is not UTF-8 or holds a NUL
 * Threads    one call at a time
 */
#ifndef PREP_RELEASE_TALK_H
#define PREP_RELEASE_TALK_H

#include "libprep/chat/chat.h"
#include "libprep/engine/generate.h"
#include "libprep/engine/generation_config.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What may be shown, whole characters only; 0: go on, 1: end this text, -1: an error. */
typedef int (*talk_fn)(void *arg, const char *text, size_t n, struct prep_error *err);

struct talk_job {
    const struct io *io;
    const char *model;
    const char *keep_map;      /* the model is seen through it; or NULL */
    const char *tokenizer;     /* NULL: the model's */
    const char *chat_template; /* NULL: the model's */
    struct runtime_options run;
    enum kv_form kv;
    int draft;
    const char *preset;       /* sampling_preset(), or "model": as generation_config.json says */
    struct sampling sampling; /* members that are not NaN, and a top_k below TALK_UNSET, win over
                                 the preset */
    uint64_t seed;
    size_t n_new;
    const char *const *stop; /* [n_stop] strings */
    size_t n_stop;
    int special; /* markers of roles count in message bodies, too */
    double (*now)(void);
    talk_fn show; /* may be NULL */
    void *arg;
};

#define TALK_UNSET UINT32_MAX

struct talk;

PREP_MUST_CHECK int talk_open(struct talk **t, const struct talk_job *job, struct report *report,
                              struct prep_error *err);
void talk_close(struct talk *t); /* accepts NULL */
/* What it samples with. */
struct sampling talk_sampling(const struct talk *t);

struct talk_answer {
    size_t n_prompt;
    struct generate_result made;
    struct generate_stats stats;
    struct token_text text; /* all that was shown */
};
void talk_answer_free(struct talk_answer *a); /* accepts a zeroed struct */

/* Go on with a text. */
PREP_MUST_CHECK int talk_prompt(struct talk *t, struct talk_answer *a, const char *text, size_t n,
                                struct prep_error *err);
/* Answer messages: JSON as chat.h takes it; name is for errors. */
PREP_MUST_CHECK int talk_messages(struct talk *t, struct talk_answer *a, const char *json, size_t n,
                                  const char *name, struct report *report, struct prep_error *err);
/* The next turn of the conversation. After an error the conversation is what it was before. */
PREP_MUST_CHECK int talk_turn(struct talk *t, struct talk_answer *a, const char *line, size_t n,
                              struct prep_error *err);

/* The answer as members of an object: ids, text, why it ended, rates. */
PREP_MUST_CHECK int talk_facts(cJSON *object, const struct talk *t, const struct talk_answer *a,
                               struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif
