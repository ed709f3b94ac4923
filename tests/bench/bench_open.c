/* SPDX-License-Identifier: MIT */
/*
 * bench_open - how long it takes to open a GLM-5.1-shaped checkpoint.
 *
 *   bench_open [-n REPEATS] [-e EXPERTS] [-k FOLDER] [-j CPUS]
 *
 * Makes an index and header-only shards (sparse: no disk is used), opens them REPEATS times and
 * prints the median. 256 experts make 59,870 tensors in 282 shards; 1024 make 234,974. With -k
 * the checkpoint is made in FOLDER and stays there for json_peer.py.
 */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "libprep/base/json.h"
#include "libprep/store/checkpoint.h"

enum { N_SHARDS = 282, N_LAYERS = 78, N_DENSE = 3 };

struct maker {
    struct arena arena;
    struct tensor_info *t;
    size_t n, cap;
    struct prep_error err;
};

static void die(const char *what)
{
    fprintf(stderr, "bench_open: %s\n", what);
    exit(70);
}

static void add(struct maker *m, const char *name, enum dtype dtype, uint64_t rows, uint64_t cols)
{
    if (prep_grow(&m->t, &m->cap, m->n, sizeof *m->t, &m->err))
        die(m->err.msg);
    struct tensor_info *t = &m->t[m->n++];
    *t = (struct tensor_info){.name = name, .dtype = (uint8_t)dtype, .n_dims = cols ? 2 : 1};
    t->shape[0] = rows;
    t->shape[1] = cols;
    if (!name || tensor_bytes(dtype, t->shape, t->n_dims, &t->bytes))
        die("bad shape");
}

static void add_mlp(struct maker *m, const char *prefix, uint64_t width)
{
    static const char *const parts[] = {"gate_proj", "up_proj", "down_proj"};
    for (int i = 0; i < 3; i++) {
        const char *name = arena_printf(&m->arena, &m->err, "%s%s.weight", prefix, parts[i]);
        add(m, name, DTYPE_BF16, i < 2 ? width : 6144, i < 2 ? 6144 : width);
    }
}

static void add_layer(struct maker *m, int layer, int experts)
{
    static const struct {
        const char *name;
        uint64_t rows, cols;
    } common[] = {
        {"input_layernorm.weight", 6144, 0},
        {"post_attention_layernorm.weight", 6144, 0},
        {"self_attn.q_a_proj.weight", 2048, 6144},
        {"self_attn.q_a_layernorm.weight", 2048, 0},
        {"self_attn.q_b_proj.weight", 16384, 2048},
        {"self_attn.kv_a_proj_with_mqa.weight", 576, 6144},
        {"self_attn.kv_a_layernorm.weight", 512, 0},
        {"self_attn.kv_b_proj.weight", 28672, 512},
        {"self_attn.o_proj.weight", 6144, 16384},
        {"self_attn.indexer.wq_b.weight", 4096, 2048},
        {"self_attn.indexer.wk.weight", 128, 6144},
        {"self_attn.indexer.k_norm.weight", 128, 0},
        {"self_attn.indexer.k_norm.bias", 128, 0},
        {"self_attn.indexer.weights_proj.weight", 32, 6144},
        {"enorm.weight", 6144, 0}, /* from here on the MTP layer only */
        {"hnorm.weight", 6144, 0},
        {"eh_proj.weight", 6144, 12288},
        {"shared_head.norm.weight", 6144, 0},
    };
    size_t n = sizeof common / sizeof *common - (layer < N_LAYERS ? 4 : 0);
    const char *p = arena_printf(&m->arena, &m->err, "model.layers.%d.", layer);
    for (size_t i = 0; i < n; i++)
        add(m, arena_printf(&m->arena, &m->err, "%s%s", p, common[i].name), DTYPE_BF16,
            common[i].rows, common[i].cols);
    if (layer < N_DENSE) {
        add_mlp(m, arena_printf(&m->arena, &m->err, "%smlp.", p), 12288);
        return;
    }
    add(m, arena_printf(&m->arena, &m->err, "%smlp.gate.weight", p), DTYPE_BF16, (uint64_t)experts,
        6144);
    add(m, arena_printf(&m->arena, &m->err, "%smlp.gate.e_score_correction_bias", p), DTYPE_F32,
        (uint64_t)experts, 0);
    for (int e = 0; e < experts; e++)
        add_mlp(m, arena_printf(&m->arena, &m->err, "%smlp.experts.%d.", p, e), 2048);
    add_mlp(m, arena_printf(&m->arena, &m->err, "%smlp.shared_experts.", p), 2048);
}

static void make_tensors(struct maker *m, int experts)
{
    add(m, "model.embed_tokens.weight", DTYPE_BF16, 154880, 6144);
    for (int layer = 0; layer <= N_LAYERS; layer++)
        add_layer(m, layer, experts);
    add(m, "model.norm.weight", DTYPE_BF16, 6144, 0);
    add(m, "lm_head.weight", DTYPE_BF16, 154880, 6144);
}

/* As the usual writers do: by descending element size, then by name. */
static int by_dtype(const void *a, const void *b)
{
    const struct tensor_info *x = a, *y = b;
    return x->dtype != y->dtype ? x->dtype - y->dtype : strcmp(x->name, y->name);
}

struct entry {
    const char *name;
    int shard;
};

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

static void write_shard(struct maker *m, const char *path, struct tensor_info *t, size_t n)
{
    static const struct metadata_pair pt = {"format", "pt"};
    struct span header;
    qsort(t, n, sizeof *t, by_dtype);
    if (safetensors_layout(t, n, &pt, 1, &m->arena, &header, &m->err))
        die(m->err.msg);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    uint64_t bytes = n ? t[n - 1].offset + t[n - 1].bytes : header.n;
    if (fd < 0 || write(fd, header.p, header.n) != (ssize_t)header.n ||
        ftruncate(fd, (off_t)bytes) || close(fd))
        die("cannot write a shard");
}

