/* SPDX-License-Identifier: MIT */
#include "libprep/prune/mend.h"

#include <math.h>
#include <string.h>

#include "kernels/fp.h"
#include "libprep/base/hash.h"
#include "libprep/base/json.h"
#include "libprep/model/names.h"
#include "libprep/quant/rescale.h"

enum { MAX_INPUTS = 3, MAX_OUTPUTS = 2 };

/* What a centred bias leaves in the manifest. */
struct center_note {
    double subtracted, least, largest; /* the last two as they were */
};

struct center {
    const char *name;
    const int *rows; /* kept; NULL: all of them */
    uint32_t n, output;
};

struct mend {
    step_fn fn;
    const void *arg;
    uint32_t step;
    uint32_t inputs[MAX_INPUTS], n_inputs;    /* tensors of the view, whole at their source */
    uint32_t outputs[MAX_OUTPUTS], n_outputs; /* tensors of the view */
    uint32_t *number[MAX_OUTPUTS];            /* where the layout writes theirs */
    uint32_t note_bytes;
};

/* ---- the correction bias ---- */

static float bias_at(const struct center *c, const struct span *in, uint32_t i)
{
    return f32_from_bits(load_le32(in->p + 4 * (size_t)(c->rows ? (uint32_t)c->rows[i] : i)));
}

static int center_step(const struct step_memory *m, const void *arg, struct prep_error *err)
{
    const struct center *c = arg;
    struct center_note note = {0, INFINITY, -INFINITY};
    for (uint32_t i = 0; i < c->n; i++) {
        const double b = (double)bias_at(c, &m->inputs[0], i);
        if (!isfinite(b))
            return prep_fail_tag(err, PREP_EDATA, "ROUTER_NONFINITE",
                                 "%s: value %u is no finite number", c->name, i);
        note.least = b < note.least ? b : note.least;
        note.largest = b > note.largest ? b : note.largest;
    }
    note.subtracted = (double)(float)((note.least + note.largest) / 2);
    for (uint32_t i = 0; i < c->n; i++) {
        const float b = (float)((double)bias_at(c, &m->inputs[0], i) - note.subtracted);
        store_le32(m->outputs[c->output] + 4 * (size_t)i, f32_bits(b));
    }
    memcpy(m->note, &note, sizeof note);
    return 0;
}

static int add_center(struct mends *m, uint32_t tensor, struct arena *arena, struct prep_error *err)
{
    const struct view_tensor *t = &m->view->tensors[tensor];
    if (t->info.dtype != DTYPE_F32 || !t->info.bytes || t->info.bytes / 4 > NAME_MAX_EXPERT)
        return prep_fail(err, PREP_EUNSUP, "%s: is %s, only a bias in F32 can be centred",
                         t->info.name, dtype_name((enum dtype)t->info.dtype));
    struct center *c = arena_calloc(arena, 1, sizeof *c, err);
    if (!c)
        return -1;
    *c = (struct center){t->info.name, t->rows, (uint32_t)(t->info.bytes / 4), 0};
    m->of[tensor] = (uint32_t)m->n;
    m->items[m->n++] = (struct mend){.fn = center_step,
                                     .arg = c,
                                     .inputs = {tensor},
                                     .n_inputs = 1,
                                     .outputs = {tensor},
                                     .n_outputs = 1,
                                     .number = {&c->output},
                                     .note_bytes = sizeof(struct center_note)};
    return 0;
}

static int center_biases(struct mends *m, const struct config *c, struct arena *arena,
                         struct prep_error *err)
{
    if (c->n_group > 1)
        return prep_fail(err, PREP_EUSAGE,
                         "--center-bias: the model chooses among %d groups of experts, where a "
                         "constant can alter the choice",
                         c->n_group);
    for (uint32_t i = 0; i < m->view->n_tensors; i++) {
        const char *name = m->view->tensors[i].info.name;
        const struct name_parts p = name_parse(name, strlen(name));
        if (p.role == ROLE_ROUTER && name_suffix(&p) == SUFFIX_CORRECTION_BIAS &&
            add_center(m, i, arena, err))
            return -1;
    }
    return 0;
}

/* ---- gate and up ---- */

/* One of the two, as far as its tensors have come by. */
struct half {
    uint64_t module; /* order without the suffix */
    struct name_parts parts;
    uint32_t scales, global; /* tensors of the view, UINT32_MAX: none */
    int divides;
    float value;
};

/* A shard stays open from one small read to the next. */
struct reader {
    const struct checkpoint *ckpt;
    uint32_t file;
    int fd;
};

