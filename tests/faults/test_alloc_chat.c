/* SPDX-License-Identifier: MIT */
/* Opening a template and a conversation, rendering and encoding, with the n-th allocation failing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/chat/chat.h"
#include "libprep/engine/generation_config.h"
#include "libprep/engine/stop.h"
#include "libprep/probe/needle.h"
#include "libprep/probe/prompt_set.h"
#include "tests/support/fault_alloc.h"
#include "tests/support/support.h"

static struct tokenizer *tokenizer;
static const char *features, *nano;

static int prepare(void **state)
{
    struct prep_error err = PREP_ERROR_INIT;
    (void)state;
    features = test_path("%s/chat/features.jinja", test_data());
    nano = test_path("%s/glm-nano", test_data());
    return tokenizer_open(&tokenizer, &io_posix, nano, NULL, &err);
}

static int clean_up(void **state)
{
    (void)state;
    tokenizer_free(tokenizer);
    return 0;
}

static int render(struct prep_error *err)
{
    static const char request[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi <|user|>\"},{\"role\":\"assistant\","
        "\"content\":null,\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":"
        "\"{\\\"a\\\":[1,2.5]}\"}}]}],\"tools\":[{\"function\":{\"name\":\"f\",\"x\":{}}}],"
        "\"chat_template_kwargs\":{\"enable_thinking\":false}}";
    struct chat_template *t = NULL;
    struct tokenizer_encoder *e = NULL;
    struct token_ids ids = {0};
    struct chat_text text = {NULL, 0, NULL, 0};
    struct chat c = {0};
    int rc = chat_template_open(&t, &io_posix, features, err) ||
             chat_open(&c, request, sizeof request - 1, "c",
                       CHAT_PARSE_ARGUMENTS | CHAT_EMPTY_CONTENT, NULL, err) ||
             chat_render(&text, &c, t, NULL, 0, 1, err) ||
             tokenizer_encoder_new(&e, tokenizer, err) ||
             chat_encode(&ids, e, &text, CHAT_NO_SPECIAL, err);
    token_ids_free(&ids);
    tokenizer_encoder_free(e);
    chat_text_free(&text);
    chat_close(&c);
    chat_template_free(t);
    return rc ? -1 : 0;
}

static int generate(struct prep_error *err)
{
    static const char *const strings[] = {"zz"};
    static const float logits[8] = {1, 2, 3, 4, 3, 2, 1, 0};
    struct generation_config c;
    struct sampler *s = NULL;
    struct stop_stream stop = {0};
    struct token_text out = {0};
    uint32_t token = 0;
    int rc = generation_config_read(&c, &io_posix, nano, err) ||
             sampler_new(&s, &c.sampling, 8, 1, 0, err) || sampler_choose(&token, s, logits, err) ||
             sampler_see_output(s, token, err) ||
             stop_open(&stop, tokenizer, 1, c.eos, c.n_eos, strings, 1, err);
    for (uint32_t id = 60; !rc && id < 400; id++)
        rc = stop_push(&out, &stop, id, err);
    rc = rc || stop_finish(&out, &stop, err);
    token_text_free(&out);
    stop_close(&stop);
    sampler_free(s);
    return rc ? -1 : 0;
}

static int probe(struct prep_error *err)
{
    static const char text[] = "The river walks over the hill. A stone sings and the cold walks.";
    static const char answer[] =
        "<tool_call>set_limits<arg_key>limits</arg_key><arg_value>{\"seconds\": 30, \"memory\":"
        " [1, 2.5]}</arg_value><arg_key>tags</arg_key><arg_value>[\"ci\", \"nightly\"]"
        "</arg_value></tool_call>";
    const struct needle_case c = {300, 0.5, 1};
    struct tokenizer_encoder *e = NULL;
    struct needle_source source = {0};
    struct needle_prompt p = {0};
    struct prompt_set set = {0};
    struct prompt_verdict v = {0};
    int rc = tokenizer_encoder_new(&e, tokenizer, err) ||
             needle_open(&source, e, text, sizeof text - 1, err) ||
             needle_build(&p, &source, e, &c, err) ||
             prompt_set_open(&set, &io_posix, "probes/tool-chat.json", err);
    for (size_t i = 0; !rc && i < set.n; i++) {
        rc = prompt_try(&v, &set, i, answer, sizeof answer - 1, err);
        if (!rc)
            assert_int_equal(v.right, i == 8);
    }
    prompt_set_close(&set);
    needle_free(&p);
    needle_close(&source);
    tokenizer_encoder_free(e);
    return rc ? -1 : 0;
}

typedef int (*work_fn)(struct prep_error *err);

static void fail_each(work_fn work)
{
    for (uint64_t n = 1;; n++) {
        struct prep_error err = PREP_ERROR_INIT;
        fault_alloc_at(n);
        int rc = work(&err);
        uint64_t seen = fault_alloc_stop();
        if (rc && err.code != PREP_ENOMEM)
            fail_msg("allocation %llu: %s: %s", (unsigned long long)n, err.tag, err.msg);
        if (seen >= n)
            continue; /* giving back memory may fail unnoticed */
        assert_int_equal(rc, 0);
        assert_true(seen > 8);
        return;
    }
}

static void rendering_survives_failing_memory(void **state)
{
    (void)state;
    fail_each(render);
}

static void generating_survives_failing_memory(void **state)
{
    (void)state;
    fail_each(generate);
}

static void probes_survive_failing_memory(void **state)
{
    (void)state;
    fail_each(probe);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rendering_survives_failing_memory),
        cmocka_unit_test(generating_survives_failing_memory),
        cmocka_unit_test(probes_survive_failing_memory),
    };
    return cmocka_run_group_tests(tests, prepare, clean_up);
}
