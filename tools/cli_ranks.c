/* SPDX-License-Identifier: MIT */
#include "tools/cli_ranks.h"

#include <errno.h>
#include <string.h>

int cli_join_ranks(struct ranks *r, const struct cli_program *program, struct cli_host *host,
                   struct prep_error *err)
{
    if (ranks_open(r, err))
        return -1;
    if (r->rank > 0) {
        FILE *nowhere = fopen("/dev/null", "w");
        if (!nowhere)
            return prep_fail_sys(err, PREP_EIO, errno, "cannot open /dev/null");
        host->out = host->err = nowhere;
        host->live_width = 0;
    }
    if (r->size > 1 && !(program->common & (CLI_HAS_PART | CLI_HAS_RANKS)))
        return prep_fail(err, PREP_EUSAGE, "runs as one process; start it without mpirun");
    return 0;
}

void cli_leave_ranks(struct cli *cli, int exit_code)
{
    if (cli->ranks.broken)
        ranks_abort(&cli->ranks, exit_code);
    else
        ranks_close(&cli->ranks);
}

/* The executor's view of the other ranks: a flag that its progress callback keeps up to date. */
struct watch {
    struct cli *cli;
    const struct exec_options *opt;
    volatile sig_atomic_t stop;
};

static void watch_progress(void *arg, const struct progress *p)
{
    struct watch *const w = arg;
    if ((w->opt->stop && *w->opt->stop) || ranks_raised(&w->cli->ranks))
        w->stop = 1;
    if (w->opt->progress && w->cli->ranks.rank == 0)
        w->opt->progress(w->opt->progress_arg, p);
}

/* All ranks must mean the same: their plans come from what each of them read. */
static int compare_plans(struct ranks *r, const struct plan *plan, struct prep_error *err)
{
    char key[sizeof plan->key_sha256];
    memcpy(key, plan->key_sha256, sizeof key);
    if (ranks_broadcast(r, key, sizeof key, 0, err))
        return -1;
    int rc = 0;
    if (memcmp(key, plan->key_sha256, sizeof key) != 0)
        rc = prep_fail(err, PREP_EDATA,
                       "plans other work than rank 0; all ranks must see the same files");
    return ranks_agree(r, rc, err);
}

static int run_part(struct cli *cli, const struct plan *plan, const struct exec_options *opt,
                    struct exec_result *result, struct prep_error *err)
{
    struct ranks *const r = &cli->ranks;
    struct watch watch = {.cli = cli, .opt = opt};
    struct exec_options mine = *opt;
    mine.part = r->rank;
    mine.n_parts = r->size;
    mine.fresh = mine.force = 0;
    mine.progress = watch_progress;
    mine.progress_arg = &watch;
    mine.stop = &watch.stop;
    const int rc = plan_execute(plan, &mine, result, err);
    if (rc)
        ranks_raise(r);
    return ranks_agree(r, rc, err);
}

/* Bytes and files of all; the memory of the rank that needed most. */
static int add_results(struct ranks *r, struct exec_result *sum, const struct exec_result *mine,
                       struct arena *arena, struct prep_error *err)
{
    struct exec_result *all = arena_calloc(arena, (size_t)r->size, sizeof *all, err);
    if (ranks_agree(r, all ? 0 : -1, err) || ranks_all_gather(r, all, mine, sizeof *mine, err))
        return -1;
    *sum = (struct exec_result){.floor_bytes = mine->floor_bytes};
    for (int i = 0; i < r->size; i++) {
        sum->written_bytes += all[i].written_bytes;
        sum->resumed_bytes += all[i].resumed_bytes;
        sum->read_bytes += all[i].read_bytes;
        sum->written_files += all[i].written_files;
        sum->resumed |= all[i].resumed;
        sum->peak_bytes = all[i].peak_bytes > sum->peak_bytes ? all[i].peak_bytes : sum->peak_bytes;
    }
    return 0;
}

static int assemble(struct cli *cli, const struct plan *plan, const struct exec_options *opt,
                    struct exec_result *sum, struct prep_error *err)
{
    struct exec_options last = *opt;
    struct exec_result result = {0};
    last.assemble = 1;
    last.n_parts = cli->ranks.size;
    last.fresh = last.force = 0;
    const int rc = cli->ranks.rank == 0 ? plan_execute(plan, &last, &result, err) : 0;
    sum->written_bytes += result.written_bytes;
    sum->read_bytes += result.read_bytes;
    sum->written_files += result.written_files;
    sum->finished = 1;
    return ranks_agree(&cli->ranks, rc, err);
}

int cli_execute_ranks(struct cli *cli, const struct plan *plan, const struct exec_options *opt,
                      struct exec_result *result, struct prep_error *err)
{
    struct ranks *const r = &cli->ranks;
    struct exec_result mine;
    *result = (struct exec_result){0};
    if (opt->n_parts || opt->assemble)
        return prep_fail(err, PREP_EUSAGE,
                         "--part and --assemble are for runs without mpirun, whose ranks are the "
                         "parts");
    /* Meets those ranks, too, that failed on the way here. */
    if (ranks_agree(r, 0, err) || compare_plans(r, plan, err))
        return -1;
    int rc = r->rank == 0 ? plan_prepare(plan, opt, result, err) : 0;
    if (ranks_agree(r, rc, err) || ranks_broadcast(r, result, sizeof *result, 0, err))
        return -1;
    if (result->finished)
        return 0;
    if (run_part(cli, plan, opt, &mine, err) || add_results(r, result, &mine, &cli->arena, err))
        return -1;
    return assemble(cli, plan, opt, result, err);
}
