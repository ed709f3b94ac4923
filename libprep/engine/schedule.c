/* SPDX-License-Identifier: MIT */
/*
 * Lanes of one runtime form a group, whose batch holds the unit's sequences once per lane.
 */
#include "libprep/engine/schedule.h"

#include <stdlib.h>
#include <string.h>

#include "libprep/engine/runtime_parts.h"
#include "libprep/engine/schedule_store.h"

enum { COPY_ROWS = 64, LOGIT_ROWS = 1024 };

struct group {
    struct runtime *r;
    size_t first_lane, n_lanes;
    size_t n_heard; /* lanes that are not fed: they have logits */
    const struct taps *taps;
    struct batch *batch;
    float *z, *logits; /* of a tile: [n_heard, rows, ...] */
};

struct run {
    const struct schedule *s;
    struct group groups[SCHEDULE_MAX_LANES];
    size_t n_groups;
    size_t group_of[SCHEDULE_MAX_LANES];
    int n_layers;
    size_t n_units, unit_sequences;
    const struct batch *batches[SCHEDULE_MAX_LANES];
    size_t offsets[SCHEDULE_MAX_LANES];
    size_t n_rows, tile; /* of the logits that are being made */
    float *row;          /* [COPY_ROWS, hidden_size] */
    struct sequence *repeated;
    uint64_t done;
    struct prep_error *err;
};

/* Sequences [first, first + n) of a unit. */
struct unit {
    size_t index, first, n, n_tokens, longest;
};

static struct unit unit_at(const struct run *run, size_t i)
{
    struct unit u = {.index = i, .first = i * run->unit_sequences};
    const size_t rest = run->s->n_sequences - u.first;
    u.n = rest < run->unit_sequences ? rest : run->unit_sequences;
    for (size_t k = u.first; k < u.first + u.n; k++) {
        const size_t n = run->s->sequences[k].n;
        u.n_tokens += n;
        u.longest = n > u.longest ? n : u.longest;
    }
    return u;
}

/* Lanes */

static int check_lane(const struct run *run, size_t i)
{
    const struct lane *l = &run->s->lanes[i];
    const struct config *c = l->runtime->config, *c0 = run->s->lanes[0].runtime->config;
    const int later = l->forced_by >= (int)i || l->fed_by >= (int)i;
    if (later || l->forced_by < -1 || l->fed_by < -1)
        return prep_fail(run->err, PREP_EUSAGE, "lane %zu is led by lane %d, want an earlier one",
                         i, l->forced_by >= (int)i ? l->forced_by : l->fed_by);
    if (c->vocab_size != c0->vocab_size || c->hidden_size != c0->hidden_size ||
        c->num_hidden_layers != c0->num_hidden_layers)
        return prep_fail(run->err, PREP_EUSAGE,
                         "models of different shape: %lld tokens, %lld wide, %d layers, and %lld, "
                         "%lld, %d",
                         (long long)c0->vocab_size, (long long)c0->hidden_size,
                         c0->num_hidden_layers, (long long)c->vocab_size, (long long)c->hidden_size,
                         c->num_hidden_layers);
    return 0;
}

static int make_groups(struct run *run)
{
    const struct schedule *s = run->s;
    if (s->n_lanes < 1 || s->n_lanes > SCHEDULE_MAX_LANES || s->n_sequences < 1)
        return prep_fail(run->err, PREP_EBUG, "%zu lanes, %zu sequences", s->n_lanes,
                         s->n_sequences);
    for (size_t i = 0; i < s->n_lanes; i++) {
        const struct lane *l = &s->lanes[i];
        if (check_lane(run, i))
            return -1;
        struct group *g = run->n_groups ? &run->groups[run->n_groups - 1] : NULL;
        if (!g || g->r != l->runtime) {
            g = &run->groups[run->n_groups++];
            *g = (struct group){.r = l->runtime, .first_lane = i, .taps = l->taps};
        } else if (l->taps) {
            return prep_fail(run->err, PREP_EBUG, "taps on lane %zu, not the first of its model",
                             i);
        }
        run->group_of[i] = run->n_groups - 1;
        g->n_lanes++;
        g->n_heard += l->fed_by < 0;
    }
    for (size_t i = 0; i < run->n_groups; i++)
        for (size_t k = 0; k < i; k++)
            if (run->groups[k].r == run->groups[i].r)
                return prep_fail(run->err, PREP_EBUG, "lanes of one model do not stand together");
    return 0;
}

