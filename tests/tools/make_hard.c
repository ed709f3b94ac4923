/* SPDX-License-Identifier: MIT */
/*
 * make_hard - rewrite a BF16 GLM checkpoint so that every logit stays and quantizing gets harder.
 *
 *   make_hard SOURCE OUTPUT --strength 0.5|1.0 [--seed N]
 *
 * Channels are scaled by powers of two: the tensor that produces a channel (the anchor) is divided
 * along its rows, those that read it (the users) are multiplied along their columns, so everything
 * cancels exactly. Only exponent fields change, and OUTPUT (which must not exist) depends on
 * nothing but the arguments. Prints the SHA-256 of each shard.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/base/hash.h"
#include "libprep/model/config.h"
#include "libprep/store/checkpoint.h"

/*
 * Of 65536 draws, how many give the exponents -m .. m: a rounded normal distribution of standard
 * deviation `strength`, 65536 * (Phi((k + 0.5) / strength) - Phi((k - 0.5) / strength)) with the
 * tails folded into the ends.
 */
struct strength {
    const char *name;
    int m;
    uint32_t counts[9];
};

static const struct strength strengths[] = {
    {"0.5", 2, {88, 10309, 44742, 10309, 88}},
    {"1.0", 4, {15, 392, 3971, 15842, 25096, 15842, 3971, 392, 15}},
};

enum { SPIKE = 655, SPIKE_EXPONENT = 3 }; /* of 65536 channels, one percent get three more */

struct hard {
    const struct checkpoint *ckpt;
    const struct config *config;
    const struct strength *strength;
    unsigned long long seed;
    /* Per tensor of the checkpoint, NULL where nothing changes: the exponent of element (r, c)
     * grows by cols[c] - rows[r]. */
    int **rows, **cols;
    struct arena arena;
};

/* n exponents of the channel set named anchor: FNV-1a seeds splitmix64. */
static int *draw(struct hard *h, const char *anchor, uint64_t n, struct prep_error *err)
{
    const struct strength *s = h->strength;
    int *out = arena_calloc(&h->arena, n, sizeof *out, err);
    char *text = arena_printf(&h->arena, err, "%llu:%s", h->seed, anchor);
    if (!out || !text)
        return NULL;
    uint64_t state = 0xCBF29CE484222325u;
    for (const char *c = text; *c; c++)
        state = (state ^ (unsigned char)*c) * 0x100000001B3u;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t z = state += 0x9E3779B97F4A7C15u;
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
        z = (z ^ z >> 27) * 0x94D049BB133111EBu;
        z ^= z >> 31;
        uint32_t top = (uint32_t)(z >> 48);
        int k = 0;
        while (top >= s->counts[k])
            top -= s->counts[k++];
        out[i] = k - s->m + ((z & 0xFFFF) < SPIKE ? SPIKE_EXPONENT : 0);
    }
    return out;
}

/* Index of a BF16 tensor of that many dimensions. */
static int find(const struct hard *h, uint32_t *index, const char *name, int n_dims,
                struct prep_error *err)
{
    const struct checkpoint_tensor *t = checkpoint_find(h->ckpt, name);
    if (!t)
        return prep_fail(err, PREP_EDATA, "%s: no tensor %s", h->ckpt->dir, name);
    if (t->info.n_dims != n_dims || t->info.dtype != DTYPE_BF16)
        return prep_fail(err, PREP_EDATA, "%s: %s has %d dimensions of %s, want %d of BF16",
                         h->ckpt->dir, name, t->info.n_dims, dtype_name((enum dtype)t->info.dtype),
                         n_dims);
    *index = (uint32_t)(t - h->ckpt->tensors);
    return 0;
}

