/* SPDX-License-Identifier: MIT */
#include "libprep/probe/needle.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/base/random.h"
#include "libprep/base/utf8.h"
#include "libprep/probe/answer.h"

enum { LONGEST_SENTENCE = 2000, MARGIN = 8, ENOUGH = 16, MAX_GROWTH = 6 };

static const char before[] = "Read the text below. Somewhere in it a magic number is given.\n\n";
static const char *const cities[] = {"Lisbon", "Nairobi", "Quito",  "Hanoi",
                                     "Oslo",   "Perth",   "Ankara", "Montreal"};

static int count(size_t *tokens, struct tokenizer_encoder *e, const char *text, size_t n,
                 struct prep_error *err)
{
    struct token_ids ids = {NULL, 0, 0};
    int rc = tokenizer_encode(&ids, e, TOKENIZER_NOSPECIAL, text, n, err);
    *tokens = ids.n;
    token_ids_free(&ids);
    return rc;
}

/* ---- the source ---- */

static int is_blank(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

/* Behind the sentence that begins at `at`: an end mark before white space, or a line's end. */
static size_t sentence_end(const char *s, size_t n, size_t at)
{
    for (size_t i = at; i < n; i++) {
        if (s[i] == '\n')
            return i;
        if ((s[i] == '.' || s[i] == '!' || s[i] == '?') && (i + 1 == n || is_blank(s[i + 1])))
            return i + 1;
    }
    return n;
}

static int add_sentence(struct needle_source *s, struct tokenizer_encoder *e, size_t at, size_t n,
                        struct prep_error *err)
{
    struct needle_sentence one = {at, n, 0};
    /* What is no sentence: scraps, tables, base64. And nothing that gives the needle away. */
    if (n < 20 || n > LONGEST_SENTENCE || memmem(s->text + at, n, "magic number", 12))
        return 0;
    if (count(&one.tokens, e, s->text + at, n, err) ||
        prep_grow(&s->sentences, &s->cap, s->n, sizeof *s->sentences, err))
        return -1;
    one.tokens += 1; /* the blank behind it */
    s->sentences[s->n++] = one;
    return 0;
}

int needle_open(struct needle_source *s, struct tokenizer_encoder *e, const char *text, size_t n,
                struct prep_error *err)
{
    memset(s, 0, sizeof *s);
    arena_init(&s->arena, 0);
    s->text = arena_strndup(&s->arena, text, n, err);
    if (!s->text)
        return -1;
    for (size_t at = 0, end; at < n; at = end) {
        while (at < n && is_blank(text[at]))
            at++;
        end = sentence_end(text, n, at);
        if (add_sentence(s, e, at, end - at, err)) {
            needle_close(s);
            return -1;
        }
    }
    if (s->n)
        return 0;
    needle_close(s);
    return prep_fail(err, PREP_EDATA, "a text of %zu bytes has no sentence to hide a needle in", n);
}

void needle_close(struct needle_source *s)
{
    free(s->sentences);
    arena_fini(&s->arena);
    memset(s, 0, sizeof *s);
}

/* ---- a prompt ---- */

struct builder {
    const struct needle_source *s;
    size_t first;    /* sentence that the text begins with */
    size_t n;        /* sentences taken */
    size_t tokens;   /* of these */
    char needle[96]; /* the hidden sentence */
    char after[128]; /* the question */
};

static const struct needle_sentence *sentence(const struct builder *b, size_t i)
{
    return &b->s->sentences[(b->first + i) % b->s->n];
}

/* As many sentences as fit, by the counts of each alone. */
static void take_sentences(struct builder *b, size_t room)
{
    b->n = b->tokens = 0;
    while (b->tokens + sentence(b, b->n)->tokens <= room)
        b->tokens += sentence(b, b->n++)->tokens;
}

/* How many sentences stand before the needle: the border nearest to the depth. */
static size_t place(const struct builder *b, double depth, double *reached)
{
    const double want = depth * (double)b->tokens;
    size_t sum = 0, best = 0, best_sum = 0;
    for (size_t i = 0; i < b->n; i++) {
        sum += sentence(b, i)->tokens;
        double now = (double)sum - want, then = want - (double)best_sum;
        if ((now < 0 ? -now : now) < (then < 0 ? -then : then)) {
            best = i + 1;
            best_sum = sum;
        }
    }
    *reached = b->tokens ? (double)best_sum / (double)b->tokens : 0;
    return best;
}

static int write_prompt(struct needle_prompt *p, const struct builder *b, size_t at,
                        struct prep_error *err)
{
    size_t bytes = sizeof before + strlen(b->needle) + strlen(b->after) + 2;
    for (size_t i = 0; i < b->n; i++)
        bytes += sentence(b, i)->n + 1;
    char *o = p->text = malloc(bytes);
    if (!o)
        return prep_fail(err, PREP_ENOMEM, "out of memory for a prompt of %zu bytes", bytes);
    o = mempcpy(o, before, sizeof before - 1);
    for (size_t i = 0; i <= b->n; i++) {
        if (i == at) {
            o = mempcpy(o, b->needle, strlen(b->needle));
            *o++ = ' ';
        }
        if (i == b->n)
            break;
        o = mempcpy(o, b->s->text + sentence(b, i)->at, sentence(b, i)->n);
        *o++ = ' ';
    }
    o = mempcpy(o - 1, b->after, strlen(b->after));
    *o = 0;
    p->n = (size_t)(o - p->text);
    return 0;
}

/* Number, city and first sentence of a seed. */
static void draw(struct builder *b, struct needle_prompt *p, uint64_t seed)
{
    struct prep_random r = {seed};
    const char *city = cities[prep_random_below(&r, sizeof cities / sizeof *cities)];
    p->number = 1000000 + (int64_t)prep_random_below(&r, 9000000);
    b->first = (size_t)prep_random_below(&r, b->s->n);
    snprintf(b->needle, sizeof b->needle, "The magic number of %s is %" PRId64 ".", city,
             p->number);
    snprintf(b->after, sizeof b->after,
             "\n\nWhat is the magic number of %s? Answer with the number only.", city);
}

static int build(struct needle_prompt *p, struct builder *b, struct tokenizer_encoder *e,
                 const struct needle_case *c, size_t room, struct prep_error *err)
{
    take_sentences(b, room);
    if (!b->n)
        return prep_fail(err, PREP_EUSAGE,
                         "a needle prompt of %zu tokens has no room for a sentence", c->tokens);
    if (write_prompt(p, b, place(b, c->depth, &p->depth), err))
        return -1;
    if (count(&p->tokens, e, p->text, p->n, err) == 0)
        return 0;
    needle_free(p);
    return -1;
}

int needle_build(struct needle_prompt *p, const struct needle_source *s,
                 struct tokenizer_encoder *e, const struct needle_case *c, struct prep_error *err)
{
    struct builder b = {.s = s};
    size_t fixed[3];
    memset(p, 0, sizeof *p);
    if (!(c->depth >= 0 && c->depth <= 1))
        return prep_fail(err, PREP_EUSAGE, "a needle at depth %g, want 0 to 1", c->depth);
    draw(&b, p, c->seed);
    if (count(&fixed[0], e, before, sizeof before - 1, err) ||
        count(&fixed[1], e, b.needle, strlen(b.needle), err) ||
        count(&fixed[2], e, b.after, strlen(b.after), err))
        return -1;
    size_t rest = fixed[0] + fixed[1] + fixed[2] + MARGIN;
    /* Counts of single sentences are not those of the whole: correct, at last downwards. */
    size_t room = c->tokens > rest ? c->tokens - rest : 0;
    for (int tries = 0;; tries++) {
        if (build(p, &b, e, c, room, err))
            return -1;
        size_t over = p->tokens > c->tokens ? p->tokens - c->tokens : 0;
        size_t left = over ? 0 : c->tokens - p->tokens;
        if (!over && (left < ENOUGH || tries >= MAX_GROWTH))
            break;
        if (over)
            tries = MAX_GROWTH;
        room = room + left > over ? room + left - over : 0;
        needle_free(p);
    }
    p->repeats = b.n > s->n;
    return 0;
}

void needle_free(struct needle_prompt *p)
{
    free(p->text);
    p->text = NULL;
    p->n = 0;
}

int needle_found(const struct needle_prompt *p, const char *answer, size_t n)
{
    return answer_is_number(answer, n, p->number);
}
