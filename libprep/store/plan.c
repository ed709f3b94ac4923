/* SPDX-License-Identifier: MIT */
#include "libprep/store/plan.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/base/hash.h"

static int key_line(struct plan *p, struct prep_error *err, const char *fmt, ...) PREP_PRINTF(3, 4);

static int key_line(struct plan *p, struct prep_error *err, const char *fmt, ...)
{
    char line[1024];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (n < 0 || n >= (int)sizeof line)
        return prep_fail(err, PREP_EUSAGE, "an option or file name is longer than %zu bytes",
                         sizeof line);
    for (int i = 0; i < n; i++) {
        if (prep_grow(&p->key_text, &p->key_cap, p->key_n, 1, err))
            return -1;
        /* One line each: a name may not start another. */
        p->key_text[p->key_n++] = line[i] == '\n' && i + 1 < n ? ' ' : line[i];
    }
    return 0;
}

int plan_new(struct plan **plan, const char *tool, const char *version, struct prep_error *err)
{
    struct plan *p = calloc(1, sizeof *p);
    if (!p)
        return prep_fail(err, PREP_ENOMEM, "out of memory");
    arena_init(&p->arena, 0);
    if (key_line(p, err, "tool %s %s\n", tool, version)) {
        plan_free(p);
        return -1;
    }
    *plan = p;
    return 0;
}

void plan_free(struct plan *p)
{
    if (!p)
        return;
    free(p->sources);
    free(p->steps);
    free(p->inputs);
    free(p->after);
    free(p->files);
    free(p->extents);
    free(p->tensors);
    free(p->key_text);
    arena_fini(&p->arena);
    free(p);
}

int plan_option(struct plan *p, const char *name, const char *value, struct prep_error *err)
{
    return key_line(p, err, "option %s %s\n", name, value);
}

int plan_add_checkpoint(struct plan *p, const struct checkpoint *ckpt, uint32_t *first,
                        struct prep_error *err)
{
    *first = (uint32_t)p->n_sources;
    for (size_t i = 0; i < ckpt->n_files; i++) {
        const struct source_file *f = &ckpt->files[i];
        if (prep_grow(&p->sources, &p->cap_sources, p->n_sources, sizeof *p->sources, err))
            return -1;
        p->sources[p->n_sources++] = (struct plan_source){ckpt->io, f};
        if (key_line(p, err,
                     "source %s bytes %" PRIu64 " mtime %" PRId64 " header %016" PRIx64
                     "%016" PRIx64 "\n",
                     f->name, f->bytes, f->mtime_ns, f->header_hi, f->header_lo))
            return -1;
    }
    return 0;
}

static uint64_t aligned(uint64_t n)
{
    return (n + PLAN_ALIGN - 1) / PLAN_ALIGN * PLAN_ALIGN;
}

uint64_t plan_pages(uint64_t n)
{
    return (n + PLAN_PAGE - 1) / PLAN_PAGE * PLAN_PAGE;
}

uint64_t plan_run_memory(const struct plan_step *s)
{
    return plan_pages(s->input_room + aligned(s->work_bytes) + s->n_inputs * sizeof(struct span) +
                      s->n_outputs * sizeof(unsigned char *));
}

uint64_t plan_output_memory(const struct plan_step *s)
{
    return plan_pages(s->output_room);
}

static int add_step(struct plan *p, struct plan_step s, const struct plan_range *ranges, size_t n,
                    uint32_t *step, struct prep_error *err)
{
    if (prep_grow(&p->steps, &p->cap_steps, p->n_steps, sizeof *p->steps, err))
        return -1;
    s.first_input = (uint32_t)p->n_inputs;
    s.n_inputs = (uint32_t)n;
    s.first_after = (uint32_t)p->n_after;
    for (size_t i = 0; i < n; i++) {
        const struct plan_range r = ranges[i];
        uint64_t end;
        if (r.source >= p->n_sources || prep_add(&end, r.offset, r.bytes) ||
            end > p->sources[r.source].file->bytes)
            return prep_fail(err, PREP_EBUG, "step %zu reads outside its source", p->n_steps);
        if (prep_grow(&p->inputs, &p->cap_inputs, p->n_inputs, sizeof *p->inputs, err))
            return -1;
        p->inputs[p->n_inputs++] = r;
        s.input_bytes += r.bytes;
        s.input_room += aligned(r.bytes);
    }
    *step = (uint32_t)p->n_steps;
    p->steps[p->n_steps++] = s;
    return 0;
}

