/* SPDX-License-Identifier: MIT */
#include "libprep/engine/generate.h"

#include <stdlib.h>
#include <string.h>

#include "libprep/engine/generate_parts.h"

size_t greedy_pick(const float *logits, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (logits[i] > logits[best])
            best = i;
    return best;
}

const char *generate_end_name(enum generate_end end)
{
    static const char *const names[] = {"running", "stop",    "stop-string",
                                        "length",  "context", "caller"};
    return names[end];
}

/* What outlives a call */

int generate_memory_new(struct generate_memory **m, struct prep_error *err)
{
    *m = calloc(1, sizeof **m);
    return *m ? 0 : prep_fail(err, PREP_ENOMEM, "no memory for a text");
}

static void memory_fini(struct generate_memory *m)
{
    kv_cache_free(m->cache);
    kv_cache_free(m->draft_cache);
    token_ids_free(&m->ids);
}

void generate_memory_free(struct generate_memory *m)
{
    if (!m)
        return;
    memory_fini(m);
    free(m);
}

/* Take the prompt; how many of its tokens have keys already. The last one is computed anyway.
 * Drafts need the hidden state of the last known token, too. */
static size_t take_prompt(struct generate_memory *m, const struct generate_request *q, int draft)
{
    const size_t most = draft && m->drafted < m->fed ? m->drafted : m->fed;
    size_t same = 0;
    while (same < most && same + 1 < q->n_prompt && m->ids.ids[same] == q->prompt[same])
        same++;
    memcpy(m->ids.ids, q->prompt, q->n_prompt * sizeof *q->prompt);
    m->ids.n = q->n_prompt;
    m->fed = same;
    m->drafted = m->drafted < same ? m->drafted : same;
    return same;
}

/* Room for n tokens. */
static int reserve_ids(struct token_ids *ids, size_t n, struct prep_error *err)
{
    if (ids->cap >= n)
        return 0;
    uint32_t *p = realloc(ids->ids, n * sizeof *p);
    if (!p)
        return prep_fail(err, PREP_ENOMEM, "no memory for %zu tokens", n);
    ids->ids = p;
    ids->cap = n;
    return 0;
}

/* Requests */

static size_t positions(const struct run *x)
{
    return (size_t)x->r->config->max_position_embeddings;
}

static int check_request(const struct run *x, size_t i)
{
    const struct generate_request *q = &x->g->requests[i];
    const uint64_t vocab = (uint64_t)x->r->config->vocab_size;
    if (q->n_prompt == 0)
        return prep_fail(x->err, PREP_EUSAGE, "nothing to go on from: the prompt has no token");
    if (q->n_prompt > positions(x))
        return prep_fail_tag(x->err, PREP_EDATA, "POSITION",
                             "the prompt has %zu tokens, max_position_embeddings is %zu",
                             q->n_prompt, positions(x));
    for (size_t k = 0; k < q->n_prompt; k++)
        if (q->prompt[k] >= vocab)
            return prep_fail_tag(x->err, PREP_EDATA, "TOKEN_ID",
                                 "token %zu of the prompt is %u, the vocabulary has %llu", k,
                                 q->prompt[k], (unsigned long long)vocab);
    return sampling_check(&q->sampling, x->err);
}

static int check_requests(const struct run *x)
{
    for (size_t i = 0; i < x->g->n; i++)
        if (check_request(x, i))
            return x->g->n > 1 ? prep_note(x->err, "request %zu", i) : -1;
    return 0;
}

/* Tokens to add: the last one needs no position. */
static size_t limit_of(const struct run *x, const struct generate_request *q)
{
    const size_t left = positions(x) - q->n_prompt + 1;
    return q->n_new < left ? q->n_new : left;
}

/* Positions a text will need keys for. */
static size_t capacity_of(const struct run *x, const struct generate_request *q)
{
    return q->n_prompt + limit_of(x, q) - 1;
}

static struct kv_cache_shape shape_of(const struct run *x, size_t capacity)
{
    return (struct kv_cache_shape){0, x->r->config->num_hidden_layers, capacity, x->g->kv};
}