static void write_index(struct maker *m, const char *path, struct entry *e, uint64_t total)
{
    struct json_out o;
    struct span text;
    char shard[64];
    qsort(e, m->n, sizeof *e, by_name);
    json_out_init(&o, 2);
    json_out_open(&o, '{');
    json_out_key(&o, "metadata");
    json_out_open(&o, '{');
    json_out_key(&o, "total_size");
    json_out_u64(&o, total);
    json_out_close(&o);
    json_out_key(&o, "weight_map");
    json_out_open(&o, '{');
    for (size_t i = 0; i < m->n; i++) {
        snprintf(shard, sizeof shard, "model-%05d-of-%05d.safetensors", e[i].shard + 1, N_SHARDS);
        json_out_key(&o, e[i].name);
        json_out_string(&o, shard);
    }
    json_out_close(&o);
    json_out_close(&o);
    if (json_out_finish(&o, &text, &m->err) ||
        io_write_file(&io_posix, path, text.p, text.n, &m->err))
        die(m->err.msg);
    json_out_free(&o);
}

static void make_checkpoint(const char *dir, int experts)
{
    struct maker m = {.err = PREP_ERROR_INIT};
    char path[512];
    uint64_t total = 0, before = 0;
    arena_init(&m.arena, 0);
    make_tensors(&m, experts);
    for (size_t i = 0; i < m.n; i++)
        total += m.t[i].bytes;
    struct entry *e = calloc(m.n, sizeof *e);
    if (!e)
        die("out of memory");
    size_t begin = 0;
    for (int s = 0; s < N_SHARDS; s++) {
        size_t end = begin;
        uint64_t limit = total / N_SHARDS * (uint64_t)(s + 1);
        for (; end < m.n && (before < limit || s == N_SHARDS - 1); end++) {
            before += m.t[end].bytes;
            e[end] = (struct entry){m.t[end].name, s};
        }
        snprintf(path, sizeof path, "%s/model-%05d-of-%05d.safetensors", dir, s + 1, N_SHARDS);
        write_shard(&m, path, m.t + begin, end - begin);
        begin = end;
    }
    snprintf(path, sizeof path, "%s/model.safetensors.index.json", dir);
    write_index(&m, path, e, total);
    free(e);
    free(m.t);
    arena_fini(&m.arena);
}

static void remove_checkpoint(const char *dir)
{
    char path[512];
    for (int s = 1; s <= N_SHARDS; s++) {
        snprintf(path, sizeof path, "%s/model-%05d-of-%05d.safetensors", dir, s, N_SHARDS);
        unlink(path);
    }
    snprintf(path, sizeof path, "%s/model.safetensors.index.json", dir);
    unlink(path);
    rmdir(dir);
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static long max_rss(void)
{
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return r.ru_maxrss;
}

static double open_once(const char *dir, size_t *n_tensors)
{
    struct checkpoint *c;
    struct prep_error err = PREP_ERROR_INIT;
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    int rc = checkpoint_open(&c, &io_posix, dir, NULL, &err);
    clock_gettime(CLOCK_MONOTONIC, &b);
    if (rc)
        die(err.msg);
    *n_tensors = c->n_tensors;
    checkpoint_close(c);
    return (double)(b.tv_sec - a.tv_sec) * 1e3 + (double)(b.tv_nsec - a.tv_nsec) * 1e-6;
}

static void use_cpus(int n)
{
    cpu_set_t have, want;
    CPU_ZERO(&want);
    if (sched_getaffinity(0, sizeof have, &have))
        die("cannot read the CPU affinity");
    for (size_t i = 0; i < CPU_SETSIZE && CPU_COUNT(&want) < n; i++)
        if (CPU_ISSET(i, &have))
            CPU_SET(i, &want);
    if (sched_setaffinity(0, sizeof want, &want))
        die("cannot set the CPU affinity");
}

int main(int argc, char **argv)
{
    char temp[] = "/tmp/bench_open.XXXXXX";
    const char *keep = NULL;
    int repeats = 15, experts = 256, option;
    while ((option = getopt(argc, argv, "n:e:k:j:")) != -1) {
        if (option == 'n')
            repeats = atoi(optarg);
        else if (option == 'e')
            experts = atoi(optarg);
        else if (option == 'k')
            keep = optarg;
        else if (option == 'j')
            use_cpus(atoi(optarg));
        else
            return 64;
    }
    const char *dir = keep ? keep : mkdtemp(temp);
    if (!dir || repeats < 1 || experts < 1)
        return 64;
    if (keep)
        mkdir(keep, 0777);
    /* In a child, so that the peak memory printed is that of opening alone. */
    pid_t child = fork();
    int status = 0;
    if (child == 0) {
        make_checkpoint(dir, experts);
        _exit(0);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || status)
        die("cannot make the checkpoint");

    double *ms = calloc((size_t)repeats, sizeof *ms);
    size_t n = 0;
    if (!ms)
        die("out of memory");
    for (int i = 0; i < repeats; i++)
        ms[i] = open_once(dir, &n);
    qsort(ms, (size_t)repeats, sizeof *ms, ascending);
    printf("%zu tensors, %d shards: median %.2f ms, best %.2f ms of %d; peak RSS %ld KB\n", n,
           N_SHARDS, ms[repeats / 2], ms[0], repeats, max_rss());
    free(ms);
    if (!keep)
        remove_checkpoint(dir);
    return 0;
}