static int read_f32(struct reader *r, const struct view *v, uint32_t tensor, float *value,
                    struct prep_error *err)
{
    const struct view_tensor *t = &v->tensors[tensor];
    const struct checkpoint *ckpt = v->sources[t->source];
    const struct checkpoint_tensor *src = view_source(v, t);
    const struct source_file *f = &ckpt->files[src->file];
    unsigned char b[4];
    if (r->fd < 0 || r->ckpt != ckpt || r->file != src->file) {
        if (r->fd >= 0)
            io_close_read(r->ckpt->io, r->fd);
        *r = (struct reader){ckpt, src->file, -1};
        if (checkpoint_reopen(ckpt, f, &r->fd, err))
            return -1;
    }
    if (io_read_exact(ckpt->io, r->fd, b, sizeof b, src->info.offset, f->path, err))
        return -1;
    *value = f32_from_bits(load_le32(b));
    return 0;
}

static int is_half(const struct name_parts *p)
{
    return p->part == PART_GATE || p->part == PART_UP || p->part == PART_SHARED_GATE ||
           p->part == PART_SHARED_UP;
}

/* A tensor of the module, which begins with it when it is another than the last one's. */
static void take_tensor(struct half *h, const struct view *v, uint32_t tensor,
                        const struct name_parts *p)
{
    const struct view_tensor *t = &v->tensors[tensor];
    const enum suffix suffix = name_suffix(p);
    if (h->module != t->order >> 8)
        *h = (struct half){t->order >> 8, *p, UINT32_MAX, UINT32_MAX, 0, 0};
    if (suffix == SUFFIX_WEIGHT_SCALE && t->info.dtype == DTYPE_F8_E4M3 && !t->rows)
        h->scales = tensor;
    if ((suffix == SUFFIX_WEIGHT_SCALE_2 || suffix == SUFFIX_WEIGHT_GLOBAL_SCALE) &&
        t->info.dtype == DTYPE_F32 && t->info.bytes == 4 && !t->rows) {
        h->global = tensor;
        h->divides = suffix == SUFFIX_WEIGHT_GLOBAL_SCALE;
    }
}

static int add_rescale(struct mends *m, const struct half *small, const struct half *large,
                       struct arena *arena, struct prep_error *err)
{
    struct rescale *arg = arena_calloc(arena, 1, sizeof *arg, err);
    if (!arg)
        return -1;
    arg->divides = small->divides;
    m->of[small->scales] = m->of[small->global] = (uint32_t)m->n;
    m->items[m->n++] = (struct mend){.fn = rescale_step,
                                     .arg = arg,
                                     .inputs = {small->scales, small->global, large->global},
                                     .n_inputs = 3,
                                     .outputs = {small->scales, small->global},
                                     .n_outputs = 2,
                                     .number = {&arg->scales, &arg->global}};
    return 0;
}

static int is_pair(const struct half *gate, const struct half *up)
{
    return gate->parts.layer == up->parts.layer && gate->parts.expert == up->parts.expert &&
           gate->parts.role == up->parts.role && gate->divides == up->divides &&
           ((gate->parts.part == PART_GATE && up->parts.part == PART_UP) ||
            (gate->parts.part == PART_SHARED_GATE && up->parts.part == PART_SHARED_UP)) &&
           gate->scales != UINT32_MAX && gate->global != UINT32_MAX && up->scales != UINT32_MAX &&
           up->global != UINT32_MAX;
}

static int judge_pair(struct mends *m, struct half *gate, struct half *up, struct reader *r,
                      struct arena *arena, struct prep_error *err)
{
    if (!is_pair(gate, up))
        return 0;
    if (read_f32(r, m->view, gate->global, &gate->value, err) ||
        read_f32(r, m->view, up->global, &up->value, err))
        return -1;
    m->n_pairs++;
    if (!isfinite(gate->value) || !isfinite(up->value) || gate->value <= 0 || up->value <= 0 ||
        gate->value == up->value)
        return 0;
    m->n_unequal++;
    if (!m->options.fix_gate_up)
        return 0;
    const int gate_is_small = gate->divides ? gate->value > up->value : gate->value < up->value;
    return add_rescale(m, gate_is_small ? gate : up, gate_is_small ? up : gate, arena, err);
}

/* The view is in layout order: gate before up, the tensors of each together. */
static int judge_pairs(struct mends *m, struct arena *arena, struct prep_error *err)
{
    static const struct half none = {0, {0}, UINT32_MAX, UINT32_MAX, 0, 0};
    struct reader r = {NULL, 0, -1};
    struct half gate = none, up = none;
    int rc = 0;
    for (uint32_t i = 0; i <= m->view->n_tensors && !rc; i++) {
        const struct view_tensor *t = i < m->view->n_tensors ? &m->view->tensors[i] : NULL;
        if (up.module && (!t || t->order >> 8 != up.module)) {
            rc = judge_pair(m, &gate, &up, &r, arena, err);
            up = none;
        }
        if (!t)
            break;
        const struct name_parts p = name_parse(t->info.name, strlen(t->info.name));
        if (is_half(&p))
            take_tensor(p.part == PART_GATE || p.part == PART_SHARED_GATE ? &gate : &up, m->view, i,
                        &p);
    }
    if (r.fd >= 0)
        io_close_read(r.ckpt->io, r.fd);
    return rc;
}

