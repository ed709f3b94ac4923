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
#include "tests/support/fault_alloc.h"
#include "tests/support/support.h"

static struct tokenizer *tokenizer;
static const char *features;

static int prepare(void **state)
{
    struct prep_error err = PREP_ERROR_INIT;
    (void)state;
    features = test_path("%s/chat/features.jinja", test_data());
    return tokenizer_open(&tokenizer, &io_posix, test_path("%s/glm-nano", test_data()), NULL, &err);
}

static int clean_up(void **state)
{
    (void)state;
    tokenizer_free(tokenizer);
    return 0;
}

static int work(struct prep_error *err)
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

static void rendering_survives_failing_memory(void **state)
{
    (void)state;
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
        assert_true(seen > 20);
        return;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(rendering_survives_failing_memory)};
    return cmocka_run_group_tests(tests, prepare, clean_up);
}
