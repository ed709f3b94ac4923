/* SPDX-License-Identifier: MIT */
#include "libprep/engine/sampling.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/base/random.h"
#include "libprep/numeric/elementary.h"

struct sampler {
    struct sampling o;
    uint32_t n;
    struct prep_random random;
    uint32_t *counts; /* [n] times in the output */
    uint8_t *seen;    /* [n] in the prompt or the output */
    double *z;        /* [n] logits after the penalties, then weights; 0 once cut off */
    uint32_t *heap;   /* [n] ids */
};

/* ---- options ---- */

int sampling_preset(struct sampling *s, const char *name, struct prep_error *err)
{
    static const struct {
        const char *name;
        struct sampling options;
    } presets[] = {
        {"greedy", {0, 1, 0, 1, 0, 0}},
        {"chat", {0.5, 0.95, 0, 1.05, 0.3, 0}},
        {"strict", {0, 1, 0, 1.05, 0, 0}},
        {"loops", {0.8, 0.95, 0, 1, 0, 0}},
    };
    for (size_t i = 0; i < sizeof presets / sizeof *presets; i++)
        if (strcmp(presets[i].name, name) == 0) {
            *s = presets[i].options;
            return 0;
        }
    return prep_fail(err, PREP_EUSAGE,
                     "there is no sampling preset \"%s\": want greedy, chat, strict or loops",
                     name);
}

/* Written so that NaN fails. */
static int is_between(double v, double low, double high)
{
    return v >= low && v <= high;
}

int sampling_check(const struct sampling *s, struct prep_error *err)
{
    if (!is_between(s->temperature, 0, 100))
        return prep_fail(err, PREP_EUSAGE, "temperature is %g, want 0 to 100", s->temperature);
    if (!is_between(s->top_p, 0, 1) || s->top_p == 0)
        return prep_fail(err, PREP_EUSAGE, "top-p is %g, want over 0 and at most 1", s->top_p);
    if (!is_between(s->min_p, 0, 1))
        return prep_fail(err, PREP_EUSAGE, "min-p is %g, want 0 to 1", s->min_p);
    if (!is_between(s->repetition_penalty, 0.01, 100))
        return prep_fail(err, PREP_EUSAGE, "repetition penalty is %g, want 0.01 to 100",
                         s->repetition_penalty);
    if (!is_between(s->frequency_penalty, -2, 2))
        return prep_fail(err, PREP_EUSAGE, "frequency penalty is %g, want -2 to 2",
                         s->frequency_penalty);
    return 0;
}

/* ---- a sampler ---- */

int sampler_new(struct sampler **out, const struct sampling *options, uint32_t vocab_size,
                uint64_t seed, uint64_t sequence, struct prep_error *err)
{
    *out = NULL;
    if (sampling_check(options, err))
        return -1;
    if (!vocab_size)
        return prep_fail(err, PREP_EUSAGE, "a vocabulary without tokens");
    struct sampler *s = calloc(1, sizeof *s);
    if (!s)
        return prep_fail(err, PREP_ENOMEM, "out of memory for a sampler");
    s->o = *options;
    s->n = vocab_size;
    s->random.state = seed;
    s->random.state = prep_random_u64(&s->random) + sequence;
    s->random.state = prep_random_u64(&s->random);
    s->counts = calloc(vocab_size, sizeof *s->counts);
    s->seen = calloc(vocab_size, sizeof *s->seen);
    s->z = calloc(vocab_size, sizeof *s->z);
    s->heap = calloc(vocab_size, sizeof *s->heap);
    if (!s->counts || !s->seen || !s->z || !s->heap) {
        sampler_free(s);
        return prep_fail(err, PREP_ENOMEM, "out of memory for a sampler of %u tokens", vocab_size);
    }
    *out = s;
    return 0;
}

void sampler_free(struct sampler *s)
{
    if (!s)
        return;
    free(s->counts);
    free(s->seen);
    free(s->z);
    free(s->heap);
    free(s);
}

uint64_t sampler_bytes(uint32_t vocab_size)
{
    const struct sampler *s = NULL;
    return sizeof *s + vocab_size * (uint64_t)(sizeof *s->counts + sizeof *s->seen + sizeof *s->z +
                                               sizeof *s->heap);
}

static int see(struct sampler *s, uint32_t token, struct prep_error *err)
{
    if (token >= s->n)
        return prep_fail(err, PREP_EUSAGE, "token %u is beyond the vocabulary of %u", token, s->n);
    s->seen[token] = 1;
    return 0;
}

int sampler_see_prompt(struct sampler *s, const uint32_t *tokens, size_t n, struct prep_error *err)
{
    for (size_t i = 0; i < n; i++)
        if (see(s, tokens[i], err))
            return -1;
    return 0;
}

int sampler_see_output(struct sampler *s, uint32_t token, struct prep_error *err)
{
    if (see(s, token, err))
        return -1;
    s->counts[token] += s->counts[token] < UINT32_MAX;
    return 0;
}

/* ---- choosing ---- */