int plan_add_bytes(struct plan *p, const void *bytes, size_t n, uint32_t *step,
                   struct prep_error *err)
{
    struct plan_step s = {.kind = PLAN_BYTES, .arg = bytes, .input_bytes = n};
    return add_step(p, s, NULL, 0, step, err);
}

int plan_add_copy(struct plan *p, const struct plan_range *ranges, size_t n, uint32_t *step,
                  struct prep_error *err)
{
    return add_step(p, (struct plan_step){.kind = PLAN_COPY}, ranges, n, step, err);
}

int plan_add_call(struct plan *p, step_fn fn, const void *arg, uint64_t work_bytes,
                  const struct plan_range *ranges, size_t n, uint32_t *step, struct prep_error *err)
{
    struct plan_step s = {.kind = PLAN_CALL, .fn = fn, .arg = arg, .work_bytes = work_bytes};
    return add_step(p, s, ranges, n, step, err);
}

int plan_note(struct plan *p, uint32_t bytes, struct prep_error *err)
{
    struct plan_step *s = p->n_steps ? &p->steps[p->n_steps - 1] : NULL;
    if (!s || s->kind != PLAN_CALL || s->note_bytes || bytes == 0 || bytes > PLAN_MAX_NOTE)
        return prep_fail(err, PREP_EBUG, "step %zu cannot leave a note of %" PRIu32 " bytes",
                         p->n_steps, bytes);
    s->note_at = p->note_bytes;
    s->note_bytes = bytes;
    p->note_bytes += (bytes + 7) / 8 * 8; /* notes hold numbers: keep them aligned */
    return 0;
}

int plan_after(struct plan *p, uint32_t step, uint32_t earlier, struct prep_error *err)
{
    if ((size_t)step + 1 != p->n_steps || earlier >= step)
        return prep_fail(err, PREP_EBUG, "step %u cannot follow step %u", step, earlier);
    if (prep_grow(&p->after, &p->cap_after, p->n_after, sizeof *p->after, err))
        return -1;
    p->after[p->n_after++] = earlier;
    p->steps[step].n_after++;
    return 0;
}

int plan_add_file(struct plan *p, const char *name, enum file_stage stage, struct prep_error *err)
{
    const char *fault = file_name_fault(name, strlen(name));
    if (fault)
        return prep_fail(err, PREP_EDATA, "output file name %s %s", name, fault);
    if (p->n_files && p->files[p->n_files - 1].stage > stage)
        return prep_fail(err, PREP_EBUG, "%s comes before a file of an earlier stage", name);
    if (prep_grow(&p->files, &p->cap_files, p->n_files, sizeof *p->files, err))
        return -1;
    char *copy = arena_strndup(&p->arena, name, strlen(name), err);
    if (!copy)
        return -1;
    p->files[p->n_files++] = (struct plan_file){
        .name = copy,
        .stage = stage,
        .first_extent = (uint32_t)p->n_extents,
        .first_tensor = (uint32_t)p->n_tensors,
    };
    return 0;
}

int plan_strand(struct plan *p, uint32_t band, uint32_t strand, struct prep_error *err)
{
    struct plan_file *f = p->n_files ? &p->files[p->n_files - 1] : NULL;
    const struct plan_file *last = p->n_files > 1 ? f - 1 : NULL;
    /* Numbers count up from 1, so that a band is a run of files and a strand a run in it. */
    const int begins = last && last->band ? band == last->band + 1 && strand == 1 : strand == 1;
    const int goes_on = last && band == last->band && last->stage == f->stage &&
                        (strand == last->strand || strand == last->strand + 1);
    if (!f || f->n_extents || band == 0 || (!begins && !goes_on) || strand > PLAN_MAX_STRANDS)
        return prep_fail(err, PREP_EBUG, "file %zu cannot be in strand %u of band %u", p->n_files,
                         strand, band);
    f->band = band;
    f->strand = strand;
    if (strand > p->most_strands)
        p->most_strands = strand;
    return 0;
}

