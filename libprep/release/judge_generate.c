/* SPDX-License-Identifier: MIT */
#include "libprep/release/judge_generate.h"

#include <string.h>

#include "libprep/engine/generate.h"
#include "libprep/model/tokenizer.h"

static int encode(struct token_ids *ids, const struct tokenizer *t, const char *prompt,
                  struct prep_error *err)
{
    struct tokenizer_encoder *e = NULL;
    int rc = tokenizer_encoder_new(&e, t, err) ||
             tokenizer_encode(ids, e, TOKENIZER_ALL, prompt, strlen(prompt), err);
    tokenizer_encoder_free(e);
    if (!rc && ids->n == 0)
        return prep_fail(err, PREP_EUSAGE, "the prompt is empty");
    return rc ? -1 : 0;
}

static int decode(struct judge_text_made *made, const struct tokenizer *t, struct arena *arena,
                  struct prep_error *err)
{
    struct token_text text = {0};
    int rc = tokenizer_decode(&text, t, made->ids, made->n, 0, err);
    if (!rc) {
        made->text = arena_strndup(arena, text.p ? text.p : "", text.n, err);
        made->n_text = text.n;
        rc = made->text ? 0 : -1;
    }
    token_text_free(&text);
    return rc;
}

struct generating {
    const struct judge_job *job;
    const struct tokenizer *t;
    const struct token_ids *prompt;
    size_t n_new;
    struct arena *arena;
};

static int generate(struct judge_text_made *made, const struct generating *g, const char *path,
                    const char *keep_map, struct prep_error *err)
{
    struct judge_model m;
    struct runtime_options run = g->job->run;
    struct generate_result result = {0};
    uint32_t stop[16];
    int rc = -1;
    run.without_mtp = 1;
    *made = (struct judge_text_made){.path = path};
    if (judge_model_open(&m, g->job->io, path, keep_map, NULL, err) ||
        judge_model_start(&m, &run, NULL, err))
        goto out;
    const struct generate_request request = {.prompt = g->prompt->ids,
                                             .n_prompt = g->prompt->n,
                                             .n_new = g->n_new,
                                             .sampling = SAMPLING_GREEDY,
                                             .stop = stop,
                                             .n_stop = (size_t)m.config->n_eos};
    const struct generate job = {.runtime = m.runtime, .requests = &request, .n = 1};
    for (int i = 0; i < m.config->n_eos; i++)
        stop[i] = (uint32_t)m.config->eos_token_id[i];
    if (generate_run(&result, NULL, &job, err))
        goto out;
    made->n = result.tokens.n;
    made->ids = arena_alloc(g->arena, (made->n + 1) * sizeof *made->ids, err);
    if (!made->ids)
        goto out;
    memcpy(made->ids, result.tokens.ids, made->n * sizeof *made->ids);
    rc = decode(made, g->t, g->arena, err);
out:
    generate_results_free(&result, 1);
    judge_model_close(&m);
    return rc;
}

static void count_same(struct judge_text_made *made, const struct judge_text_made *first)
{
    while (made->same < made->n && made->same < first->n &&
           made->ids[made->same] == first->ids[made->same])
        made->same++;
}

int judge_generate(struct judge_text_made **made, size_t *n, const struct judge_job *job,
                   const char *prompt, size_t n_new, struct arena *arena, struct prep_error *err)
{
    struct tokenizer *t = NULL;
    struct token_ids ids = {0};
    const char *tokenizer = job->tokenizer  ? job->tokenizer
                            : job->original ? job->original
                                            : job->models[0];
    int rc = -1;
    *n = 0;
    *made = arena_calloc(arena, job->n_models + 1, sizeof **made, err);
    if (!*made || tokenizer_open(&t, job->io, tokenizer, NULL, err) || encode(&ids, t, prompt, err))
        goto out;
    const struct generating g = {job, t, &ids, n_new, arena};
    if (job->original && generate(&(*made)[(*n)++], &g, job->original, NULL, err))
        goto out;
    for (size_t i = 0; i < job->n_models; i++)
        if (generate(&(*made)[(*n)++], &g, job->models[i], job->keep_map, err))
            goto out;
    for (size_t i = 0; i < *n; i++)
        count_same(&(*made)[i], *made);
    rc = 0;
out:
    token_ids_free(&ids);
    tokenizer_free(t);
    return rc;
}

int judge_generate_facts(cJSON *object, const struct judge_text_made *made, size_t n,
                         struct prep_error *err)
{
    cJSON *list = cJSON_AddArrayToObject(object, "greedy");
    for (size_t i = 0; i < n; i++) {
        cJSON *o = report_add_object(list);
        cJSON_AddStringToObject(o, "path", made[i].path);
        report_u64(o, "same_as_first", made[i].same);
        cJSON_AddStringToObject(o, "text", made[i].text);
        cJSON *ids = cJSON_AddArrayToObject(o, "tokens");
        for (size_t k = 0; k < made[i].n; k++)
            report_add(ids, cJSON_CreateNumber(made[i].ids[k]));
    }
    return list ? 0 : prep_fail(err, PREP_ENOMEM, "out of memory while reporting");
}
