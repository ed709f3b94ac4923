/* SPDX-License-Identifier: MIT */
#include "libprep/release/gguf_check.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/ggml/ggml.h"
#include "libprep/base/json.h"
#include "libprep/base/parallel.h"
#include "libprep/model/gguf_names.h"

enum { READ_BYTES = 4 << 20, SHOWN_ITEMS = 4 };

struct checking {
    struct findings *out;
    const struct inspected *it;
    const struct gguf_set *set;
    const struct check_options *opt;
};

/* ---- counts ---- */

static int key_of_arch(const struct gguf_set *s, const char *name, uint64_t *v)
{
    char key[160];
    const struct gguf_kv *arch = gguf_set_key(s, "general.architecture");
    if (!arch || arch->type != GGUF_STRING || arch->bytes.n > 64)
        return -1;
    snprintf(key, sizeof key, "%s.%s", (const char *)arch->bytes.p, name);
    return gguf_as_u64(gguf_set_key(s, key), v);
}

static void check_counts(struct checking *c)
{
    uint64_t blocks, experts;
    int most = -1;
    const int has_experts = key_of_arch(c->set, "expert_count", &experts) == 0;
    for (size_t p = 0; p < c->set->n_parts; p++)
        for (size_t i = 0; i < c->set->parts[p].n_tensors; i++) {
            const struct gguf_tensor_info *t = &c->set->parts[p].tensors[i];
            const int layer = gguf_name_layer(t->name);
            most = layer > most ? layer : most;
            if (has_experts && strstr(t->name, "_exps.") && t->dims[2] != experts)
                findings_add(c->out, FINDING_ERROR, "GGUF_EXPERTS", t->name,
                             "%" PRIu64 " experts, expert_count is %" PRIu64, t->dims[2], experts);
        }
    if (key_of_arch(c->set, "block_count", &blocks) == 0 && most >= 0 &&
        (uint64_t)most + 1 > blocks)
        findings_add(c->out, FINDING_ERROR, "GGUF_BLOCKS", c->it->path,
                     "there is a layer %d, block_count is %" PRIu64, most, blocks);
}

static void check_lints(struct checking *c)
{
    static const char *const names[] = {"UTF8", "RANK_0", "LAST_PADDING", "TRAILING_BYTES"};
    static const char *const texts[] = {"a string value is not UTF-8", "a tensor has no dimension",
                                        "the last tensor's padding is left out",
                                        "there are bytes behind the data"};
    for (size_t p = 0; p < c->set->n_parts; p++)
        for (unsigned k = 0; k < 4; k++)
            if (c->set->parts[p].lint & 1u << k)
                findings_add(c->out, FINDING_WARNING, names[k], c->set->files[p].name, "%s",
                             texts[k]);
}

/* ---- the manifest ---- */

static int check_manifest(struct checking *c, struct prep_error *err)
{
    const struct gguf_set *s = c->set;
    if (!c->it->has_manifest) {
        if (c->opt->read_data)
            findings_add(c->out, FINDING_WARNING, "NO_MANIFEST", c->it->path,
                         "no prep-manifest.json beside it: nothing to hold the bytes against");
        return 0;
    }
    struct file_hash *hashes = calloc(s->n_parts, sizeof *hashes);
    if (!hashes)
        return prep_fail(err, PREP_ENOMEM, "out of memory");
    for (size_t i = 0; i < s->n_parts; i++) {
        const struct manifest_file *f = manifest_find_file(&c->it->manifest, s->files[i].name);
        if (!f)
            findings_add(c->out, FINDING_ERROR, "MANIFEST_FILE", s->files[i].name,
                         "the manifest does not name it");
        else if (f->bytes != s->files[i].bytes)
            findings_add(c->out, FINDING_ERROR, "MANIFEST_SIZE", f->name,
                         "has %" PRIu64 " bytes, the manifest says %" PRIu64, s->files[i].bytes,
                         f->bytes);
        hashes[i].wanted = c->opt->read_data && f && f->sha256;
    }
    int rc = c->opt->read_data ? verify_files(hashes, NULL, &s->source, &c->opt->verify, err) : 0;
    for (size_t i = 0; i < s->n_parts && !rc; i++) {
        char hex[SHA256_HEX];
        if (!hashes[i].wanted)
            continue;
        sha256_to_hex(hashes[i].sha256, hex);
        const struct manifest_file *f = manifest_find_file(&c->it->manifest, s->files[i].name);
        if (strcmp(hex, f->sha256) != 0)
            findings_add(c->out, FINDING_ERROR, "FILE_SHA256", f->name, "is %s, want %s", hex,
                         f->sha256);
    }
    free(hashes);
    return rc;
}

/* ---- values ---- */

static int f32_bad(const unsigned char *p, size_t n, size_t *at)
{
    for (size_t i = 0; i < n; i++)
        if ((p[4 * i + 3] & 0x7f) == 0x7f && p[4 * i + 2] & 0x80) {
            *at = i;
            return 1;
        }
    return 0;
}