/* Batches of a unit: sequences that lose `less` tokens at the front, for the MTP layers. */

static struct sequence shortened(const struct sequence *s, size_t less)
{
    return (struct sequence){.tokens = s->tokens + less, .n = s->n - less};
}

static int is_heard(const struct run *run, size_t lane)
{
    return run->s->lanes[lane].fed_by < 0;
}

/* How many of the unit's sequences are left when each loses tokens. */
static size_t fill_sequences(struct run *run, const struct unit *u, size_t less)
{
    size_t n = 0;
    for (size_t i = 0; i < u->n; i++)
        if (run->s->sequences[u->first + i].n > less)
            run->repeated[n++] = shortened(&run->s->sequences[u->first + i], less);
    return n;
}

/* Is lane i of a group in its batch? All are, but for an MTP layer those only that are heard. */
static int lead_lane(struct run *run, size_t lane, size_t slot, const size_t *slots, size_t n)
{
    const int by = run->s->lanes[lane].forced_by;
    const struct expert_set *among = run->s->lanes[lane].among;
    struct group *g = &run->groups[run->group_of[lane]];
    for (size_t i = 0; i < n && among; i++)
        if (batch_restrict(g->batch, slot * n + i, among, run->err))
            return -1;
    if (by < 0)
        return 0;
    const struct group *from = &run->groups[run->group_of[by]];
    for (size_t i = 0; i < n; i++)
        if (batch_force(g->batch, slot * n + i, from->batch, slots[by] * n + i, run->err))
            return -1;
    return 0;
}

static int make_batches(struct run *run, const struct unit *u, size_t less)
{
    size_t slots[SCHEDULE_MAX_LANES] = {0};
    const size_t n = fill_sequences(run, u, less);
    for (size_t k = 0; k < run->n_groups; k++) {
        struct group *g = &run->groups[k];
        size_t n_slots = 0;
        for (size_t lane = g->first_lane; lane < g->first_lane + g->n_lanes; lane++) {
            if (less && !is_heard(run, lane))
                continue;
            slots[lane] = n_slots++;
            memcpy(run->repeated + slots[lane] * n, run->repeated, n * sizeof *run->repeated);
        }
        if (n_slots == 0)
            continue;
        if (batch_new(&g->batch, g->r, run->repeated, n_slots * n, run->err))
            return -1;
        batch_set_tapped(g->batch, g->batch->n_tokens / n_slots);
        for (size_t lane = g->first_lane; lane < g->first_lane + g->n_lanes; lane++) {
            if (less && !is_heard(run, lane))
                continue;
            run->batches[lane] = g->batch;
            run->offsets[lane] = slots[lane] * (g->batch->n_tokens / n_slots);
            if (lead_lane(run, lane, slots[lane], slots, n))
                return -1;
        }
    }
    return 0;
}

static void free_batches(struct run *run)
{
    for (size_t k = 0; k < run->n_groups; k++) {
        batch_free(run->groups[k].batch);
        run->groups[k].batch = NULL;
    }
}

/* Layers */

static int feed(struct run *run, size_t lane, size_t n_tokens)
{
    const int from = run->s->lanes[lane].fed_by;
    const struct batch *source = run->batches[from];
    struct batch *to = run->groups[run->group_of[lane]].batch;
    for (size_t i = 0; i < n_tokens; i += COPY_ROWS) {
        const size_t n = n_tokens - i < COPY_ROWS ? n_tokens - i : COPY_ROWS;
        if (batch_get_hidden(source, run->offsets[from] + i, n, run->row, run->err) ||
            batch_set_hidden(to, run->offsets[lane] + i, n, run->row, run->err))
            return -1;
    }
    return 0;
}

static int is_mine(const struct run *run, size_t unit)
{
    return run->s->n_parts < 2 || unit % run->s->n_parts == run->s->part;
}

