/* SPDX-License-Identifier: MIT */
#include "libprep/model/shard.h"

enum shard_axis shard_axis(enum part part)
{
    switch (part) {
    case PART_EMBED:
    case PART_LM_HEAD:
    case PART_Q_B:
    case PART_KV_B:
    case PART_GATE:
    case PART_UP:
    case PART_SHARED_GATE:
    case PART_SHARED_UP:
        return SHARD_ROWS;
    case PART_O:
    case PART_DOWN:
    case PART_SHARED_DOWN:
        return SHARD_COLS;
    default:
        return SHARD_WHOLE;
    }
}

struct shard_range shard_range(uint64_t size, const struct shard *s)
{
    if (s->n <= 1)
        return (struct shard_range){0, size};
    const uint64_t n = (uint64_t)s->n, share = size / n + (size % n != 0);
    const uint64_t first = share * (uint64_t)s->rank;
    if (first >= size)
        return (struct shard_range){size, 0};
    return (struct shard_range){first, size - first < share ? size - first : share};
}

struct shard_range shard_blocks(struct shard_range r, uint64_t block, uint64_t size)
{
    const uint64_t first = r.first / block * block, end = r.first + r.n;
    const uint64_t last = end / block + (end % block != 0);
    const uint64_t up = last <= size / block ? last * block : size;
    return (struct shard_range){first, up - first};
}

struct shard_ranges shard_ranges(enum part part, uint64_t rows, uint64_t cols,
                                 const struct shard *s)
{
    struct shard_ranges r = {{0, rows}, {0, cols}};
    const enum shard_axis axis = shard_axis(part);
    if (axis == SHARD_ROWS)
        r.rows = shard_range(rows, s);
    if (axis == SHARD_COLS)
        r.cols = shard_range(cols, s);
    return r;
}

int shard_check(const struct config *c, int n, struct prep_error *err)
{
    const struct {
        const char *what;
        int64_t n;
    } rows[] = {{"heads", c->num_attention_heads},
                {"columns of a routed expert", c->moe_intermediate_size},
                {"columns of a dense MLP", c->intermediate_size}};
    if (n < 1)
        return prep_fail_tag(err, PREP_EUSAGE, "TP_DIVISIBILITY", "%d ranks, want at least 1", n);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].n % n != 0)
            return prep_fail_tag(err, PREP_EUSAGE, "TP_DIVISIBILITY",
                                 "%lld %s do not split over %d ranks", (long long)rows[i].n,
                                 rows[i].what, n);
    const struct shard last = {n - 1, n};
    if (shard_range((uint64_t)c->vocab_size, &last).n == 0)
        return prep_fail_tag(err, PREP_EUSAGE, "TP_DIVISIBILITY",
                             "a vocabulary of %lld leaves nothing for the last of %d ranks",
                             (long long)c->vocab_size, n);
    return 0;
}