/* Bytes that starting a text takes. */
static uint64_t start_bytes(const struct run *x, const struct generate_request *q)
{
    const struct kv_cache *have = q->memory ? q->memory->cache : NULL;
    const struct kv_cache_shape shape = shape_of(x, capacity_of(x, q));
    const uint64_t sampler = sampler_bytes((uint32_t)x->r->config->vocab_size);
    if (have && have->shape.capacity >= shape.capacity)
        return sampler;
    return sampler + kv_cache_bytes(x->r, &shape) + speculate_text_bytes(x, shape.capacity);
}

/* Bytes of a batch of so many texts, a token and its drafts each. */
static uint64_t pass_bytes(const struct run *x, size_t n, size_t longest)
{
    const size_t tokens = n * (size_t)(1 + x->g->draft);
    return runtime_batch_bytes(x->r, tokens, longest) + tokens * speculate_token_bytes(x);
}

/* Can one more begin while others are writing? */
static int fits(const struct run *x, const struct generate_request *q)
{
    const size_t capacity = capacity_of(x, q);
    const size_t longest = capacity > x->longest ? capacity : x->longest;
    return start_bytes(x, q) + pass_bytes(x, x->n_live + 1, longest) <=
           runtime_room(x->r, x->n_live + 1, longest);
}

static void text_fini(struct run *x, struct text *t)
{
    sampler_free(t->sampler);
    runtime_unreserve(x->r, t->reserved);
    if (t->keys) { /* what has no keys is forgotten */
        t->keys->ids.n = t->keys->fed;
        t->keys->busy = 0;
    }
    memory_fini(&t->own);
}

static int make_room(struct text *t, struct run *x, size_t capacity)
{
    struct generate_memory *m = t->keys;
    const struct kv_cache_shape shape = shape_of(x, capacity);
    if (!m->cache)
        return kv_cache_new(&m->cache, x->r, &shape, x->err);
    if (m->cache->runtime != x->r || m->cache->shape.form != shape.form)
        return prep_fail(x->err, PREP_EBUG, "keys of another model, or in another form");
    return m->cache->shape.capacity < capacity ? kv_cache_grow(m->cache, capacity, x->err) : 0;
}

static int start_text(struct run *x, struct text *t)
{
    const struct generate_request *q = t->q;
    const uint32_t vocab = (uint32_t)x->r->config->vocab_size;
    const size_t capacity = capacity_of(x, q);
    t->limit = limit_of(x, q);
    if (q->memory && q->memory->busy)
        return prep_fail(x->err, PREP_EBUG, "two texts with one memory");
    t->keys = q->memory ? q->memory : &t->own;
    t->keys->busy = 1;
    x->longest = capacity > x->longest ? capacity : x->longest;
    if (runtime_reserve(x->r, sampler_bytes(vocab), 1, capacity, x->err))
        return -1;
    t->reserved = sampler_bytes(vocab);
    if (make_room(t, x, capacity) || speculate_start(x, t, capacity) ||
        reserve_ids(&t->keys->ids, capacity + 1 + GENERATE_MOST_DRAFTS, x->err) ||
        reserve_ids(&t->result->tokens, t->limit, x->err) ||
        sampler_new(&t->sampler, &q->sampling, vocab, q->seed, q->stream, x->err) ||
        sampler_see_prompt(t->sampler, q->prompt, q->n_prompt, x->err))
        return -1;
    t->result->n_reused = take_prompt(t->keys, q, x->g->draft);
    return 0;
}

/* Begin as many texts as there is room for, in order. */
static int admit(struct run *x)
{
    while (x->n_started < x->g->n && x->n_live < GENERATE_MOST) {
        const struct generate_request *q = &x->g->requests[x->n_started];
        struct generate_result *result = &x->results[x->n_started];
        if (q->n_new == 0) {
            result->end = GENERATE_LENGTH;
            x->n_started++;
            continue;
        }
        if (x->n_live && !fits(x, q))
            return 0;
        struct text *t = &x->texts[x->n_live++];
        *t = (struct text){.q = q, .result = result, .number = x->n_started++};
        if (start_text(x, t))
            return -1;
    }
    return 0;
}

/* A pass */

static size_t pending(const struct text *t)
{
    return t->keys->ids.n - t->keys->fed;
}

