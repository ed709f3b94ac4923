/* SPDX-License-Identifier: MIT */
/* Any bytes as a journal: a torn tail is cut, what is intact is believed only inside the plan. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/base/hash.h"
#include "libprep/store/journal.h"
#include "tests/support/memory_io.h"

enum { N_FILES = 3, N_TENSORS = 5, NOTE_BYTES = 24, HEAD = 8, TAIL = 8, MAGIC = 8 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char path[] = "/out/.prep/journal", key[] = "tool fuzz 1\nlayout 0\n";

static void check(int ok)
{
    if (!ok)
        abort();
}

/* Right hashes, so that what is behind them is reached, too. */
static void mend_hashes(unsigned char *p, size_t size)
{
    for (size_t at = MAGIC; size - at >= HEAD + TAIL;) {
        size_t n = load_le32(p + at);
        if (n > size - at - HEAD - TAIL)
            return;
        store_le64(p + at + HEAD + n, hash64(p + at, HEAD + n));
        at += HEAD + n + TAIL;
    }
}

static void read_once(const unsigned char *p, size_t size)
{
    const struct memory_part part = {p, 0, size};
    const struct memory_file file = {path, &part, 1, 0};
    const struct journal_sizes sizes = {N_FILES, N_TENSORS, NOTE_BYTES};
    struct memory_io m;
    struct journal j;
    struct prep_error err = PREP_ERROR_INIT;
    memory_io_init(&m, &file, 1);
    int rc = journal_read(&j, &m.io, path,
                          (struct span){(const unsigned char *)key, sizeof key - 1}, &sizes, &err);
    check(rc == 0 || err.code != PREP_OK);
    check(j.end <= size || j.end <= MAGIC);
    if (!rc && j.resumed)
        check(j.end > MAGIC + HEAD + TAIL + sizeof key - 1);
    journal_close(&j);
    check(m.n_open == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    read_once(data, size);
    unsigned char *copy = malloc(size + 1);
    check(copy != NULL);
    if (size)
        memcpy(copy, data, size);
    if (size >= MAGIC)
        mend_hashes(copy, size);
    read_once(copy, size);
    free(copy);
    return 0;
}
