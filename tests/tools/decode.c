/* SPDX-License-Identifier: MIT */
/*
 * decode - write the numbers behind the codes of a checkpoint, for comparison with other decoders.
 *
 *   decode CHECKPOINT FILE.safetensors [--bf16]
 *
 * FILE gets one tensor per coded linear, MODULE.weight, [out, in], F32 (or BF16, rounded once).
 * Plain linears and other tensors are left out.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "libprep/quant/linear.h"
#include "libprep/store/checkpoint.h"

enum { CHUNK_BYTES = 1 << 22 };

struct decoding {
    const struct checkpoint *ckpt;
    struct linear_codec codec;
    enum dtype dtype;
    const struct linear **linears;
    struct tensor_info *infos;
    size_t n;
    const char *path;
    int fd;
    struct arena arena;
};

/* The coded linears and where their numbers go. */
static int lay_out(struct decoding *d, const struct linears *all, struct span *header,
                   struct prep_error *err)
{
    d->linears = arena_calloc(&d->arena, all->n, sizeof(struct linear *), err);
    d->infos = arena_calloc(&d->arena, all->n, sizeof *d->infos, err);
    if (!d->linears || !d->infos)
        return -1;
    for (size_t i = 0; i < all->n; i++) {
        const struct linear *l = &all->items[i];
        if (l->form == LINEAR_PLAIN)
            continue;
        struct tensor_info *t = &d->infos[d->n];
        *t =
            (struct tensor_info){.shape = {l->out, l->in}, .n_dims = 2, .dtype = (uint8_t)d->dtype};
        t->name = arena_printf(&d->arena, err, "%s.weight", l->name);
        if (!t->name)
            return -1;
        if (tensor_bytes(d->dtype, t->shape, 2, &t->bytes))
            return prep_fail(err, PREP_EDATA, "%s: shape overflows", t->name);
        d->linears[d->n++] = l;
    }
    return safetensors_layout(d->infos, d->n, NULL, 0, &d->arena, header, err);
}

static int read_inputs(const struct decoding *d, const struct linear *l, struct span *inputs,
                       struct arena *a, struct prep_error *err)
{
    for (int i = 0; i < l->n_tensors; i++) {
        const struct checkpoint_tensor *t = &d->ckpt->tensors[l->tensors[i].index];
        void *p = arena_alloc(a, t->info.bytes, err);
        if (!p || checkpoint_read(d->ckpt, t, 0, p, t->info.bytes, err))
            return -1;
        inputs[i] = (struct span){p, t->info.bytes};
    }
    return 0;
}

static int write_linear(const struct decoding *d, size_t index, struct prep_error *err)
{
    const struct linear *l = d->linears[index];
    const struct tensor_info *t = &d->infos[index];
    const uint64_t row_bytes = t->bytes / l->out;
    const uint64_t n_rows = CHUNK_BYTES / row_bytes + 1;
    struct span inputs[LINEAR_PARTS];
    struct arena a;
    int rc = -1;
    arena_init(&a, 0);
    void *numbers = arena_alloc(&a, n_rows * row_bytes, err);
    if (!numbers || read_inputs(d, l, inputs, &a, err))
        goto out;
    for (uint64_t row = 0; row < l->out; row += n_rows) {
        struct linear_rows rows = {.first = row,
                                   .n = n_rows < l->out - row ? n_rows : l->out - row};
        if (d->dtype == DTYPE_F32)
            rows.f32 = numbers;
        else
            rows.bf16 = numbers;
        if (linear_decode_rows(l, &d->codec, inputs, &rows, err) ||
            io_write_exact(&io_posix, d->fd, numbers, rows.n * row_bytes,
                           t->offset + row * row_bytes, d->path, err))
            goto out;
    }
    rc = 0;
out:
    arena_fini(&a);
    return rc ? prep_note(err, "%s", l->name) : 0;
}

static int run(struct decoding *d, const char *source, struct prep_error *err)
{
    struct checkpoint *ckpt = NULL;
    struct config config = {0};
    struct linears all;
    struct span header;
    int rc = -1;
    if (checkpoint_open(&ckpt, &io_posix, source, NULL, err) ||
        config_load(&config, &io_posix, source, NULL, err) ||
        linears_of_checkpoint(&all, ckpt, &config, &d->arena, NULL, err))
        goto out;
    d->ckpt = ckpt;
    if (lay_out(d, &all, &header, err))
        goto out;
    d->fd = io_posix.open(NULL, d->path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (d->fd < 0) {
        io_fail_create(err, -d->fd, d->path, "create");
        goto out;
    }
    if (io_write_exact(&io_posix, d->fd, header.p, header.n, 0, d->path, err))
        goto out;
    for (size_t i = 0; i < d->n; i++)
        if (write_linear(d, i, err))
            goto out;
    printf("%zu linears\n", d->n);
    rc = 0;
out:
    if (d->fd >= 0)
        io_posix.close(NULL, d->fd);
    config_free(&config);
    checkpoint_close(ckpt);
    return rc;
}

int main(int argc, char **argv)
{
    struct decoding d = {.dtype = DTYPE_F32, .fd = -1};
    struct prep_error err = PREP_ERROR_INIT;
    if (argc == 4 && strcmp(argv[3], "--bf16") == 0)
        d.dtype = DTYPE_BF16;
    else if (argc != 3) {
        fprintf(stderr, "usage: decode CHECKPOINT FILE.safetensors [--bf16]\n");
        return 64;
    }
    d.path = argv[2];
    linear_codec_init(&d.codec, cpu_isa());
    arena_init(&d.arena, 0);
    int rc = run(&d, argv[1], &err);
    arena_fini(&d.arena);
    if (rc) {
        fprintf(stderr, "decode: %s%s%s\n", err.tag, *err.tag ? ": " : "", err.msg);
        return prep_exit_code(err.code);
    }
    return 0;
}