/* Columns [first, first + n) of a matrix read the channels k[0..n). */
static int multiply(struct hard *h, const char *user, uint64_t first, const int *k, uint64_t n,
                    struct prep_error *err)
{
    uint32_t u;
    if (find(h, &u, user, 2, err))
        return -1;
    const uint64_t columns = h->ckpt->tensors[u].info.shape[1];
    if (first > columns || n > columns - first)
        return prep_fail(err, PREP_EDATA, "%s: %s has %llu columns, want %llu", h->ckpt->dir, user,
                         (unsigned long long)columns, (unsigned long long)(first + n));
    if (!h->cols[u])
        h->cols[u] = arena_calloc(&h->arena, columns, sizeof(int), err);
    if (!h->cols[u])
        return -1;
    for (uint64_t i = 0; i < n; i++)
        h->cols[u][first + i] += k[i];
    return 0;
}

/* Divide the rows of anchor by a fresh channel set, which `users` read from column `first` on. */
static int link_names(struct hard *h, const char *anchor, int n_dims, const char *const *users,
                      size_t n_users, uint64_t first, struct prep_error *err)
{
    uint32_t a;
    if (find(h, &a, anchor, n_dims, err))
        return -1;
    const uint64_t n = h->ckpt->tensors[a].info.shape[0];
    h->rows[a] = draw(h, anchor, n, err);
    if (!h->rows[a])
        return -1;
    for (size_t i = 0; i < n_users; i++)
        if (multiply(h, users[i], first, h->rows[a], n, err))
            return -1;
    return 0;
}

/* The same with names inside a layer: "model.layers.L.NAME.weight". */
static int link_in_layer(struct hard *h, int layer, const char *anchor, const char *const *users,
                         size_t n_users, uint64_t first, struct prep_error *err)
{
    const char *names[5];
    for (size_t i = 0; i <= n_users; i++) {
        names[i] = arena_printf(&h->arena, err, "model.layers.%d.%s.weight", layer,
                                i ? users[i - 1] : anchor);
        if (!names[i])
            return -1;
    }
    return link_names(h, names[0], 1, names + 1, n_users, first, err);
}

static int ends_with(const char *s, const char *tail)
{
    size_t n = strlen(s), m = strlen(tail);
    return n >= m && strcmp(s + n - m, tail) == 0;
}

static int starts_with(const char *s, const char *head)
{
    return strncmp(s, head, strlen(head)) == 0;
}

/* Everything below mlp. reads the second norm but the down projections, which read the ups. */
static int scale_mlp(struct hard *h, int layer, struct prep_error *err)
{
    static const char up[] = "up_proj.weight";
    const struct checkpoint *ckpt = h->ckpt;
    char *norm =
        arena_printf(&h->arena, err, "model.layers.%d.post_attention_layernorm.weight", layer);
    char *mlp = arena_printf(&h->arena, err, "model.layers.%d.mlp.", layer);
    const char **users = arena_calloc(&h->arena, ckpt->n_tensors, sizeof *users, err);
    size_t n_users = 0;
    if (!norm || !mlp || !users)
        return -1;
    for (size_t i = 0; i < ckpt->n_tensors; i++) {
        const char *name = ckpt->tensors[i].info.name;
        if (!starts_with(name, mlp))
            continue;
        const int is_up = ends_with(name, ".up_proj.weight");
        if (is_up || ends_with(name, ".gate_proj.weight") || ends_with(name, "mlp.gate.weight"))
            users[n_users++] = name;
        if (!is_up)
            continue;
        const char *down = arena_printf(&h->arena, err, "%.*sdown_proj.weight",
                                        (int)(strlen(name) - strlen(up)), name);
        if (!down || link_names(h, name, 2, &down, 1, 0, err))
            return -1;
    }
    return link_names(h, norm, 1, users, n_users, 0, err);
}