static void tell(struct run *run, size_t tokens)
{
    run->done += tokens;
    if (!run->s->progress)
        return;
    struct progress p = {.phase = "forward", .done_bytes = run->done};
    for (size_t i = 0; i < run->s->n_sequences; i++)
        p.total_bytes += is_mine(run, i / run->unit_sequences) ? run->s->sequences[i].n : 0;
    p.total_bytes *= (uint64_t)run->n_layers;
    run->s->progress(run->s->progress_arg, &p);
}

static int run_layer(struct run *run, const struct unit *u, int layer)
{
    const struct schedule *s = run->s;
    const struct schedule_at at = {u->index, u->first,     u->n,        u->n_tokens,
                                   layer,    run->batches, run->offsets};
    for (size_t i = 0; i < s->n_lanes; i++)
        if (s->lanes[i].fed_by >= 0 && feed(run, i, u->n_tokens))
            return -1;
    if (s->visitor.before && s->visitor.before(s->visitor.arg, &at, run->err))
        return -1;
    for (size_t k = 0; k < run->n_groups; k++)
        if (runtime_layer(run->groups[k].r, layer, run->groups[k].batch, run->groups[k].taps,
                          run->err))
            return -1;
    tell(run, u->n_tokens);
    return s->visitor.after ? s->visitor.after(s->visitor.arg, &at, run->err) : 0;
}

static int embed(struct run *run)
{
    for (size_t k = 0; k < run->n_groups; k++)
        if (runtime_embed(run->groups[k].r, run->groups[k].batch, run->err))
            return -1;
    return 0;
}

/* Logits */

/* Rows of a tile: an eighth of a bounded memory. */
static size_t tile_rows(const struct run *run, size_t n_rows)
{
    size_t rows = n_rows < LOGIT_ROWS ? n_rows : LOGIT_ROWS;
    for (size_t k = 0; k < run->n_groups; k++) {
        const struct group *g = &run->groups[k];
        const uint64_t row = 4 * (uint64_t)(g->r->config->vocab_size + g->r->config->hidden_size);
        const uint64_t fit = g->n_heard ? g->r->mem / 8 / (row * g->n_heard) : rows;
        rows = fit < rows ? (size_t)fit : rows;
    }
    return rows ? rows : 1;
}

static uint64_t tile_bytes(const struct run *run, const struct group *g)
{
    const uint64_t row = 4 * (uint64_t)(g->r->config->vocab_size + g->r->config->hidden_size);
    return row * g->n_heard * run->tile;
}

static void free_tiles(struct run *run)
{
    for (size_t k = 0; k < run->n_groups; k++) {
        struct group *g = &run->groups[k];
        if (g->z || g->logits)
            runtime_unreserve(g->r, tile_bytes(run, g));
        free(g->z);
        free(g->logits);
        g->z = g->logits = NULL;
    }
}

static int make_tiles(struct run *run, size_t n_rows)
{
    /* Of a split model each rank has its own room, and all make the same rows. */
    uint64_t tile = tile_rows(run, n_rows);
    if (runtime_least(run->groups[0].r, &tile, run->err))
        return -1;
    run->tile = (size_t)tile;
    for (size_t k = 0; k < run->n_groups; k++) {
        struct group *g = &run->groups[k];
        const size_t rows = g->n_heard * run->tile;
        if (rows == 0)
            continue;
        if (runtime_reserve(g->r, tile_bytes(run, g), 0, 0, run->err))
            return -1;
        g->z = malloc(rows * (size_t)g->r->config->hidden_size * sizeof *g->z);
        g->logits = malloc(rows * (size_t)g->r->config->vocab_size * sizeof *g->logits);
        if (!g->z && !g->logits)
            runtime_unreserve(g->r, tile_bytes(run, g));
        if (!g->z || !g->logits)
            return prep_fail(run->err, PREP_ENOMEM, "no memory for %zu rows of logits", rows);
    }
    return 0;
}

