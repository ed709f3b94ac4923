/* SPDX-License-Identifier: MIT */
/* The keys of a file: those of the converter, then what the quantizer makes of them. */
#include <string.h>

#include "libprep/model/tokenizer.h"
#include "libprep/release/gguf.h"

/* The reference cuts texts of the quantizer there. */
enum { MAX_TEXT = 127 };

#define MAX_SMALL (UINT64_C(64) << 20)

/* A file of the tokenizer's folder; empty when it is not there. */
static int read_optional(const struct gguf_result *r, const char *name, struct arena *arena,
                         struct span *out, struct prep_error *err)
{
    const struct io *io = r->job->io;
    const struct checkpoint *c = r->pruned.source.ckpt;
    struct io_stat st;
    *out = (struct span){0};
    if (!r->job->tokenizer)
        return checkpoint_file(c, name) < 0 ? 0 : checkpoint_read_file(c, name, arena, out, err);
    const char *path = io_join(arena, r->job->tokenizer, name, err);
    if (!path)
        return -1;
    if (io->stat(io->self, path, &st) < 0)
        return 0;
    return io_read_file(io, path, MAX_SMALL, arena, out, err);
}

static int general_keys(struct gguf_keys *k, const struct gguf_result *r,
                        const struct gguf_pass *pass, struct prep_error *err)
{
    const struct gguf_job *job = r->job;
    const struct gguf_map *m = &pass->map;
    struct gguf_general g = {.metadata_name = job->metadata,
                             .folder = job->names_from_folder ? job->source : NULL,
                             .size_label = pass->size_label,
                             .parameters =
                                 m->n_shared + m->n_expert * (uint64_t)r->config.n_routed_experts};
    const struct checkpoint *c = r->pruned.source.ckpt;
    if (checkpoint_file(c, "generation_config.json") >= 0 &&
        checkpoint_read_file(c, "generation_config.json", k->arena, &g.generation, err))
        return -1;
    if (job->metadata &&
        io_read_file(job->io, job->metadata, MAX_SMALL, k->arena, &g.metadata, err))
        return -1;
    return gguf_general_keys(k, &g, err);
}

/* Is the tokenizer one the format can hold? Its reader knows, and says why not. */
static int judge_tokenizer(const struct gguf_result *r, struct span text, struct report *report,
                           struct prep_error *err)
{
    struct tokenizer *t;
    if (tokenizer_parse(&t, (const char *)text.p, text.n, "tokenizer.json",
                        (uint64_t)r->config.vocab_size, report, err))
        return prep_note(err, "the format holds byte-level BPE only (--tokenizer FOLDER takes "
                              "another tokenizer)");
    tokenizer_free(t);
    return 0;
}

static int tokenizer_keys(struct gguf_keys *k, const struct gguf_result *r, struct report *report,
                          struct prep_error *err)
{
    struct gguf_tokenizer t = {.pre = r->job->pre,
                               .vocab_size = (uint64_t)r->config.vocab_size,
                               .model_config = r->config.text};
    if (read_optional(r, "tokenizer.json", k->arena, &t.tokenizer, err) ||
        read_optional(r, "tokenizer_config.json", k->arena, &t.config, err) ||
        read_optional(r, "chat_template.jinja", k->arena, &t.template_jinja, err) ||
        read_optional(r, "chat_template.json", k->arena, &t.template_json, err))
        return -1;
    if (!t.tokenizer.n)
        return prep_fail_tag(err, PREP_ENOINPUT, "NO_TOKENIZER",
                             "%s: no tokenizer.json; --tokenizer FOLDER takes it from elsewhere",
                             r->job->tokenizer ? r->job->tokenizer : r->job->source);
    return judge_tokenizer(r, t.tokenizer, report, err) || gguf_tokenizer_keys(k, &t, report, err)
               ? -1
               : 0;
}

/* ---- what the quantizer does to the keys ---- */

static int set_cut(struct gguf_keys *k, const char *key, const char *text, struct prep_error *err)
{
    const size_t n = strlen(text);
    return gguf_set_string(k, key, text, n < MAX_TEXT ? n : MAX_TEXT, err);
}

static int imatrix_keys(struct gguf_keys *k, const struct gguf_result *r, struct prep_error *err)
{
    const struct imatrix *m = &r->imatrix;
    if (!r->job->imatrix)
        return 0;
    return set_cut(k, "quantize.imatrix.file", r->job->imatrix, err) ||
                   (m->n_datasets && set_cut(k, "quantize.imatrix.dataset", m->datasets[0], err)) ||
                   gguf_set_u32(k, "quantize.imatrix.entries_count", (uint32_t)m->n, err) ||
                   (m->chunk_count &&
                    gguf_set_u32(k, "quantize.imatrix.chunks_count", m->chunk_count, err))
               ? -1
               : 0;
}

static int provenance_keys(struct gguf_keys *k, const struct gguf_result *r,
                           const struct gguf_output *o, struct prep_error *err)
{
    const struct source *s = &r->pruned.source;
    if (r->job->strict_parity)
        return 0;
    if (set_cut(k, "prep.tool", r->job->tool, err) ||
        set_cut(k, "prep.version", PREP_VERSION, err) || set_cut(k, "prep.type", o->label, err) ||
        set_cut(k, "prep.source.config_sha256", s->config_sha256, err) ||
        set_cut(k, "prep.source.index_sha256", s->index_sha256, err))
        return -1;
    if (s->ckpt->revision && set_cut(k, "prep.source.revision", s->ckpt->revision, err))
        return -1;
    return s->has_map && set_cut(k, "prep.source.keep_map_sha256", s->map_sha256, err) ? -1 : 0;
}

/* What all files of a pass share. */
int gguf_pass_keys(struct gguf_keys *k, const struct gguf_result *r, const struct gguf_pass *pass,
                   struct report *report, struct prep_error *err)
{
    const int converter = pass->order == GGUF_CONVERTER;
    const struct gguf_arch arch = {.with_mtp = pass->mtp != GGUF_MTP_DROP,
                                   .file_type = converter ? 0 : UINT32_MAX};
    return general_keys(k, r, pass, err) || gguf_config_keys(k, &r->config, &arch, err) ||
                   (converter && gguf_set_u32(k, "general.quantization_version", 2, err)) ||
                   tokenizer_keys(k, r, report, err)
               ? -1
               : 0;
}

int gguf_file_keys(struct gguf_keys *k, const struct gguf_result *r, const struct gguf_pass *pass,
                   const struct gguf_output *out, struct prep_error *err)
{
    const uint32_t file_type = gguf_rung_file_type(out->rung);
    if (pass->order == GGUF_CONVERTER) {
        if (gguf_replace_u32(k, "general.file_type", file_type, err))
            return -1;
    } else if (gguf_set_u32(k, "general.quantization_version", 2, err) ||
               gguf_set_u32(k, "general.file_type", file_type, err) || imatrix_keys(k, r, err)) {
        return -1;
    }
    return provenance_keys(k, r, out, err);
}
