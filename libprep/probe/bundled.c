/* SPDX-License-Identifier: MIT */
/* The assembler takes the files in as they are; the build runs from the root of the project. */
#include "libprep/probe/bundled.h"

#include <string.h>

__asm__(".pushsection .rodata\n"
        "bundled_facts: .incbin \"probes/facts.json\"\n"
        "bundled_facts_end:\n"
        "bundled_tool_chat: .incbin \"probes/tool-chat.json\"\n"
        "bundled_tool_chat_end:\n"
        ".globl bundled_facts, bundled_facts_end, bundled_tool_chat, bundled_tool_chat_end\n"
        ".hidden bundled_facts, bundled_facts_end, bundled_tool_chat, bundled_tool_chat_end\n"
        ".popsection\n");

extern const char bundled_facts[], bundled_facts_end[];
extern const char bundled_tool_chat[], bundled_tool_chat_end[];

int prompt_set_bundled(struct prompt_set *s, const char *name, struct prep_error *err)
{
    if (strcmp(name, "facts") == 0)
        return prompt_set_parse(s, bundled_facts, (size_t)(bundled_facts_end - bundled_facts),
                                "probes/facts.json", err);
    if (strcmp(name, "tool-chat") == 0)
        return prompt_set_parse(s, bundled_tool_chat,
                                (size_t)(bundled_tool_chat_end - bundled_tool_chat),
                                "probes/tool-chat.json", err);
    return prep_fail(err, PREP_EUSAGE,
                     "no bundled set of prompts is called %s: want facts or tool-chat", name);
}