int plan_append(struct plan *p, uint32_t step, uint64_t bytes, struct prep_error *err)
{
    struct plan_file *f = &p->files[p->n_files - 1];
    struct plan_step *s = &p->steps[step];
    if (bytes == 0 && s->kind != PLAN_CALL)
        return 0; /* an empty tensor or file has no extent */
    if (prep_grow(&p->extents, &p->cap_extents, p->n_extents, sizeof *p->extents, err))
        return -1;
    p->extents[p->n_extents++] = (struct plan_extent){f->bytes, bytes, step, s->n_outputs++};
    f->n_extents++;
    s->output_bytes += bytes;
    s->output_room += aligned(bytes);
    if (prep_add(&f->bytes, f->bytes, bytes) || f->bytes > INT64_MAX)
        return prep_fail(err, PREP_EDATA, "%s would be larger than a file can be", f->name);
    return 0;
}

int plan_tensor_here(struct plan *p, const char *name, const char *origin, uint64_t bytes,
                     struct prep_error *err)
{
    if (prep_grow(&p->tensors, &p->cap_tensors, p->n_tensors, sizeof *p->tensors, err))
        return -1;
    struct plan_file *f = &p->files[p->n_files - 1];
    p->tensors[p->n_tensors++] = (struct plan_tensor){name, origin, f->bytes, bytes};
    f->n_tensors++;
    return 0;
}

/* Copies and literals must come out exactly as long as they go in. */
static int check_steps(const struct plan *p, struct prep_error *err)
{
    for (size_t i = 0; i < p->n_steps; i++) {
        const struct plan_step *s = &p->steps[i];
        int one = s->n_outputs == 1 || (s->n_outputs == 0 && s->input_bytes == 0);
        if (s->kind != PLAN_CALL && (!one || s->output_bytes != s->input_bytes))
            return prep_fail(err, PREP_EBUG, "step %zu copies %" PRIu64 " bytes into %" PRIu64, i,
                             s->input_bytes, s->output_bytes);
    }
    return 0;
}

/* The layout is hashed field by field, so that padding and pointers stay out. */
static uint64_t mix(uint64_t seed, const void *bytes, size_t n)
{
    unsigned char pair[16];
    store_le64(pair, seed);
    store_le64(pair + 8, hash64(bytes, n));
    return hash64(pair, sizeof pair);
}

static uint64_t mix_u64(uint64_t seed, uint64_t v)
{
    unsigned char le[8];
    store_le64(le, v);
    return mix(seed, le, sizeof le);
}

static uint64_t layout_hash(const struct plan *p)
{
    uint64_t h = 0;
    for (size_t i = 0; i < p->n_files; i++) {
        h = mix(h, p->files[i].name, strlen(p->files[i].name));
        h = mix_u64(h, p->files[i].n_extents);
    }
    for (size_t e = 0; e < p->n_extents; e++) {
        const struct plan_extent *x = &p->extents[e];
        const struct plan_step *s = &p->steps[x->step];
        h = mix_u64(h, x->bytes);
        h = mix_u64(h, (uint64_t)s->kind << 32 | x->output);
        if (s->note_bytes)
            h = mix_u64(h, s->note_bytes);
        if (s->kind == PLAN_BYTES)
            h = mix(h, s->arg, (size_t)s->input_bytes);
        for (uint32_t i = 0; i < s->n_inputs; i++) {
            const struct plan_range *r = &p->inputs[s->first_input + i];
            h = mix_u64(mix_u64(mix_u64(h, r->source), r->offset), r->bytes);
        }
    }
    return h;
}

int plan_finish(struct plan *p, struct prep_error *err)
{
    if (check_steps(p, err) || plan_floor(p, PLAN_BLOCK_LEAST, &p->floor_bytes, err))
        return -1;
    for (size_t i = 0; i < p->n_files; i++)
        p->output_bytes += p->files[i].bytes;
    for (size_t i = 0; i < p->n_steps; i++)
        if (p->steps[i].kind != PLAN_BYTES)
            p->input_bytes += p->steps[i].input_bytes;
    if (key_line(p, err, "layout %016" PRIx64 "\n", layout_hash(p)))
        return -1;
    p->key = (struct span){(const unsigned char *)p->key_text, p->key_n};
    sha256_hex(p->key.p, p->key.n, p->key_sha256);
    return 0;
}
