/* SPDX-License-Identifier: MIT */
/* What a quantization decided and how well it went: the manifest, the facts, a line per linear. */
#include <string.h>

#include "libprep/base/json.h"
#include "libprep/release/quantize.h"

static const char *mtp_name(enum quant_mtp mtp)
{
    static const char *const names[] = {[QUANT_MTP_BF16] = "bf16",
                                        [QUANT_MTP_QUANTIZE] = "quantize",
                                        [QUANT_MTP_SEPARATE] = "separate",
                                        [QUANT_MTP_DROP] = "drop"};
    return names[mtp];
}

const char *quantize_verdict(const struct quantize_result *r, size_t linear, struct arena *arena,
                             struct prep_error *err)
{
    const struct linear *l = &r->linears.items[linear];
    const struct quant_choice *c = &r->selection.choices[linear];
    const char *form = linear_form_name(c->take ? r->method.want.form : LINEAR_PLAIN);
    if (r->job->repack)
        return arena_printf(arena, err, "%s, %s",
                            linear_form_name(c->take ? r->method.want.form : l->form),
                            c->take ? "repacked" : "as it is");
    if (!c->take)
        form = l->form == LINEAR_PLAIN ? dtype_name((enum dtype)l->tensors[0].info->dtype) : "BF16";
    if (c->rule < 0)
        return arena_printf(arena, err, "%s, preset %s", form, r->select.preset_name);
    const struct quant_rule *rule = &r->select.rules[c->rule];
    return arena_printf(arena, err, "%s, --%s '%s'", form, rule->take ? "include" : "exclude",
                        rule->pattern);
}

/* ---- the manifest ---- */

static void put_text(struct json_out *o, const char *key, const char *text)
{
    json_out_key(o, key);
    json_out_string(o, text);
}

static void put_f64(struct json_out *o, const char *key, double v)
{
    json_out_key(o, key);
    json_out_f64(o, v);
}

static void put_counted(struct json_out *o, const char *key, uint64_t n)
{
    if (!n)
        return;
    json_out_key(o, key);
    json_out_u64(o, n);
}

static double ratio(double error, double signal)
{
    return signal > 0 ? error / signal : 0;
}

/* One line per linear. */
static void put_member(const struct quantize_result *r, struct json_out *o,
                       const struct quant_step *s, size_t i, const struct quant_note *note)
{
    const struct quant_member *me = &s->members[i];
    size_t linear = (size_t)(me->from - r->linears.items);
    int indent = o->indent, rounded = s->method == &r->method && !r->job->repack;
    json_out_key(o, me->from->name);
    o->indent = JSON_ONE_LINE;
    json_out_open(o, '{');
    put_text(o, "form", linear_form_name(me->to.form));
    if (rounded)
        put_f64(o, "nmse", ratio(note->error, note->signal));
    if (rounded && me->has_importance)
        put_f64(o, "weighted_nmse", ratio(note->weighted_error, note->weighted));
    if (r->inputs.amax && s->method == &r->method) {
        put_f64(o, "input_amax", (double)me->input_amax);
        put_text(o, "input_from", input_origin_name((enum input_origin)r->inputs.origin[linear]));
    }
    put_counted(o, "source_zero_scales", note->zero_scales);
    put_counted(o, "source_overflows", note->overflows);
    json_out_close(o);
    o->indent = indent;
}

int quantize_manifest(void *result, const unsigned char *notes, struct json_out *o,
                      struct prep_error *err)
{
    const struct quantize_result *r = result;
    (void)err;
    json_out_key(o, "quantization");
    json_out_open(o, '{');
    put_text(o, "tool", r->job->tool);
    put_text(o, "layout", r->layout);
    put_text(o, "scales", r->scales);
    put_text(o, "modules", r->job->repack ? "as they are" : r->job->modules);
    put_text(o, "mtp", mtp_name(r->job->mtp));
    json_out_key(o, "linears");
    json_out_open(o, '{');
    for (size_t k = 0; k < r->built.n_steps; k++) {
        const struct quant_step *s = &r->built.steps[k];
        for (size_t i = 0; i < s->n; i++) {
            struct quant_note note;
            memcpy(&note, notes + r->plan->steps[s->step].note_at + i * sizeof note, sizeof note);
            put_member(r, o, s, i, &note);
        }
    }
    json_out_close(o);
    json_out_close(o);
    return 0;
}

/* ---- the report ---- */

void quantize_facts(const struct quantize_result *r, struct report *report)
{
    cJSON *f = cJSON_AddObjectToObject(report->facts, "quantization");
    cJSON_AddStringToObject(f, "layout", r->layout);
    cJSON_AddStringToObject(f, "scales", r->scales);
    report_u64(f, "linears", r->linears.n);
    report_u64(f, "quantized", r->selection.n_taken);
    report_u64(f, "groups", r->selection.n_groups);
    report_u64(f, "tensors", r->built.n_tensors);
    report_u64(f, "tensor_bytes", r->tensor_bytes);
    cJSON_AddBoolToObject(f, "input_scales", r->method.want.with_input);
}