/* Rows [first, first + n) of every lane that is heard. */
static int logits_tile(struct run *run, const struct unit *u, int layer, size_t first, size_t n)
{
    const float *logits[SCHEDULE_MAX_LANES] = {0}, *z[SCHEDULE_MAX_LANES] = {0};
    const struct schedule *s = run->s;
    for (size_t k = 0; k < run->n_groups; k++) {
        struct group *g = &run->groups[k];
        const size_t wide = (size_t)g->r->config->hidden_size;
        const size_t vocab = (size_t)g->r->config->vocab_size;
        size_t heard = 0;
        for (size_t lane = g->first_lane; lane < g->first_lane + g->n_lanes; lane++) {
            if (!is_heard(run, lane))
                continue;
            z[lane] = g->z + heard * n * wide;
            logits[lane] = g->logits + heard * n * vocab;
            if (runtime_final(g->r, layer, g->batch, run->offsets[lane] + first, n,
                              g->z + heard * n * wide, run->err))
                return -1;
            heard++;
        }
        if (heard && runtime_logits(g->r, g->z, heard * n, g->logits, NULL, run->err))
            return -1;
    }
    const struct schedule_logits l = {u->index, u->first, u->n, first, n, layer, logits, z};
    return s->visitor.logits(s->visitor.arg, &l, run->err);
}

static int give_logits(struct run *run, const struct unit *u, int layer, size_t n_rows)
{
    int rc = make_tiles(run, n_rows);
    for (size_t i = 0; i < n_rows && !rc; i += run->tile)
        rc = logits_tile(run, u, layer, i, n_rows - i < run->tile ? n_rows - i : run->tile);
    free_tiles(run);
    return rc;
}

/* The MTP layer needs z of all but the last token of each sequence, lane by lane. */
static int collect_z(struct run *run, const struct unit *u, struct group *g, float *z)
{
    const size_t wide = (size_t)g->r->config->hidden_size;
    for (size_t lane = g->first_lane; lane < g->first_lane + g->n_lanes; lane++) {
        size_t token = run->offsets[lane];
        for (size_t i = u->first; i < u->first + u->n && is_heard(run, lane); i++) {
            const size_t n = run->s->sequences[i].n;
            if (n > 1 && runtime_final(g->r, -1, g->batch, token, n - 1, z, run->err))
                return -1;
            z += (n - 1) * wide;
            token += n;
        }
    }
    return 0;
}

static int run_mtp(struct run *run, const struct unit *u)
{
    const int layer = run->s->lanes[0].runtime->config->num_hidden_layers;
    const size_t n_rows = u->n_tokens - u->n;
    float *z[SCHEDULE_MAX_LANES] = {0};
    uint64_t reserved[SCHEDULE_MAX_LANES] = {0};
    int rc = 0;
    for (size_t k = 0; k < run->n_groups && !rc; k++) {
        struct group *g = &run->groups[k];
        const uint64_t bytes = 4 * g->n_heard * n_rows * (uint64_t)g->r->config->hidden_size;
        rc = runtime_reserve(g->r, bytes, 0, 0, run->err);
        reserved[k] = rc ? 0 : bytes;
        z[k] = rc ? NULL : malloc(bytes + 1);
        if (!rc && !z[k])
            rc = prep_fail(run->err, PREP_ENOMEM, "no memory for %zu hidden states", n_rows);
        rc = rc || collect_z(run, u, g, z[k]);
    }
    free_batches(run);
    rc = rc || make_batches(run, u, 1);
    for (size_t k = 0; k < run->n_groups && !rc; k++) {
        struct group *g = &run->groups[k];
        if (g->batch)
            rc = runtime_mtp_embed(g->r, layer, g->batch, z[k], g->taps, run->err) ||
                 runtime_layer(g->r, layer, g->batch, g->taps, run->err);
    }
    for (size_t k = 0; k < run->n_groups; k++) {
        runtime_unreserve(run->groups[k].r, reserved[k]);
        free(z[k]);
    }
    return rc || give_logits(run, u, layer, n_rows) ? -1 : 0;
}

static int finish_unit(struct run *run, const struct unit *u)
{
    const int all = run->n_layers == run->groups[0].r->config->num_hidden_layers;
    if (!all || !run->s->visitor.logits)
        return 0;
    if (give_logits(run, u, -1, u->n_tokens))
        return -1;
    return run->s->with_mtp && u->n_tokens > u->n ? run_mtp(run, u) : 0;
}

/* Orders */

