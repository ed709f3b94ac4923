/* SPDX-License-Identifier: MIT */
/* prep-manifest.json of a finished run; docs/formats/manifest.md. */
#include <inttypes.h>

#include "libprep/base/json.h"
#include "libprep/store/exec_engine.h"

struct result {
    const struct plan *plan;
    const struct exec_options *opt;
    const struct journal *journal;
};

static void manifest_sources(struct json_out *o, const struct plan *plan)
{
    json_out_key(o, "sources");
    json_out_open(o, '[');
    for (size_t i = 0; i < plan->n_sources; i++) {
        const struct source_file *f = plan->sources[i].file;
        char hex[XXH128_HEX];
        json_out_open(o, '{');
        json_out_key(o, "name");
        json_out_string(o, f->name);
        json_out_key(o, "bytes");
        json_out_u64(o, f->bytes);
        if (f->header_hi | f->header_lo) {
            hash128_to_hex((struct hash128){f->header_hi, f->header_lo}, hex);
            json_out_key(o, "header_xxh3_128");
            json_out_string(o, hex);
        }
        json_out_close(o);
    }
    json_out_close(o);
}

static void manifest_files(struct json_out *o, const struct result *r)
{
    json_out_key(o, "files");
    json_out_open(o, '[');
    for (size_t i = 0; i < r->plan->n_files; i++) {
        char hex[SHA256_HEX];
        json_out_open(o, '{');
        json_out_key(o, "name");
        json_out_string(o, r->plan->files[i].name);
        json_out_key(o, "bytes");
        json_out_u64(o, r->plan->files[i].bytes);
        if (!r->opt->no_hashes) {
            sha256_to_hex(r->journal->files[i].sha256, hex);
            json_out_key(o, "sha256");
            json_out_string(o, hex);
        }
        json_out_close(o);
    }
    json_out_close(o);
}

static void manifest_tensors(struct json_out *o, const struct result *r)
{
    json_out_key(o, "tensors");
    json_out_open(o, '{');
    for (size_t i = 0; i < r->plan->n_tensors; i++) {
        const struct plan_tensor *t = &r->plan->tensors[i];
        char hex[XXH128_HEX];
        int indent = o->indent;
        json_out_key(o, t->name);
        o->indent = 0; /* one line per tensor */
        json_out_open(o, '{');
        json_out_key(o, "bytes");
        json_out_u64(o, t->bytes);
        if (!r->opt->no_hashes) {
            hash128_to_hex(r->journal->tensors[i], hex);
            json_out_key(o, "xxh3_128");
            json_out_string(o, hex);
        }
        if (t->origin) {
            json_out_key(o, "copy_of");
            json_out_string(o, t->origin);
        }
        json_out_close(o);
        o->indent = indent;
    }
    json_out_close(o);
}

/* What the plan has to say, steps' notes included. */
static int manifest_run(struct json_out *o, const struct result *r, struct prep_error *err)
{
    if (!r->plan->manifest)
        return 0;
    for (uint64_t i = 0; i < r->journal->note_bytes / 8; i++)
        if (!r->journal->noted[i])
            return prep_fail(err, PREP_EBUG,
                             "a step has left no note, byte %" PRIu64 " of %" PRIu64, 8 * i,
                             r->journal->note_bytes);
    json_out_key(o, "run");
    json_out_open(o, '{');
    int rc = r->plan->manifest(r->plan->manifest_arg, r->journal->notes, o, err);
    json_out_close(o);
    return rc;
}

int exec_write_manifest(const struct plan *plan, const struct exec_options *opt,
                        const struct journal *journal, struct prep_error *err)
{
    const struct result run = {plan, opt, journal}, *r = &run;
    struct json_out o;
    struct span text;
    char path[EXEC_PATH_BYTES];
    json_out_init(&o, 2);
    json_out_open(&o, '{');
    json_out_key(&o, "format");
    json_out_string(&o, "prep-manifest");
    json_out_key(&o, "version");
    json_out_i64(&o, 1);
    int rc = manifest_run(&o, r, err);
    manifest_sources(&o, r->plan);
    manifest_files(&o, r);
    manifest_tensors(&o, r);
    json_out_close(&o);
    rc = rc || json_out_finish(&o, &text, err) ||
         exec_path(path, sizeof path, r->opt->dir, EXEC_MANIFEST, "", err) ||
         io_write_file(r->opt->io, path, text.p, text.n, err);
    json_out_free(&o);
    return rc ? -1 : 0;
}
