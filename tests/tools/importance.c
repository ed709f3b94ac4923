/* SPDX-License-Identifier: MIT */
/*
 * importance - the sum of squares of every input of every linear, on calibration windows.
 *
 *   importance MODEL WINDOWS.json SET OUTPUT [MAX_WINDOWS]
 *
 * MODEL runs as it is; main layers only. OUTPUT is a file for quantize-nvfp4 --importance
 * (docs/formats/linear-statistics.md): the diagonals of the Hessians that quality.md asks for.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/engine/schedule.h"
#include "libprep/release/judge_model.h"
#include "libprep/release/judge_text.h"

struct sums {
    double *x; /* [n] */
    size_t n;
};

struct work {
    struct judge_model model;
    struct judge_text text;
    struct sums *sites;   /* [n_layers, PART_OTHER] */
    struct sums *experts; /* [n_layers, n_experts, 2]: gate, down */
    size_t n_experts;
    struct arena arena;
};

static struct sums *sums_of(struct work *w, int layer, enum part part, int expert)
{
    if (expert < 0)
        return &w->sites[(size_t)layer * PART_OTHER + part];
    return &w->experts[((size_t)layer * w->n_experts + (size_t)expert) * 2 + (part == PART_DOWN)];
}

static int see(void *arg, const struct tap_rows *r, struct prep_error *err)
{
    struct work *w = arg;
    if (r->layer < 0)
        return 0;
    struct sums *s = sums_of(w, r->layer, r->part, r->expert);
    if (!s->x) {
        s->n = r->cols;
        s->x = arena_calloc(&w->arena, s->n, sizeof *s->x, err);
        if (!s->x)
            return -1;
    }
    for (size_t i = 0; i < r->n; i++)
        for (size_t k = 0; k < s->n; k++) {
            const double x = (double)r->x[i * r->ld + k];
            s->x[k] += x * x;
        }
    return 0;
}

static int run_model(struct work *w, struct prep_error *err)
{
    const struct config *c = w->model.config;
    const size_t n = (size_t)w->text.n_windows, n_layers = (size_t)c->num_hidden_layers;
    const struct runtime_options run = {.isa = N_ISA - 1, .without_mtp = 1};
    const struct taps taps = {.arg = w, .input = see};
    struct sequence *sequences = arena_calloc(&w->arena, n, sizeof *sequences, err);
    w->n_experts = (size_t)c->n_routed_experts;
    w->sites = arena_calloc(&w->arena, n_layers * PART_OTHER, sizeof *w->sites, err);
    w->experts = arena_calloc(&w->arena, n_layers * w->n_experts * 2, sizeof *w->experts, err);
    if (!sequences || !w->sites || !w->experts || judge_model_start(&w->model, &run, NULL, err))
        return -1;
    for (size_t i = 0; i < n; i++)
        sequences[i] = (struct sequence){.tokens = w->text.tokens + i * w->text.window,
                                         .n = (size_t)w->text.window};
    const struct lane lane = {w->model.runtime, -1, -1, &taps, NULL};
    const struct schedule s = {.sequences = sequences,
                               .n_sequences = n,
                               .unit_sequences = 16,
                               .lanes = &lane,
                               .n_lanes = 1,
                               .n_layers = c->num_hidden_layers,
                               .io = &io_posix};
    return schedule_run(&s, err);
}

/* The linears that saw something, each with its site's sums. */
static int list_tensors(struct work *w, struct tensor_info *tensors, const struct sums **from,
                        size_t *n, struct prep_error *err)
{
    *n = 0;
    for (size_t i = 0; i < w->model.linears.n; i++) {
        const struct linear *l = &w->model.linears.items[i];
        if (l->layer < 0 || l->layer >= w->model.config->num_hidden_layers)
            continue;
        const struct sums *s = sums_of(w, l->layer, tap_site(l->part), l->expert);
        if (!s->x)
            continue;
        if (s->n != l->in)
            return prep_fail(err, PREP_EBUG, "%s: has %llu inputs, its site %zu", l->name,
                             (unsigned long long)l->in, s->n);
        tensors[*n] =
            (struct tensor_info){.name = arena_printf(&w->arena, err, "%s.importance", l->name),
                                 .shape = {s->n},
                                 .bytes = s->n * 4,
                                 .n_dims = 1,
                                 .dtype = DTYPE_F32};
        if (!tensors[*n].name)
            return -1;
        from[(*n)++] = s;
    }
    return 0;
}

static int save(struct work *w, const char *path, struct prep_error *err)
{
    const size_t most = w->model.linears.n;
    struct tensor_info *tensors = arena_calloc(&w->arena, most, sizeof *tensors, err);
    const struct sums **from = arena_calloc(&w->arena, most, sizeof *from, err);
    const struct metadata_pair metadata[] = {
        {"format", "reap-importance"},
        {"version", "1"},
        {"n_routed_experts", arena_printf(&w->arena, err, "%zu", w->n_experts)},
        {"text_sha256", w->text.sha256},
    };
    struct span header;
    size_t n;
    if (!tensors || !from || !metadata[2].value || list_tensors(w, tensors, from, &n, err) ||
        safetensors_layout(tensors, n, metadata, 4, &w->arena, &header, err))
        return -1;
    const size_t bytes = n ? (size_t)(tensors[n - 1].offset + tensors[n - 1].bytes) : header.n;
    unsigned char *file = arena_alloc(&w->arena, bytes, err);
    if (!file)
        return -1;
    memcpy(file, header.p, header.n);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < from[i]->n; k++) {
            const float x = (float)from[i]->x[k];
            uint32_t bits;
            memcpy(&bits, &x, sizeof bits);
            store_le32(file + tensors[i].offset + 4 * k, bits);
        }
    return io_write_file(&io_posix, path, file, bytes, err);
}

int main(int argc, char **argv)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct work w = {0};
    if (argc != 5 && argc != 6) {
        fprintf(stderr, "usage: importance MODEL WINDOWS.json SET OUTPUT [MAX_WINDOWS]\n");
        return 64;
    }
    const struct judge_text_request request = {
        .windows = argv[2],
        .part = argv[3],
        .max_windows = argc > 5 ? (uint64_t)strtoul(argv[5], NULL, 10) : 0};
    arena_init(&w.arena, 0);
    int rc = judge_model_open(&w.model, &io_posix, argv[1], NULL, NULL, &err) ||
             judge_text_read(&w.text, &request, NULL, &io_posix, &w.arena, &err) ||
             run_model(&w, &err) || save(&w, argv[4], &err);
    if (rc)
        fprintf(stderr, "importance: %s\n", err.msg);
    judge_model_close(&w.model);
    arena_fini(&w.arena);
    return rc ? prep_exit_code(err.code) : 0;
}