/* One token of each text that writes, with its drafts, then prompts; whose turn comes first goes
 * round. */
static void deal_tokens(struct run *x)
{
    size_t longest = 0, all = 0, n = 0;
    for (size_t i = 0; i < x->n_live; i++) {
        struct text *t = &x->texts[i];
        const size_t end = t->keys->ids.n + t->n_draft;
        longest = end > longest ? end : longest;
        all += pending(t) + t->n_draft;
        t->n_feed = t->n_try = t->n_true = 0;
    }
    const size_t most = runtime_batch_most(x->r, all, longest, speculate_token_bytes(x));
    for (int prompts = 0; prompts < 2; prompts++)
        for (size_t i = 0; i < x->n_live; i++) {
            struct text *t = &x->texts[(x->turn + i) % x->n_live];
            const size_t want = pending(t), left = most - n;
            if ((want > 1) != prompts)
                continue;
            n += t->n_feed = want < left ? want : left;
            if (t->n_feed == want)
                n += t->n_try = t->n_draft < most - n ? t->n_draft : most - n;
        }
    x->turn++;
}

static int new_batch(struct run *x, struct batch **b)
{
    size_t n = 0, first = 0;
    for (size_t i = 0; i < x->n_live; i++) {
        struct text *t = &x->texts[i];
        struct generate_memory *m = t->keys;
        const size_t feed = t->n_feed + t->n_try;
        memcpy(m->ids.ids + m->ids.n, t->draft, t->n_try * sizeof *t->draft);
        t->first = first;
        first += feed;
        if (feed)
            x->sequences[n++] = (struct sequence){m->ids.ids + m->fed, feed, m->fed, m->cache};
    }
    return batch_new(b, x->r, x->sequences, n, x->err);
}

static int forward(struct run *x, struct batch *b)
{
    int rc = runtime_embed(x->r, b, x->err);
    for (int layer = 0; layer < x->r->config->num_hidden_layers && !rc; layer++)
        rc = runtime_layer(x->r, layer, b, NULL, x->err);
    return rc ? -1 : 0;
}

static int is_stop(const struct generate_request *q, uint32_t token)
{
    for (size_t i = 0; i < q->n_stop; i++)
        if (q->stop[i] == token)
            return 1;
    return 0;
}

/* Does the text end with this token, and what may be shown of it? */
static int see_end(struct run *x, struct text *t, uint32_t token)
{
    struct stop_stream *s = t->q->text;
    enum generate_end end = GENERATE_RUNNING;
    if (is_stop(t->q, token))
        end = GENERATE_STOP_TOKEN;
    else if (t->result->tokens.n == t->limit)
        end = t->limit < t->q->n_new ? GENERATE_CONTEXT : GENERATE_LENGTH;
    x->shown.n = 0;
    if (s && end != GENERATE_STOP_TOKEN && stop_push(&x->shown, s, token, x->err))
        return -1;
    if (s && end && stop_finish(&x->shown, s, x->err))
        return -1;
    if (s && s->state == STOP_STRING)
        end = GENERATE_STOP_STRING;
    else if (s && s->state == STOP_TOKEN)
        end = GENERATE_STOP_TOKEN;
    t->result->end = end;
    return 0;
}

/* Choose a text's next token. */
static int take_token(struct run *x, struct text *t, const float *logits)
{
    struct token_ids *made = &t->result->tokens;
    uint32_t token;
    if (sampler_choose(&token, t->sampler, logits, x->err) ||
        sampler_see_output(t->sampler, token, x->err))
        return -1;
    made->ids[made->n++] = token;
    t->keys->ids.ids[t->keys->ids.n++] = token;
    if (see_end(x, t, token))
        return -1;
    const struct generate_token event = {
        .request = t->number,
        .i = made->n - 1,
        .token = token,
        .logits = logits,
        .text = x->shown.p,
        .n_text = x->shown.n,
        .end = t->result->end,
    };
    const int rc = x->g->token ? x->g->token(x->g->arg, &event, x->err) : 0;
    if (rc > 0 && t->result->end == GENERATE_RUNNING)
        t->result->end = GENERATE_CALLER;
    return rc < 0 ? -1 : 0;
}