/* The value rows of kv_b_proj: row h * (nope + v) + nope + j makes column h * v + j of o_proj. */
static int scale_values(struct hard *h, int layer, struct prep_error *err)
{
    const struct config *c = h->config;
    const uint64_t heads = (uint64_t)c->num_attention_heads;
    const uint64_t nope = (uint64_t)c->qk_nope_head_dim, v = (uint64_t)c->v_head_dim;
    char *anchor =
        arena_printf(&h->arena, err, "model.layers.%d.self_attn.kv_b_proj.weight", layer);
    char *user = arena_printf(&h->arena, err, "model.layers.%d.self_attn.o_proj.weight", layer);
    uint32_t a;
    if (!anchor || !user || find(h, &a, anchor, 2, err))
        return -1;
    if (h->ckpt->tensors[a].info.shape[0] != heads * (nope + v))
        return prep_fail(err, PREP_EDATA, "%s: %s has %llu rows, want %llu", h->ckpt->dir, anchor,
                         (unsigned long long)h->ckpt->tensors[a].info.shape[0],
                         (unsigned long long)(heads * (nope + v)));
    const int *k = draw(h, anchor, heads * v, err);
    h->rows[a] = arena_calloc(&h->arena, heads * (nope + v), sizeof(int), err);
    if (!k || !h->rows[a])
        return -1;
    for (uint64_t i = 0; i < heads * v; i++)
        h->rows[a][i / v * (nope + v) + nope + i % v] = k[i];
    return multiply(h, user, 0, k, heads * v, err);
}

static int scale_layer(struct hard *h, int layer, struct prep_error *err)
{
    static const char *const input[] = {"self_attn.q_a_proj", "self_attn.kv_a_proj_with_mqa",
                                        "self_attn.indexer.wk", "self_attn.indexer.weights_proj"};
    static const char *const query[] = {"self_attn.q_b_proj", "self_attn.indexer.wq_b"};
    static const char *const key_value[] = {"self_attn.kv_b_proj"};
    static const char *const eh[] = {"eh_proj"};
    if (link_in_layer(h, layer, "input_layernorm", input, 4, 0, err) ||
        link_in_layer(h, layer, "self_attn.q_a_layernorm", query, 2, 0, err) ||
        link_in_layer(h, layer, "self_attn.kv_a_layernorm", key_value, 1, 0, err) ||
        scale_values(h, layer, err) || scale_mlp(h, layer, err))
        return -1;
    if (layer < h->config->num_hidden_layers)
        return 0;
    if (link_in_layer(h, layer, "enorm", eh, 1, 0, err))
        return -1;
    return link_in_layer(h, layer, "hnorm", eh, 1, (uint64_t)h->config->hidden_size, err);
}

/* Add the exponents to one tensor's bytes in memory. */
static int scale_tensor(const struct hard *h, uint32_t index, unsigned char *p,
                        struct prep_error *err)
{
    const struct tensor_info *t = &h->ckpt->tensors[index].info;
    const int *rows = h->rows[index], *cols = h->cols[index];
    const uint64_t n_cols = t->n_dims == 2 ? t->shape[1] : 1;
    for (uint64_t i = 0; i < t->bytes / 2; i++) {
        unsigned bits = load_le16(p + 2 * i);
        if ((bits & 0x7FFF) == 0)
            continue;
        int e = (int)(bits >> 7 & 255);
        int to = e + (cols ? cols[i % n_cols] : 0) - (rows ? rows[i / n_cols] : 0);
        if (e == 0 || to < 1 || to > 254)
            return prep_fail(err, PREP_EDATA, "%s: value %llu is 0x%04x, not exactly scalable",
                             t->name, (unsigned long long)i, bits);
        bits = (bits & 0x807F) | (unsigned)to << 7;
        p[2 * i] = (unsigned char)bits;
        p[2 * i + 1] = (unsigned char)(bits >> 8);
    }
    return 0;
}

