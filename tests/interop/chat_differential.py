# SPDX-License-Identifier: MIT
"""Chat templates over made-up messages, and made-up templates, rendered by us and by jinja2.

    chat_differential.py RENDER_CHAT SEED messages COUNT TEMPLATE...
    chat_differential.py RENDER_CHAT SEED templates COUNT

Where jinja2 gives a text, ours is the same. Where it fails, ours fails. For `templates` ours may also
say TPL_UNSUPPORTED; for `messages` it may not.
"""
import json
import random
import subprocess
import sys
import warnings

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment


def environment():
    """As the transformers library makes it."""

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                          sort_keys=sort_keys)

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                        extensions=[loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda form: ""
    return env


warnings.simplefilter("ignore")
ENV = environment()
WORDS = ["a", "Hello", "<|user|>", "<|assistant|>", "</think>", "<think>", "/nothink", "\n", "\n\n",
         " ", "\t", "it's", '"q"', "\\", "{{ x }}", "{% if %}", "é", "ß", "\u4f60\u597d", "\U0001f600",
         "\u2028", "\u00a0", "\x01", "\x7f", "1", "-2.5", "null", "[gMASK]<sop>", "</tool_call>", "'", "%s",
         "end", "\u3000", "\u200b", "\ufeff", "\r\n"]
NAMES = ["x", "name", "items", "keys", "city", "größe", "get", "1", "", "strict", "content", "type"]


def text(r):
    return "".join(r.choice(WORDS) for _ in range(r.randrange(6)))


def value(r, depth=0):
    k = r.randrange(12 if depth < 3 else 9)
    if k < 3:
        return text(r)
    if k == 3:
        return r.choice([0, 1, -1, 7, 2**31, -2**63, 2**63 - 1, 10**20])
    if k == 4:
        return r.choice([0.0, -0.0, 1.5, 1e22, 1e-7, 0.1, 123456789.125, 1e16, 5e-324])
    if k == 5:
        return r.choice([True, False])
    if k == 6:
        return None
    if k < 9:
        return r.choice(["text", "user", "output", "low", "abc"])
    if k == 9:
        return [value(r, depth + 1) for _ in range(r.randrange(4))]
    return {r.choice(NAMES): value(r, depth + 1) for _ in range(r.randrange(4))}


def part(r):
    return r.choice([lambda: {"type": "text", "text": text(r)}, lambda: {"type": "image"},
                     lambda: text(r), lambda: {"type": "output", "text": text(r)}])()


def call(r):
    arguments = {r.choice(NAMES): value(r) for _ in range(r.randrange(4))}
    if not r.randrange(12):
        arguments = json.dumps(arguments)
    f = {"name": r.choice(["f", "get_weather", "größe"]), "arguments": arguments}
    return r.choice([{"type": "function", "id": "c1", "function": f}, f])


def message(r):
    m = {"role": r.choice(["system", "user", "user", "assistant", "assistant", "tool", "odd"])}
    k = r.randrange(10)
    if k:
        m["content"] = (text(r) if k < 7 else [part(r) for _ in range(r.randrange(4))] if k == 7
                        else value(r) if k == 8 else None)
    if m["role"] == "assistant":
        if not r.randrange(3):
            m["reasoning_content"] = r.choice([text(r), None, 3])
        if not r.randrange(3):
            m["tool_calls"] = r.choice([[call(r) for _ in range(r.randrange(3))], None])
    if m["role"] == "tool" and r.randrange(2):
        m["tool_call_id"] = r.choice(["c1", "", 5])
    return m


def tool(r):
    f = {"name": r.choice(NAMES), "description": text(r), "parameters": value(r)}
    for key in ("strict", "defer_loading"):
        if not r.randrange(4):
            f[key] = r.choice([True, False])
    return r.choice([{"type": "function", "function": f}, f])


def conversation(r):
    context = {"messages": [message(r) for _ in range(r.randrange(8))]}
    context["tools"] = r.choice([None, [tool(r) for _ in range(r.randrange(4))]])
    for name, values in (("add_generation_prompt", [True, False]), ("enable_thinking", [True, False]),
                         ("clear_thinking", [True, False]),
                         ("reasoning_effort", ["low", "high", "max", None])):
        if r.randrange(2):
            context[name] = r.choice(values)
    return context


class Maker:
    """A random template of the subset, mostly without errors of type."""

    def __init__(self, r):
        self.r, self.depth, self.loops, self.macros = r, 0, 0, 0

    def any(self, *makers):
        return self.r.choice(makers)()

    def string(self):
        r = self.r
        return r.choice(["'a'", "'b c'", '"it\'s"', "'\\n'", "'x,y,,z'", "'héé'", "''", "' pad '", "s", "t",
                         "u.name", "'A-b c'", "'%s|%s' % (1, 'z')", "d.b", "'q' 'r'"])

    def number(self):
        return self.r.choice(["0", "1", "2", "3", "-1", "7", "i", "1.5", "2.0", "l|length", "-i", "1_000"])

    def name(self):
        return self.r.choice(["x", "y", "s", "t", "i", "l", "d", "nope", "ns.v", "q", "m1", "n", "b", "loop"])

    def list(self):
        return self.any(lambda: "l", lambda: "[]", lambda: "[1, 'b', none]", lambda: "(1, 2)",
                        lambda: "d.keys() | list", lambda: "range(%s)" % self.number(),
                        lambda: "[%s, %s]" % (self.expr(), self.expr()), lambda: "s.split(' ')",
                        lambda: "l[%s:]" % self.number(), lambda: "l[::-1]", lambda: "d.items()", lambda: "q",
                        lambda: "'a b  c '.split(none, 1)", lambda: "ml | map(attribute='role') | list",
                        lambda: "ml | selectattr('role', 'equalto', 'user') | list", lambda: "d", lambda: "s",
                        lambda: "l | select('number') | list", lambda: "l | reverse | list")

    def expr(self):
        self.depth += 1
        try:
            if self.depth > 4:
                return self.any(self.string, self.number, self.name)
            return self.any(
                self.string, self.number, self.name, self.name, self.list,
                lambda: "(%s %s %s)" % (self.expr(), self.r.choice(
                    ["+", "-", "*", "/", "//", "%", "~", "==", "!=", "<", ">=", "in", "not in", "and", "or"]),
                    self.expr()),
                lambda: "%s %s %s" % (self.expr(), self.r.choice(["+", "~", "*", "and", "or", "==", "<"]),
                                      self.expr()),
                lambda: "not %s" % self.expr(), lambda: "(%s)" % self.expr(),
                lambda: "(%s if %s else %s)" % (self.expr(), self.expr(), self.expr()),
                lambda: "%s if %s" % (self.expr(), self.expr()),
                lambda: "(%s) is %s%s" % (self.expr(), self.r.choice(["", "not "]), self.r.choice(
                    ["defined", "none", "string", "mapping", "iterable", "number", "sequence", "odd", "true",
                     "undefined", "integer", "float", "boolean", "callable", "divisibleby 2", "in [1, 's']"])),
                lambda: "(%s) | %s" % (self.expr(), self.r.choice(
                    ["length", "string", "upper", "trim", "tojson", "int", "float", "default('z')", "first",
                     "last", "list", "join('-')", "title", "capitalize", "replace('a', 'bb')", "abs",
                     "default('z', true)", "tojson(indent=1)", "tojson(ensure_ascii=true)", "lower",
                     "tojson(sort_keys=true)", "items | list", "reverse | list", "e", "trim('a')"])),
                lambda: "%s[%s]" % (self.list(), self.number()),
                lambda: "(%s).%s" % (self.expr(), self.r.choice(["a", "b", "role", "0", "name", "items"])),
                lambda: "(%s)['%s']" % (self.expr(), self.r.choice(["a", "b", "content"])),
                lambda: "(%s)[%s:%s]" % (self.expr(), self.r.choice(["", "1", "-2"]), self.r.choice(["", "2", "-1"])),
                lambda: "(%s).%s" % (self.string(), self.r.choice(
                    ["strip()", "split(',')", "upper()", "title()", "startswith('a')", "endswith('b')",
                     "lstrip('\\n')", "replace('a', 'b')", "find('b')", "count('')", "rstrip()", "capitalize()",
                     "removeprefix('a')", "split()", "strip('a ')", "join(['1', '2'])"])),
                lambda: "d.get(%s, 'dflt')" % self.string(), lambda: "m1(%s)" % self.expr(),
                lambda: "m1(b=%s)" % self.expr(), lambda: "{'k': %s, 2: 'v'}" % self.expr(),
                lambda: "loop.%s" % self.r.choice(["index", "first", "last", "length", "revindex", "index0"])
                if self.loops else "x")
        finally:
            self.depth -= 1

    def tag(self, body):
        r = self.r
        return "{%%%s %s %s%%}" % (r.choice(["", "", "-", "+"]), body, r.choice(["", "", "-", "+"]))

    def text(self):
        return self.r.choice(["", "text", " ", "\n", "\n  ", "  a\n", "\n\n b", "{# note #}", "{#- c -#}\n", "é ", "}}"])

    def statement(self):
        self.depth += 1
        try:
            if self.depth > 4:
                return "{{ %s }}" % self.expr()
            return self.any(self.out, self.out, self.out, self.set, self.set, self.branch, self.loop, self.macro,
                            self.block_set, self.jump, self.ns)
        finally:
            self.depth -= 1

    def out(self):
        return "{{%s %s %s}}" % (self.r.choice(["", "-"]), self.expr(), self.r.choice(["", "-"]))

    def set(self):
        if not self.r.randrange(6):
            return self.tag("set x, y = %s, %s" % (self.expr(), self.expr()))
        return self.tag("set %s = %s" % (self.r.choice(["x", "y", "q", "n"]), self.expr()))

    def ns(self):
        return self.tag("set ns.v = %s" % self.expr())

    def block_set(self):
        return self.tag("set y") + self.body() + self.tag("endset")

    def branch(self):
        out = self.tag("if %s" % self.expr()) + self.body()
        for _ in range(self.r.randrange(2)):
            out += self.tag("elif %s" % self.expr()) + self.body()
        if self.r.randrange(2):
            out += self.tag("else") + self.body()
        return out + self.tag("endif")

    def loop(self):
        self.loops += 1
        head = self.any(lambda: "for x in %s" % self.list(), lambda: "for n in %s" % self.list(),
                        lambda: "for x, y in d.items()", lambda: "for m in ml",
                        lambda: "for x in l if x != %s" % self.number())
        out = self.tag(head) + self.body()
        self.loops -= 1
        if not self.r.randrange(3):
            out += self.tag("else") + self.body()
        return out + self.tag("endfor")

    def macro(self):
        loops, self.loops = self.loops, 0
        out = self.tag("macro m1(%s)" % self.r.choice(["b", "b, n=2", "b='d'", "n, b=n"])) + self.body()
        self.loops = loops
        return out + self.tag("endmacro")

    def jump(self):
        if not self.loops:
            return self.out()
        return self.tag("if %s" % self.expr()) + self.tag(self.r.choice(["break", "continue"])) + self.tag("endif")

    def body(self):
        return "".join(self.any(self.text, self.text, self.statement) for _ in range(self.r.randrange(5)))

    def template(self):
        return "{% set ns = namespace(v=0) %}" + "".join(
            self.any(self.text, self.statement) for _ in range(2 + self.r.randrange(7)))


def made_up(r):
    context = {"s": r.choice(["hello", " a b ", "x"]), "t": text(r), "i": r.choice([0, 1, 2, -3]),
               "l": [value(r) for _ in range(r.randrange(4))], "d": {"a": value(r), "b": text(r)},
               "u": {"name": "Bo"}, "ml": [{"role": "user", "content": "hi"}, {"role": "assistant"}]}
    if r.randrange(2):
        context["x"] = value(r)
    if r.randrange(2):
        context["q"] = [1, "two"]
    return {"template": Maker(r).template(), "context": context}


def expected(request):
    try:
        return ENV.from_string(request["template"]).render(**request["context"])
    except Exception as e:  # jinja2 lets errors of Python through
        return e


def main():
    program, seed, what, count = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    r = random.Random(seed)
    if what == "messages":
        templates = [open(p, encoding="utf-8").read() for p in sys.argv[5:]]
        requests = [{"template": templates[i % len(templates)], "context": conversation(r)}
                    for i in range(count)]
    else:
        requests = [made_up(r) for _ in range(count)]
    done = subprocess.run([program], input="".join(json.dumps(q) + "\n" for q in requests).encode(),
                          stdout=subprocess.PIPE, check=False)
    answers = done.stdout.decode("utf-8").rstrip("\n").split("\n")
    if done.returncode or len(answers) != count:
        sys.exit("%d answers of %d, exit code %d" % (len(answers), count, done.returncode))
    tally = {"same text": 0, "both fail": 0, "refused": 0}
    wrong = 0
    for request, line in zip(requests, answers):
        got, want = json.loads(line), expected(request)
        failed = isinstance(want, Exception)
        if not failed and got.get("text") == want:
            tally["same text"] += 1
        elif got.get("error") == "TPL_UNSUPPORTED" and what == "templates":
            tally["refused"] += 1
        elif failed and "error" in got:
            tally["both fail"] += 1
        else:
            wrong += 1
            if wrong <= 5:
                print("template %r\ncontext %s\nwant %r\ngot  %r\n" % (
                    request["template"] if what == "templates" else "", json.dumps(request["context"]), want, got))
    print("%s, seed %d: %s, %d wrong" % (what, seed, ", ".join("%d %s" % (n, k) for k, n in tally.items()), wrong))
    sys.exit(1 if wrong or not tally["same text"] else 0)


main()
