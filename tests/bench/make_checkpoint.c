/* SPDX-License-Identifier: MIT */
/*
 * make_checkpoint - write a GLM-shaped BF16 checkpoint of real bytes, and a keep-map for it.
 *
 *   make_checkpoint FOLDER [GIGABYTES [DROP_PERCENT]]
 *
 * Writes FOLDER (new) and FOLDER.keep.json, the short form. Few layers and experts, but tensors
 * of the size they have in a large model: experts of three matrices of 12.6 MB, MTP layer included.
 * The bytes are those of store/synth.h, so they do not compress and are the same every time.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libprep/store/synth.h"
#include "tests/support/synth_model.h"

enum { MOE_LAYERS = 4, COPY_BYTES = 8 << 20 };
#define EXPERT_BYTES (3.0 * 2 * 3072 * 2048)

static const char config_text[] =
    "{\n"
    "  \"architectures\": [\n    \"GlmMoeDsaForCausalLM\"\n  ],\n"
    "  \"dtype\": \"bfloat16\",\n"
    "  \"eos_token_id\": 1,\n"
    "  \"first_k_dense_replace\": 1,\n"
    "  \"hidden_act\": \"silu\",\n"
    "  \"hidden_size\": 3072,\n"
    "  \"index_head_dim\": 128,\n"
    "  \"index_n_heads\": 8,\n"
    "  \"index_topk\": 2048,\n"
    "  \"intermediate_size\": 6144,\n"
    "  \"kv_lora_rank\": 512,\n"
    "  \"max_position_embeddings\": 202752,\n"
    "  \"model_type\": \"glm_moe_dsa\",\n"
    "  \"moe_intermediate_size\": 2048,\n"
    "  \"n_group\": 1,\n"
    "  \"n_routed_experts\": %d,\n"
    "  \"n_shared_experts\": 1,\n"
    "  \"norm_topk_prob\": true,\n"
    "  \"num_attention_heads\": 16,\n"
    "  \"num_experts_per_tok\": 8,\n"
    "  \"num_hidden_layers\": 4,\n"
    "  \"num_key_value_heads\": 16,\n"
    "  \"num_nextn_predict_layers\": 1,\n"
    "  \"q_lora_rank\": 1024,\n"
    "  \"qk_nope_head_dim\": 192,\n"
    "  \"qk_rope_head_dim\": 64,\n"
    "  \"rms_norm_eps\": 1e-05,\n"
    "  \"rope_parameters\": {\n    \"rope_theta\": 1000000,\n    \"rope_type\": \"default\"\n  },\n"
    "  \"routed_scaling_factor\": 2.5,\n"
    "  \"scoring_func\": \"sigmoid\",\n"
    "  \"tie_word_embeddings\": false,\n"
    "  \"topk_group\": 1,\n"
    "  \"topk_method\": \"noaux_tc\",\n"
    "  \"v_head_dim\": 256,\n"
    "  \"vocab_size\": 16384\n"
    "}\n";

static struct prep_error err;

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "make_checkpoint: %s\n", what);
    exit(74);
}

static void must(int rc)
{
    if (rc)
        die(err.msg);
}

static void copy_file(const struct io *io, const char *from, const char *to)
{
    struct io_stat st;
    int in, out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    unsigned char *buf = malloc(COPY_BYTES);
    if (out < 0 || !buf)
        die("cannot create a file");
    must(io_open_read(io, from, &in, &st, &err));
    for (uint64_t at = 0; at < st.size;) {
        size_t n = st.size - at < COPY_BYTES ? (size_t)(st.size - at) : COPY_BYTES;
        must(io_read_exact(io, in, buf, n, at, from, &err));
        must(io_write_exact(&io_posix, out, buf, n, at, to, &err));
        at += n;
    }
    if (fsync(out) || close(out))
        die("cannot write a file");
    io_close_read(io, in);
    free(buf);
}

static void copy_out(const struct synth *store, const char *source, const char *dir)
{
    const struct io *io = synth_io(store);
    struct arena a;
    char **names;
    size_t n;
    arena_init(&a, 0);
    must(io_list_sorted(io, source, &a, &names, &n, &err));
    for (size_t i = 0; i < n; i++)
        copy_file(io, io_join(&a, source, names[i], &err), io_join(&a, dir, names[i], &err));
    arena_fini(&a);
}

/* Drop experts here and there, as a real choice does. The MTP layer follows by proxy. */
static void write_keep_map(const char *dir, int n_experts, int n_drop)
{
    char path[4096];
    snprintf(path, sizeof path, "%s.keep.json", dir);
    FILE *f = fopen(path, "w");
    if (!f)
        die("cannot create the keep-map");
    for (int layer = 1; layer < MOE_LAYERS; layer++) {
        fprintf(f, "%s\"%d\":[", layer == 1 ? "{" : ",\n", layer);
        for (int e = 0, dropped = 0, comma = 0; e < n_experts; e++) {
            if (dropped * n_experts < e * n_drop + layer && dropped < n_drop) {
                dropped++;
                continue;
            }
            fprintf(f, "%s%d", comma++ ? "," : "", e);
        }
        fputc(']', f);
    }
    fputs("}\n", f);
    if (fclose(f))
        die("cannot write the keep-map");
}

int main(int argc, char **argv)
{
    double gigabytes = argc > 2 ? atof(argv[2]) : 5;
    int percent = argc > 3 ? atoi(argv[3]) : 25;
    int n_experts = (int)(gigabytes * 1e9 / (MOE_LAYERS * EXPERT_BYTES)) / 4 * 4;
    if (argc < 2 || argc > 4 || n_experts < 12 || n_experts > 4096 || percent < 1 || percent > 50) {
        fputs("usage: make_checkpoint FOLDER [GIGABYTES [DROP_PERCENT]]\n", stderr);
        return 64;
    }
    char text[4096];
    struct config config;
    struct synth *store = NULL;
    int n = snprintf(text, sizeof text, config_text, n_experts);
    must(config_parse(&config, text, (size_t)n, "config.json", NULL, &err));
    must(synth_model_new(&store, "/synth/source", &config, UINT64_C(1500000000), &err));
    if (mkdir(argv[1], 0777))
        die("cannot create the folder");
    copy_out(store, "/synth/source", argv[1]);
    write_keep_map(argv[1], n_experts, n_experts * percent / 100);
    config_free(&config);
    synth_free(store);
    return 0;
}
