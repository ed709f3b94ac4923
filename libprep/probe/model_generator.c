/* SPDX-License-Identifier: MIT */
#include "libprep/probe/model_generator.h"

#include <stdlib.h>

#include "libprep/engine/generate.h"

/* Texts as they grow; each is handed on, and its memory given back, when it ends. */
struct growing {
    struct token_ids *texts;
    probe_answer_fn take;
    void *arg;
};

static int grow(void *arg, const struct generate_token *t, struct prep_error *err)
{
    const struct growing *g = arg;
    struct token_ids *text = &g->texts[t->request];
    if (t->end != GENERATE_STOP_TOKEN && token_ids_push(text, t->token, err))
        return -1;
    if (t->end == GENERATE_RUNNING)
        return 0;
    const int rc = g->take(g->arg, t->request, text->ids, text->n, err);
    token_ids_free(text);
    *text = (struct token_ids){0};
    return rc ? -1 : 0;
}

static int answer(void *self, const struct probe_ask *asks, size_t n, const uint32_t *stop,
                  size_t n_stop, probe_answer_fn take, void *arg, struct prep_error *err)
{
    struct generate_request *requests = calloc(n + 1, sizeof *requests);
    struct generate_result *results = calloc(n + 1, sizeof *results);
    struct growing g = {calloc(n + 1, sizeof *g.texts), take, arg};
    int rc = requests && results && g.texts
                 ? 0
                 : prep_fail(err, PREP_ENOMEM, "no memory for %zu prompts", n);
    for (size_t i = 0; i < n && !rc; i++)
        requests[i] = (struct generate_request){.prompt = asks[i].prompt,
                                                .n_prompt = asks[i].n_prompt,
                                                .n_new = asks[i].n_new,
                                                .sampling = asks[i].sampling,
                                                .seed = asks[i].seed,
                                                .stream = asks[i].stream,
                                                .stop = stop,
                                                .n_stop = n_stop};
    const struct generate run = {
        .runtime = self, .requests = requests, .n = n, .token = grow, .arg = &g};
    if (!rc) {
        rc = generate_run(results, NULL, &run, err);
        generate_results_free(results, n);
    }
    for (size_t i = 0; i < n && g.texts; i++)
        token_ids_free(&g.texts[i]);
    free(g.texts);
    free(requests);
    free(results);
    return rc ? -1 : 0;
}

void model_generator(struct generator *g, struct runtime *r)
{
    *g = (struct generator){.self = r, .answer = answer};
}