/* Where the first value or scale is that is no number; n when there is none. */
static size_t first_bad(uint32_t type, const unsigned char *p, size_t n_blocks)
{
    size_t at = n_blocks;
    if (type == GGML_F32)
        return f32_bad(p, n_blocks, &at) ? at : n_blocks;
    const struct ggml_codec *codec = ggml_codec(ISA_AVX512, type);
    return codec ? ggml_first_bad(codec, p, n_blocks) : n_blocks;
}

static int read_values(struct checking *c, size_t part, int fd, const struct gguf_tensor_info *t,
                       unsigned char *buf, struct prep_error *err)
{
    const struct ggml_type_info *info = ggml_type_info(t->type);
    const size_t blocks = READ_BYTES / info->block_bytes;
    for (uint64_t at = 0; at < t->bytes;) {
        uint64_t n = t->bytes - at < blocks * info->block_bytes
                         ? t->bytes - at
                         : (uint64_t)blocks * info->block_bytes;
        if (c->opt->verify.stop && *c->opt->verify.stop)
            return prep_fail(err, PREP_ESTOPPED, "stopped");
        if (io_read_exact(c->set->io, fd, buf, (size_t)n, t->offset + at, c->set->files[part].path,
                          err))
            return -1;
        const size_t k = (size_t)n / info->block_bytes, bad = first_bad(t->type, buf, k);
        if (bad < k) {
            const uint64_t element = (at / info->block_bytes + bad) * info->block;
            findings_add(c->out, FINDING_ERROR, "NONFINITE", t->name,
                         "element %" PRIu64 " (row %" PRIu64 ", column %" PRIu64
                         ") or the scale of its block (%s) is no finite number",
                         element, element / t->dims[0], element % t->dims[0], info->name);
            return 0;
        }
        at += n;
    }
    return 0;
}

static int check_values(struct checking *c, struct prep_error *err)
{
    unsigned char *buf = malloc(READ_BYTES);
    int rc = buf ? 0 : prep_fail(err, PREP_ENOMEM, "out of memory");
    for (size_t p = 0; p < c->set->n_parts && !rc; p++) {
        int fd = -1;
        rc = checkpoint_reopen(&c->set->source, &c->set->files[p], &fd, err);
        for (size_t i = 0; i < c->set->parts[p].n_tensors && !rc; i++)
            rc = read_values(c, p, fd, &c->set->parts[p].tensors[i], buf, err);
        io_close_read(c->set->io, fd);
    }
    free(buf);
    return rc;
}

int gguf_check(struct findings *out, const struct inspected *it, const struct check_options *opt,
               struct prep_error *err)
{
    struct checking c = {.out = out, .it = it, .set = &it->gguf, .opt = opt};
    check_lints(&c);
    check_counts(&c);
    if (it->manifest_fault.code != PREP_OK)
        findings_add(out, FINDING_ERROR, it->manifest_fault.tag, it->path, "%s",
                     it->manifest_fault.msg);
    return check_manifest(&c, err) || (opt->read_data && check_values(&c, err)) ? -1 : 0;
}

/* ---- values of keys ---- */

static const char *scalar_text(unsigned type, struct span s, struct arena *arena,
                               struct prep_error *err)
{
    const struct gguf_kv kv = {.type = (uint8_t)type, .bytes = s};
    double d;
    int b;
    if (type == GGUF_STRING)
        return arena_printf(arena, err, "%.*s%s", s.n > 60 ? 60 : (int)s.n, (const char *)s.p,
                            s.n > 60 ? "..." : "");
    if (gguf_as_bool(&kv, &b) == 0)
        return b ? "true" : "false";
    char buf[32] = "?";
    if (gguf_as_f64(&kv, &d) == 0 && d - d == 0) {
        if (type == GGUF_F32 || type == GGUF_F64)
            snprintf(buf, sizeof buf, "%.9g", d);
        else
            snprintf(buf, sizeof buf, "%.0f", d);
    }
    return arena_strndup(arena, buf, strlen(buf), err);
}

const char *gguf_value_text(const struct gguf_kv *kv, struct arena *arena, struct prep_error *err)
{
    if (kv->type != GGUF_ARRAY)
        return scalar_text(kv->type, kv->bytes, arena, err);
    size_t at = 0;
    const char *text =
        arena_printf(arena, err, "[%" PRIu64 " x %s", kv->count, gguf_value_name(kv->element));
    for (uint64_t i = 0; i < kv->count && i < SHOWN_ITEMS && text; i++) {
        const struct span s = gguf_element(kv, &at);
        const char *item = scalar_text(kv->element, s, arena, err);
        text = item ? arena_printf(arena, err, "%s%s%s", text, i ? ", " : ": ", item) : NULL;
    }
    return text ? arena_printf(arena, err, "%s%s]", text, kv->count > SHOWN_ITEMS ? ", ..." : "")
                : NULL;
}