/* One file of the source, rescaled where it is a shard. */
static int write_file(struct hard *h, uint32_t number, const char *out, struct prep_error *err)
{
    const struct checkpoint *ckpt = h->ckpt;
    const struct source_file *f = &ckpt->files[number];
    struct arena a;
    int fd = -1, rc = -1;
    arena_init(&a, 0);
    char *path = io_join(&a, out, f->name, err);
    unsigned char *bytes = arena_alloc(&a, f->bytes, err);
    if (!path || !bytes || checkpoint_reopen(ckpt, f, &fd, err) ||
        io_read_exact(ckpt->io, fd, bytes, f->bytes, 0, f->path, err))
        goto out;
    for (uint32_t i = 0; i < ckpt->n_tensors; i++)
        if (ckpt->tensors[i].file == number && (h->rows[i] || h->cols[i]) &&
            scale_tensor(h, i, bytes + ckpt->tensors[i].info.offset, err))
            goto out;
    if (io_write_file(&io_posix, path, bytes, f->bytes, err))
        goto out;
    if (number < ckpt->n_shards) {
        char hex[SHA256_HEX];
        sha256_hex(bytes, f->bytes, hex);
        printf("%s %s\n", hex, f->name);
    }
    rc = 0;
out:
    io_close_read(ckpt->io, fd);
    arena_fini(&a);
    return rc;
}

static int make(struct hard *h, const char *out, struct prep_error *err)
{
    const struct checkpoint *ckpt = h->ckpt;
    h->rows = arena_calloc(&h->arena, ckpt->n_tensors, sizeof *h->rows, err);
    h->cols = arena_calloc(&h->arena, ckpt->n_tensors, sizeof *h->cols, err);
    if (!h->rows || !h->cols)
        return -1;
    for (int layer = 0; layer < h->config->n_layers; layer++)
        if (scale_layer(h, layer, err))
            return -1;
    int code = io_posix.mkdir(NULL, out, 0777);
    if (code < 0)
        return io_fail_create(err, -code, out, "make folder");
    for (uint32_t i = 0; i < ckpt->n_files; i++) {
        /* The README tells about the source. */
        if (strcmp(ckpt->files[i].name, "README.md") != 0 && write_file(h, i, out, err))
            return -1;
    }
    return 0;
}

static int run(struct hard *h, const char *source, const char *out, struct prep_error *err)
{
    struct checkpoint *ckpt = NULL;
    struct config config = {0};
    int rc = -1;
    arena_init(&h->arena, 0);
    if (checkpoint_open(&ckpt, &io_posix, source, NULL, err) ||
        config_load(&config, &io_posix, source, NULL, err))
        goto out;
    h->ckpt = ckpt;
    h->config = &config;
    rc = make(h, out, err);
out:
    config_free(&config);
    checkpoint_close(ckpt);
    arena_fini(&h->arena);
    return rc;
}

static int parse(struct hard *h, int argc, char **argv)
{
    if (argc != 5 && argc != 7)
        return -1;
    for (int i = 3; i < argc; i += 2) {
        if (strcmp(argv[i], "--strength") == 0) {
            for (size_t k = 0; k < sizeof strengths / sizeof strengths[0]; k++)
                if (strcmp(argv[i + 1], strengths[k].name) == 0)
                    h->strength = &strengths[k];
        } else if (strcmp(argv[i], "--seed") == 0) {
            char *end;
            errno = 0;
            h->seed = strtoull(argv[i + 1], &end, 10);
            if (errno || *end || argv[i + 1][0] < '0' || argv[i + 1][0] > '9')
                return -1;
        } else {
            return -1;
        }
    }
    return h->strength ? 0 : -1;
}

int main(int argc, char **argv)
{
    struct hard h = {.seed = 1};
    struct prep_error err = PREP_ERROR_INIT;
    if (parse(&h, argc, argv)) {
        fprintf(stderr, "usage: make_hard SOURCE OUTPUT --strength 0.5|1.0 [--seed N]\n");
        return 64;
    }
    if (run(&h, argv[1], argv[2], &err)) {
        fprintf(stderr, "make_hard: %s%s%s\n", err.tag, *err.tag ? ": " : "", err.msg);
        return prep_exit_code(err.code);
    }
    return 0;
}
