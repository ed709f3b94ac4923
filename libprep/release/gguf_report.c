/* SPDX-License-Identifier: MIT */
/* What was made: the manifest and the facts. */
#include <string.h>

#include "libprep/base/json.h"
#include "libprep/release/gguf.h"

static void put_text(struct json_out *o, const char *key, const char *text)
{
    json_out_key(o, key);
    json_out_string(o, text);
}

int gguf_manifest(void *result, const unsigned char *notes, struct json_out *o,
                  struct prep_error *err)
{
    const struct gguf_result *r = result;
    (void)notes;
    (void)err;
    json_out_key(o, "gguf");
    json_out_open(o, '{');
    put_text(o, "tool", r->job->tool);
    put_text(o, "mode", r->job->strict_parity ? "strict-parity" : "default");
    if (r->job->imatrix)
        put_text(o, "imatrix", r->imatrix_file.name);
    json_out_key(o, "files");
    json_out_open(o, '[');
    for (size_t i = 0; i < r->n_passes; i++)
        for (size_t k = 0; k < r->passes[i].n_outputs; k++) {
            const struct gguf_output *out = &r->passes[i].outputs[k];
            json_out_open(o, '{');
            put_text(o, "stem", out->stem);
            put_text(o, "type", out->label);
            json_out_key(o, "tensor_bytes");
            json_out_u64(o, out->tensor_bytes);
            json_out_close(o);
        }
    json_out_close(o);
    json_out_close(o);
    return 0;
}

static void file_facts(cJSON *list, const struct gguf_pass *pass, const struct gguf_output *out)
{
    cJSON *f = cJSON_CreateObject();
    if (!f || !cJSON_AddItemToArray(list, f)) {
        cJSON_Delete(f);
        return;
    }
    cJSON_AddStringToObject(f, "stem", out->stem);
    cJSON_AddStringToObject(f, "type", out->label);
    report_u64(f, "tensors", pass->map.n);
    report_u64(f, "tensor_bytes", out->tensor_bytes);
    report_u64(f, "file_bytes", out->file_bytes);
    report_u64(f, "parts", out->n_parts);
    report_u64(f, "fallbacks", out->n_fallback);
}

void gguf_facts(const struct gguf_result *r, struct report *report)
{
    cJSON *g = cJSON_AddObjectToObject(report->facts, "gguf");
    cJSON_AddBoolToObject(g, "strict_parity", r->job->strict_parity);
    report_u64(g, "experts", (uint64_t)r->config.n_routed_experts);
    cJSON_AddStringToObject(g, "size_label", r->passes[0].size_label);
    cJSON *files = cJSON_AddArrayToObject(g, "files");
    for (size_t i = 0; i < r->n_passes && files; i++)
        for (size_t k = 0; k < r->passes[i].n_outputs; k++)
            file_facts(files, &r->passes[i], &r->passes[i].outputs[k]);
    cJSON *sizes = cJSON_AddObjectToObject(g, "rungs");
    for (int i = 0; i < RUNG_COUNT && sizes; i++) {
        cJSON *s = cJSON_AddObjectToObject(sizes, gguf_rung_name(r->sizes[i].rung));
        report_u64(s, "tensor_bytes", r->sizes[i].plain);
        report_u64(s, "family_tensor_bytes", r->sizes[i].family);
    }
}