/* Logits after the penalties in z; the largest one's id in *best. */
static int penalize(struct sampler *s, const float *logits, uint32_t *best, struct prep_error *err)
{
    const double r = s->o.repetition_penalty, f = s->o.frequency_penalty;
    *best = s->n;
    for (uint32_t i = 0; i < s->n; i++) {
        double z = (double)logits[i];
        if (isnan(z) || (isinf(z) && z > 0))
            return prep_fail(err, PREP_EDATA, "the logit of token %u is %g", i, z);
        if (s->seen[i])
            z = z > 0 ? z / r : z * r;
        if (s->counts[i])
            z -= f * (double)s->counts[i];
        s->z[i] = z;
        if (!isinf(z) && (*best == s->n || z > s->z[*best]))
            *best = i;
    }
    if (*best == s->n)
        return prep_fail(err, PREP_EDATA, "every one of %u logits is -inf", s->n);
    return 0;
}

/* A larger weight, or an equal one and a lower id. */
static int before(const double *w, uint32_t a, uint32_t b)
{
    return w[a] > w[b] || (w[a] == w[b] && a < b);
}

static void sift(const double *w, uint32_t *heap, size_t n, size_t i)
{
    uint32_t moving = heap[i];
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && before(w, heap[child + 1], heap[child]))
            child++;
        if (!before(w, heap[child], moving))
            break;
        heap[i] = heap[child];
    }
    heap[i] = moving;
}

/* The ids of positive weight as a heap, the largest on top; how many. */
static size_t make_heap(struct sampler *s)
{
    size_t n = 0;
    for (uint32_t i = 0; i < s->n; i++)
        if (s->z[i] > 0)
            s->heap[n++] = i;
    for (size_t i = n / 2; i > 0; i--)
        sift(s->z, s->heap, n, i - 1);
    return n;
}

/* Take the largest off the heap: it goes behind those that are left. */
static uint32_t pop(struct sampler *s, size_t *n)
{
    uint32_t top = s->heap[0];
    s->heap[0] = s->heap[--*n];
    s->heap[*n] = top;
    if (*n > 1)
        sift(s->z, s->heap, *n, 0);
    return top;
}

/* Keep the fewest of the largest weights that add up to p of all; the heap holds all of them. */
static size_t take_mass(struct sampler *s, size_t n, double p)
{
    double sum = 0, total = 0;
    for (uint32_t i = 0; i < s->n; i++)
        total += s->z[i];
    while (n && sum < p * total)
        sum += s->z[pop(s, &n)];
    return n;
}

/* Keep the k largest, and of these those that make up p of them. */
static size_t take_most(struct sampler *s, size_t n, size_t k, double p)
{
    const size_t all = n;
    double sum = 0, part = 0;
    size_t kept = 0;
    while (n && all - n < k)
        sum += s->z[pop(s, &n)];
    /* What was taken lies at the end, the largest last. */
    while (kept < all - n && (p == 1 || part < p * sum))
        part += s->z[s->heap[all - ++kept]];
    return all - kept;
}

/* Top-k, top-p, min-p: weights that are cut off become 0. */
static void cut(struct sampler *s)
{
    const double p = s->o.top_p, floor = s->o.min_p;
    size_t n_cut = 0;
    if (s->o.top_k && s->o.top_k < s->n)
        n_cut = take_most(s, make_heap(s), s->o.top_k, p);
    else if (p < 1)
        n_cut = take_mass(s, make_heap(s), p);
    for (size_t i = 0; i < n_cut; i++)
        s->z[s->heap[i]] = 0;
    for (uint32_t i = 0; floor > 0 && i < s->n; i++)
        if (s->z[i] < floor)
            s->z[i] = 0;
}

/* Weights of what may be drawn, in z; their sum by id in *sum. */
static int weigh(struct sampler *s, const float *logits, uint32_t *best, double *sum,
                 struct prep_error *err)
{
    if (penalize(s, logits, best, err))
        return -1;
    const double largest = s->z[*best], t = s->o.temperature;
    *sum = 1;
    if (t == 0) {
        memset(s->z, 0, s->n * sizeof *s->z);
        s->z[*best] = 1;
        return 0;
    }
    for (uint32_t i = 0; i < s->n; i++)
        s->z[i] = isinf(s->z[i]) ? 0 : prep_exp((s->z[i] - largest) / t);
    cut(s);
    *sum = 0;
    for (uint32_t i = 0; i < s->n; i++)
        *sum += s->z[i];
    return 0;
}

int sampler_choose(uint32_t *token, struct sampler *s, const float *logits, struct prep_error *err)
{
    double sum, running = 0;
    if (weigh(s, logits, token, &sum, err))
        return -1;
    if (s->o.temperature == 0)
        return 0;
    const double u = (double)(prep_random_u64(&s->random) >> 11) * 0x1p-53 * sum;
    for (uint32_t i = 0; i < s->n; i++) {
        running += s->z[i];
        if (s->z[i] > 0 && running > u) {
            *token = i;
            return 0;
        }
    }
    return 0; /* not reached: the last running sum is `sum`, which is over u; *token is the best */
}

int sampler_distribution(double *p, struct sampler *s, const float *logits, struct prep_error *err)
{
    uint32_t best;
    double sum;
    if (weigh(s, logits, &best, &sum, err))
        return -1;
    for (uint32_t i = 0; i < s->n; i++)
        p[i] = s->z[i] / sum;
    return 0;
}
