/* SPDX-License-Identifier: MIT */
#include "tools/cli_page.h"

#include <stdlib.h>
#include <string.h>

int cli_page_check(const struct cli *cli, const char *path, struct prep_error *err)
{
    struct io_stat st;
    if (!path || io_posix.stat(io_posix.self, path, &st) < 0)
        return 0;
    if (st.kind != IO_REGULAR)
        return prep_fail(err, PREP_ECREATE, "%s: is in the way, and is no file", path);
    if (!cli->common.force)
        return prep_fail(err, PREP_ECREATE, "%s: is there already; --force replaces it", path);
    return 0;
}

static int is_plain(const char *word)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:,@%";
    return *word && word[strspn(word, plain)] == 0;
}

/* Between single quotes, which a shell takes as it is; a quote itself as '\''. */
static char *quote(char *to, const char *word)
{
    *to++ = '\'';
    for (; *word; word++) {
        if (*word == '\'') {
            memcpy(to, "'\\''", 4);
            to += 4;
        } else {
            *to++ = *word;
        }
    }
    *to++ = '\'';
    return to;
}

/* Each option on a line of its own. */
static const char *command_of(struct cli *cli, int argc, char *const *argv, struct prep_error *err)
{
    size_t room = strlen(cli->program->name) + 1;
    for (int i = 1; i < argc; i++)
        room += 4 * strlen(argv[i]) + 8;
    char *text = arena_alloc(&cli->arena, room, err), *to = text;
    if (!text)
        return NULL;
    to = stpcpy(to, cli->program->name);
    for (int i = 1; i < argc; i++) {
        to = stpcpy(to, *argv[i] == '-' ? " \\\n  " : " ");
        to = is_plain(argv[i]) ? stpcpy(to, argv[i]) : quote(to, argv[i]);
    }
    *to = 0;
    return text;
}

int cli_page_write(struct cli *cli, struct page *page, const char *path, int argc,
                   char *const *argv, struct prep_error *err)
{
    struct html out = {0};
    struct span bytes;
    const char *command = command_of(cli, argc, argv, err);
    if (!command)
        return -1;
    page_fact_code(page, "Command", command);
    page_fact(page, "Made by", "verify-run " PREP_VERSION);
    int rc = page_finish(page, &out, &bytes, err) ||
             io_write_file(&io_posix, path, bytes.p, bytes.n, err);
    html_free(&out);
    return rc ? -1 : 0;
}
