/* SPDX-License-Identifier: MIT */
#include "libprep/prune/job_write.h"

#include <string.h>

#include "libprep/model/source.h"
#include "libprep/store/layout.h"

/* config.json comes after every other file but the index: an unfinished folder is no model. */
static enum file_stage stage_of(const char *name)
{
    return strcmp(name, "config.json") == 0 ? PLAN_CONFIG : PLAN_SIDECAR;
}

static int list_texts(struct layout *l, const struct prune_output *out, const struct keep_map *map,
                      struct arena *arena, struct prep_error *err)
{
    struct layout_text *texts = arena_calloc(arena, out->n_edited + 1, sizeof *texts, err);
    if (!texts)
        return -1;
    for (size_t i = 0; i < out->n_edited; i++)
        texts[i] = (struct layout_text){out->edited[i].name, out->edited[i].text,
                                        stage_of(out->edited[i].name)};
    l->texts = texts;
    l->n_texts = out->n_edited;
    if (!map)
        return 0;
    struct layout_text *t = &texts[l->n_texts++];
    *t = (struct layout_text){.name = KEEP_MAP_NAME, .stage = PLAN_SIDECAR};
    return keep_map_write(map, arena, &t->text, err);
}

static int list_sidecars(struct layout *l, const struct prune_output *out, struct arena *arena,
                         struct prep_error *err)
{
    struct layout_sidecar *side = arena_calloc(arena, out->n_sidecars, sizeof *side, err);
    if (!side)
        return -1;
    for (size_t i = 0; i < out->n_sidecars; i++) {
        int file = checkpoint_file(out->view.sources[0], out->sidecars[i]);
        if (file < 0)
            return prep_fail(err, PREP_EBUG, "%s: is no file of the source", out->sidecars[i]);
        side[i] = (struct layout_sidecar){out->sidecars[i], 0, (uint32_t)file};
    }
    l->sidecars = side;
    l->n_sidecars = out->n_sidecars;
    return 0;
}

int job_write_plan(struct plan **plan, const struct job_write *w, struct prep_error *err)
{
    const struct view *view = &w->out->view;
    const struct checkpoint *main = view->sources[0];
    struct layout l = {.view = view,
                       .index = main->index_text,
                       .single_file = main->single_file,
                       .shard_bytes = w->shard_bytes};
    if (plan_new(plan, w->tool, PREP_VERSION, err))
        return -1;
    for (size_t i = 0; i < view->n_sources; i++)
        if (plan_add_checkpoint(*plan, view->sources[i], &l.first_source[i], err))
            return -1;
    return (w->mends && mends_plan(w->mends, *plan, &l, err)) ||
                   list_texts(&l, w->out, w->map, w->arena, err) ||
                   list_sidecars(&l, w->out, w->arena, err) ||
                   layout_plan(*plan, &l, w->report, err) || plan_finish(*plan, err)
               ? -1
               : 0;
}
