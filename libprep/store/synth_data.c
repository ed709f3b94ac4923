/* SPDX-License-Identifier: MIT */
#include "libprep/store/synth_data.h"

#include <string.h>

#include "libprep/base/hash.h"
#include "libprep/store/synth.h"

enum { PAGE = 4096, WORD = 8 };

/* 2^64 / golden ratio, odd: successive multiples spread over all bits. */
#define STEP UINT64_C(0x9e3779b97f4a7c15)
/* Bit 6 is the highest exponent bit of the float that a byte ends, or a mantissa bit. */
#define FINITE UINT64_C(0xbfbfbfbfbfbfbfbf)

uint64_t synth_seed(const char *name, size_t n)
{
    return hash64(name, n);
}

/* The finalizer of splitmix64. */
static uint64_t page_key(uint64_t seed, uint64_t page)
{
    uint64_t z = seed + (page + 1) * STEP;
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static uint64_t word_at(uint64_t key, uint64_t word)
{
    uint64_t x = key + word * STEP;
    return (x ^ x >> 32) & FINITE;
}

static void part_of_word(unsigned char *out, uint64_t key, uint64_t at, size_t n)
{
    unsigned char bytes[WORD];
    store_le64(bytes, word_at(key, at / WORD));
    memcpy(out, bytes + at % WORD, n);
}

/* Two words: the vector that every 64-bit machine has in a register. */
typedef uint64_t pair __attribute__((vector_size(2 * WORD)));

static void store_pair(unsigned char *out, pair at)
{
    pair x = (at ^ at >> 32) & FINITE;
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    x = (pair){__builtin_bswap64(x[0]), __builtin_bswap64(x[1])};
#endif
    memcpy(out, &x, sizeof x);
}

/* The same as word_at() for n words. Two pairs in flight, the memory is the limit then. */
static size_t whole_words(unsigned char *out, uint64_t key, uint64_t word, size_t n)
{
    uint64_t first = key + word * STEP;
    pair a = {first, first + STEP}, b = {first + 2 * STEP, first + 3 * STEP};
    size_t done = 0;
    for (; n - done >= 4; done += 4) {
        store_pair(out + done * WORD, a);
        store_pair(out + done * WORD + sizeof a, b);
        a += 4 * STEP;
        b += 4 * STEP;
    }
    for (; done < n; done++)
        store_le64(out + done * WORD, word_at(key, word + done));
    return n * WORD;
}

/* Bytes [at, at + n) of one page. */
static void part_of_page(unsigned char *out, uint64_t key, uint64_t at, size_t n)
{
    size_t head = (size_t)(-at % WORD);
    if (head > n)
        head = n;
    if (head)
        part_of_word(out, key, at, head);
    size_t done = head + whole_words(out + head, key, (at + head) / WORD, (n - head) / WORD);
    if (done < n)
        part_of_word(out + done, key, at + done, n - done);
}

void synth_bytes(void *buf, uint64_t seed, uint64_t offset, size_t n)
{
    unsigned char *out = buf;
    while (n > 0) {
        size_t room = PAGE - (size_t)(offset % PAGE), take = room < n ? room : n;
        part_of_page(out, page_key(seed, offset / PAGE), offset % PAGE, take);
        out += take;
        offset += take;
        n -= take;
    }
}

int synth_shard_init(struct synth_shard *shard, struct tensor_info *tensors, size_t n,
                     struct arena *arena, struct prep_error *err)
{
    const struct metadata_pair pt = {"format", "pt"};
    if (safetensors_layout(tensors, n, &pt, 1, arena, &shard->header, err))
        return -1;
    shard->tensors = arena_calloc(arena, n, sizeof *shard->tensors, err);
    if (!shard->tensors)
        return -1;
    shard->n_tensors = n;
    shard->bytes = shard->header.n;
    for (size_t i = 0; i < n; i++) {
        const struct tensor_info *t = &tensors[i];
        uint64_t bytes;
        if (tensor_bytes((enum dtype)t->dtype, t->shape, t->n_dims, &bytes) || bytes != t->bytes)
            return prep_fail(err, PREP_EBUG, "%s: bytes do not fit the shape", t->name);
        size_t length = strlen(t->name);
        const char *name = arena_strndup(arena, t->name, length, err);
        if (!name)
            return -1;
        shard->tensors[i] =
            (struct synth_tensor){name, t->offset, t->bytes, synth_seed(name, length)};
        shard->bytes += bytes;
    }
    return 0;
}

/* The last tensor that begins at or before offset. */
static size_t find_tensor(const struct synth_shard *shard, uint64_t offset)
{
    size_t lo = 0, hi = shard->n_tensors;
    while (hi - lo > 1) {
        size_t mid = lo + (hi - lo) / 2;
        if (shard->tensors[mid].offset <= offset)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

void synth_shard_read(const struct synth_shard *shard, void *buf, uint64_t offset, size_t n)
{
    unsigned char *out = buf;
    if (offset < shard->header.n) {
        size_t left = shard->header.n - (size_t)offset, take = left < n ? left : n;
        memcpy(out, shard->header.p + offset, take);
        out += take;
        offset += take;
        n -= take;
    }
    for (size_t i = find_tensor(shard, offset); n > 0; i++) {
        const struct synth_tensor *t = &shard->tensors[i];
        uint64_t skip = offset - t->offset;
        size_t take = t->bytes - skip < n ? (size_t)(t->bytes - skip) : n;
        synth_bytes(out, t->seed, skip, take);
        out += take;
        offset += take;
        n -= take;
    }
}