int generate_rows(struct run *x, int layer, const struct batch *b, const size_t *rows, size_t n)
{
    const size_t wide = (size_t)x->r->config->hidden_size;
    for (size_t k = 0, m; k < n; k += m) {
        const size_t *row = &rows[k];
        for (m = 1; k + m < n && row[m] == row[0] + m;)
            m++;
        if (runtime_final(x->r, layer, b, *row, m, x->tile + k * wide, x->err))
            return -1;
    }
    return 0;
}

/* The last known token of each text that was computed to its end, and its drafts. */
static size_t list_rows(struct run *x)
{
    size_t n = 0;
    for (size_t i = 0; i < x->n_live; i++) {
        struct text *t = &x->texts[i];
        t->closed = t->n_feed == 0 || t->n_feed < pending(t);
        for (size_t k = 0; k <= t->n_try && !t->closed; k++) {
            x->owners[n] = t;
            x->rows[n++] = t->first + t->n_feed - 1 + k;
        }
    }
    return n;
}

/* The row behind a known token or a draft that came true: the next token, and was it drafted? */
static int take_row(struct run *x, struct text *t, const float *logits)
{
    if (t->closed)
        return 0;
    if (take_token(x, t, logits))
        return -1;
    const int came_true = t->n_true < t->n_try &&
                          t->draft[t->n_true] == t->result->tokens.ids[t->result->tokens.n - 1];
    t->n_true += (size_t)came_true;
    t->closed = !came_true || t->result->end != GENERATE_RUNNING;
    return 0;
}

static int take_rows(struct run *x, const struct batch *b)
{
    const size_t vocab = (size_t)x->r->config->vocab_size, n = list_rows(x);
    for (size_t i = 0, m; i < n; i += m) {
        m = n - i < x->n_tile ? n - i : x->n_tile;
        if (generate_rows(x, -1, b, x->rows + i, m) ||
            runtime_logits(x->r, x->tile, m, x->logits, NULL, x->err))
            return -1;
        for (size_t k = 0; k < m; k++)
            if (take_row(x, x->owners[i + k], x->logits + k * vocab))
                return -1;
    }
    return 0;
}

/* Those that go on move up. */
static void drop_ended(struct run *x)
{
    size_t n = 0;
    for (size_t i = 0; i < x->n_live; i++) {
        struct text *t = &x->texts[i];
        if (t->result->end != GENERATE_RUNNING) {
            text_fini(x, t);
            continue;
        }
        if (n < i)
            x->texts[n] = *t;
        if (x->texts[n].q->memory == NULL)
            x->texts[n].keys = &x->texts[n].own;
        n++;
    }
    x->n_live = n;
}

static size_t count_made(const struct run *x)
{
    size_t n = 0;
    for (size_t i = 0; i < x->n_live; i++)
        n += x->texts[i].result->tokens.n;
    return n;
}

static double now(const struct run *x)
{
    return x->g->now ? x->g->now() : 0;
}

/* Tokens of prompts in this pass. */
static uint64_t count_prompts(const struct run *x)
{
    uint64_t n = 0;
    for (size_t i = 0; i < x->n_live; i++) {
        const struct text *t = &x->texts[i];
        const size_t left = t->q->n_prompt > t->keys->fed ? t->q->n_prompt - t->keys->fed : 0;
        n += t->n_feed < left ? t->n_feed : left;
    }
    return n;
}

/* What was computed has keys, and of the drafts those that came true. */
static void count_fed(struct run *x)
{
    for (size_t i = 0; i < x->n_live; i++) {
        struct text *t = &x->texts[i];
        t->keys->fed += t->n_feed + t->n_true;
        t->result->drafted += t->n_try;
        t->result->accepted += t->n_true;
        x->stats->drafted += t->n_try;
        x->stats->accepted += t->n_true;
    }
}

static void count_pass(struct run *x, uint64_t prompts, size_t made, double seconds)
{
    struct generate_stats *s = x->stats;
    if (prompts) {
        s->prefill_passes++;
        s->prefill_tokens += prompts;
        s->prefill_seconds += seconds;
        return;
    }
    s->decode_passes++;
    s->decode_tokens += made;
    s->decode_seconds += seconds;
    for (size_t i = 0; i < x->n_live; i++)
        s->decode_turns += x->texts[i].n_feed > 0;
}