int mends_find(struct mends *m, const struct view *view, const struct config *c,
               const struct mend_options *options, struct arena *arena, struct report *report,
               struct prep_error *err)
{
    *m = (struct mends){.options = *options, .view = view};
    m->items = arena_calloc(arena, view->n_tensors, sizeof *m->items, err);
    m->of = arena_calloc(arena, view->n_tensors, sizeof *m->of, err);
    if (!m->items || !m->of)
        return -1;
    memset(m->of, 0xff, view->n_tensors * sizeof *m->of);
    if (judge_pairs(m, arena, err) || (options->center_bias && center_biases(m, c, arena, err)))
        return -1;
    if (m->n_unequal && !options->fix_gate_up)
        report_warn(report, "GATE_UP_SCALE",
                    "%zu of %zu pairs of gate and up have unequal global scales: engines compute "
                    "both with one; --fix-gate-up-scale mends them",
                    m->n_unequal, m->n_pairs);
    return 0;
}

/* ---- the plan ---- */

static void put_biases(const struct mends *m, const unsigned char *notes, struct json_out *o)
{
    const int indent = o->indent;
    json_out_key(o, "center_bias");
    json_out_open(o, '{');
    for (size_t i = 0; i < m->n; i++) {
        struct center_note note;
        if (!m->items[i].note_bytes)
            continue;
        memcpy(&note, notes + m->plan->steps[m->items[i].step].note_at, sizeof note);
        json_out_key(o, ((const struct center *)m->items[i].arg)->name);
        o->indent = JSON_ONE_LINE;
        json_out_open(o, '{');
        json_out_key(o, "subtracted");
        json_out_f64(o, note.subtracted);
        json_out_key(o, "least");
        json_out_f64(o, note.least);
        json_out_key(o, "largest");
        json_out_f64(o, note.largest);
        json_out_close(o);
        o->indent = indent;
    }
    json_out_close(o);
}

static int put_mends(void *arg, const unsigned char *notes, struct json_out *o,
                     struct prep_error *err)
{
    const struct mends *m = arg;
    (void)err;
    json_out_key(o, "mends");
    json_out_open(o, '{');
    if (m->options.fix_gate_up) {
        json_out_key(o, "gate_up_scale");
        json_out_u64(o, m->n_unequal);
    }
    if (m->options.center_bias)
        put_biases(m, notes, o);
    json_out_close(o);
    return 0;
}

static int add_step(struct mends *m, struct mend *mend, struct plan *plan, const struct layout *l,
                    struct prep_error *err)
{
    struct plan_range ranges[MAX_INPUTS];
    for (uint32_t i = 0; i < mend->n_inputs; i++) {
        const struct view_tensor *t = &m->view->tensors[mend->inputs[i]];
        const struct checkpoint_tensor *src = view_source(m->view, t);
        ranges[i] = (struct plan_range){l->first_source[t->source] + src->file, src->info.offset,
                                        src->info.bytes};
    }
    return plan_add_call(plan, mend->fn, mend->arg, 0, ranges, mend->n_inputs, &mend->step, err) ||
                   (mend->note_bytes && plan_note(plan, mend->note_bytes, err))
               ? -1
               : 0;
}

static struct layout_tensor tensor_of(const struct mends *m, uint32_t i)
{
    const struct view_tensor *t = &m->view->tensors[i];
    struct layout_tensor out = {.info = t->info, .order = t->order, .group = t->group, .copy = t};
    if (m->of[i] == UINT32_MAX)
        return out;
    const struct mend *mend = &m->items[m->of[i]];
    out.copy = NULL;
    out.step = mend->step;
    out.output = mend->number[mend->outputs[0] == i ? 0 : 1];
    return out;
}

int mends_plan(struct mends *m, struct plan *plan, struct layout *l, struct prep_error *err)
{
    if (!m->n)
        return 0;
    l->tensors = arena_calloc(&plan->arena, m->view->n_tensors, sizeof *l->tensors, err);
    if (!l->tensors)
        return -1;
    for (size_t i = 0; i < m->n; i++)
        if (add_step(m, &m->items[i], plan, l, err))
            return -1;
    for (uint32_t i = 0; i < m->view->n_tensors; i++)
        l->tensors[l->n_tensors++] = tensor_of(m, i);
    m->plan = plan;
    plan->manifest = put_mends;
    plan->manifest_arg = m;
    return (m->options.fix_gate_up && plan_option(plan, "fix-gate-up-scale", "yes", err)) ||
                   (m->options.center_bias && plan_option(plan, "center-bias", "yes", err))
               ? -1
               : 0;
}