static int chunk_major(struct run *run)
{
    int rc = 0;
    for (size_t i = 0; i < run->n_units && !rc; i++) {
        const struct unit u = unit_at(run, i);
        if (!is_mine(run, i))
            continue;
        rc = make_batches(run, &u, 0) || embed(run);
        for (int layer = 0; layer < run->n_layers && !rc; layer++)
            rc = run_layer(run, &u, layer);
        rc = rc || finish_unit(run, &u);
        free_batches(run);
    }
    return rc ? -1 : 0;
}

/* Slot of a unit and group. */
static int move_states(struct run *run, struct store *store, const struct unit *u, int save)
{
    for (size_t k = 0; k < run->n_groups; k++) {
        const size_t slot = u->index * run->n_groups + k;
        struct batch *b = run->groups[k].batch;
        if (save ? store_put(store, slot, b, run->err) : store_get(store, slot, b, run->err))
            return -1;
    }
    return 0;
}

/* Step -1 embeds; step n_layers makes logits. */
static int layer_step(struct run *run, struct store *store, const struct unit *u, int step)
{
    int rc = make_batches(run, u, 0) || (step < 0 ? embed(run) : move_states(run, store, u, 0)) ||
             (step == run->n_layers ? finish_unit(run, u) : 0) ||
             (step >= 0 && step < run->n_layers ? run_layer(run, u, step) : 0) ||
             (step < run->n_layers ? move_states(run, store, u, 1) : 0);
    free_batches(run);
    return rc ? -1 : 0;
}

static int layer_major(struct run *run)
{
    const size_t n_slots = run->n_units * run->n_groups;
    uint64_t *floats = calloc(n_slots, sizeof *floats), reserved[SCHEDULE_MAX_LANES] = {0};
    struct store store = {.fd = -1};
    int rc = floats ? 0 : prep_fail(run->err, PREP_ENOMEM, "no memory for %zu units", n_slots);
    for (size_t i = 0; i < n_slots && !rc; i++) {
        const struct group *g = &run->groups[i % run->n_groups];
        const struct unit u = unit_at(run, i / run->n_groups);
        floats[i] = store_floats(g->r, u.n_tokens * g->n_lanes, u.longest);
        reserved[i % run->n_groups] += run->s->spill ? 0 : 4 * floats[i];
    }
    for (size_t k = 0; k < run->n_groups && !rc; k++) {
        rc = runtime_reserve(run->groups[k].r, reserved[k], 0, 0, run->err);
        reserved[k] = rc ? 0 : reserved[k];
    }
    rc = rc || store_open(&store, run->s->io, run->s->spill, floats, n_slots,
                          (size_t)run->groups[0].r->config->hidden_size, run->err);
    for (int step = -1; step <= run->n_layers && !rc; step++)
        for (size_t i = 0; i < run->n_units && !rc; i++) {
            const struct unit u = unit_at(run, i);
            rc = layer_step(run, &store, &u, step);
        }
    store_close(&store);
    for (size_t k = 0; k < run->n_groups; k++)
        runtime_unreserve(run->groups[k].r, reserved[k]);
    free(floats);
    return rc ? -1 : 0;
}

int schedule_run(const struct schedule *s, struct prep_error *err)
{
    struct run run = {.s = s, .err = err};
    if (make_groups(&run))
        return -1;
    const struct config *c = run.groups[0].r->config;
    run.unit_sequences = s->unit_sequences ? s->unit_sequences : UNIT_SEQUENCES;
    run.n_units = (s->n_sequences + run.unit_sequences - 1) / run.unit_sequences;
    run.n_layers =
        s->n_layers > 0 && s->n_layers < c->num_hidden_layers ? s->n_layers : c->num_hidden_layers;
    run.row = calloc(COPY_ROWS * (size_t)c->hidden_size, sizeof *run.row);
    run.repeated = calloc(s->n_lanes * run.unit_sequences, sizeof *run.repeated);
    int rc = run.row && run.repeated ? 0 : prep_fail(err, PREP_ENOMEM, "no memory for a schedule");
    if (!rc)
        rc = s->layer_major ? layer_major(&run) : chunk_major(&run);
    free_batches(&run);
    free(run.row);
    free(run.repeated);
    return rc ? -1 : 0;
}