static int pass(struct run *x)
{
    const double began = now(x);
    const size_t made = count_made(x);
    struct batch *b = NULL;
    deal_tokens(x);
    const uint64_t prompts = count_prompts(x);
    const int rc = new_batch(x, &b) || forward(x, b) || take_rows(x, b) || speculate_keep(x, b);
    batch_free(b);
    if (rc)
        return -1;
    count_fed(x);
    if (speculate_draft(x))
        return -1;
    count_pass(x, prompts, count_made(x) - made, now(x) - began);
    return 0;
}

/* A run */

/* Raise now, with a floor that will do, when the largest text has no room beside a row of logits;
 * else say how many rows there should be. */
static int plan_rows(struct run *x, uint64_t row, size_t most)
{
    uint64_t largest = 0;
    size_t longest = 1;
    for (size_t i = 0; i < x->g->n; i++) {
        const struct generate_request *q = &x->g->requests[i];
        const size_t capacity = q->n_new ? capacity_of(x, q) : 0;
        const uint64_t need = capacity ? start_bytes(x, q) + pass_bytes(x, 1, capacity) : 0;
        largest = need > largest ? need : largest;
        longest = capacity > longest ? capacity : longest;
    }
    if (runtime_reserve(x->r, row + largest, 1, longest, x->err))
        return -1;
    const uint64_t more = runtime_room(x->r, 1, longest) / 8 / row;
    runtime_unreserve(x->r, row + largest);
    x->n_tile = more < most ? 1 + (size_t)more : most;
    return 0;
}

static int run_open(struct run *x)
{
    const struct config *c = x->r->config;
    const size_t most = x->g->n < GENERATE_MOST ? x->g->n : GENERATE_MOST;
    const uint64_t row = sizeof(float) * ((uint64_t)c->vocab_size + (uint64_t)c->hidden_size);
    const size_t rows = most * (size_t)(1 + x->g->draft);
    x->texts = calloc(most, sizeof *x->texts);
    x->sequences = calloc(most, sizeof *x->sequences);
    x->rows = calloc(rows, sizeof *x->rows);
    x->owners = calloc(rows, sizeof *x->owners);
    if (plan_rows(x, row, rows) || runtime_reserve(x->r, row * x->n_tile, 1, 1, x->err))
        return -1;
    x->reserved = row * x->n_tile;
    x->tile = malloc(x->n_tile * (size_t)c->hidden_size * sizeof *x->tile);
    x->logits = malloc(x->n_tile * (size_t)c->vocab_size * sizeof *x->logits);
    if (!x->texts || !x->sequences || !x->rows || !x->owners || !x->tile || !x->logits)
        return prep_fail(x->err, PREP_ENOMEM, "no memory for %zu texts", most);
    return 0;
}

static void run_close(struct run *x)
{
    for (size_t i = 0; i < x->n_live; i++)
        text_fini(x, &x->texts[i]);
    runtime_unreserve(x->r, x->reserved);
    token_text_free(&x->shown);
    free(x->texts);
    free(x->sequences);
    free(x->rows);
    free(x->owners);
    free(x->tile);
    free(x->logits);
    speculate_close(x);
}

int generate_run(struct generate_result *results, struct generate_stats *stats,
                 const struct generate *g, struct prep_error *err)
{
    struct generate_stats unused;
    struct run x = {
        .g = g, .r = g->runtime, .results = results, .stats = stats ? stats : &unused, .err = err};
    *x.stats = (struct generate_stats){0};
    memset(results, 0, g->n * sizeof *results);
    if (g->n == 0)
        return 0;
    if (speculate_check(&x) || check_requests(&x))
        return -1;
    int rc = run_open(&x) || admit(&x);
    while (!rc && x.n_live) {
        rc = pass(&x);
        if (!rc) {
            drop_ended(&x);
            rc = admit(&x);
        }
    }
    run_close(&x);
    return rc ? -1 : 0;
}

void generate_results_free(struct generate_result *results, size_t n)
{
    for (size_t i = 0; i < n; i++)
        token_ids_free(&results[i].tokens);
}
