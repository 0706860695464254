"""A coding agent's conversation: a long system prompt, tools, ten turns of a call and its result.
What is computed in each turn is what is new; a line at the head that changes makes all of it new
(the figures are printed: prompt tokens, of them from the cache)."""
import json

import openai

from feature import BASE, HI, KEY, MODEL, TOOL, feature, main

client = openai.OpenAI(base_url=BASE + "/v1", api_key=KEY, max_retries=0, timeout=120)
SYSTEM = "You are a coding agent. Read files before you change them. Be brief. " * 12
TURNS = 10


def talk(system):
    """(prompt tokens, cached tokens) of each turn. system: of the turn's number."""
    messages, figures = list(HI), []
    for turn in range(TURNS):
        r = client.chat.completions.create(
            model=MODEL, messages=[{"role": "system", "content": system(turn)}] + messages,
            tools=[TOOL], max_tokens=16, temperature=0)
        figures.append((r.usage.prompt_tokens, r.usage.prompt_tokens_details.cached_tokens))
        call = {"id": "c%d" % turn, "type": "function", "function": {
            "name": "weather", "arguments": json.dumps({"city": "Rome %d" % turn})}}
        messages += [{"role": "assistant", "content": None, "tool_calls": [call]},
                     {"role": "tool", "tool_call_id": call["id"], "content": "Sun, %d." % turn}]
    print("#     agent         computed of all, each turn: "
          + " ".join("%d/%d" % (p - c, p) for p, c in figures), flush=True)
    return figures


@feature("ten turns: only what is new is computed")
def same():
    figures = talk(lambda turn: SYSTEM)
    for before, now in zip(figures, figures[1:]):
        new = now[0] - before[0]
        # The last turn's opening for the reply is not in the next prompt where a call follows.
        assert now[0] - now[1] <= new + 64, (before, now)


@feature("ten turns, a line at the end of the system prompt changes")
def changing_end():
    figures = talk(lambda turn: SYSTEM + "Time: %02d:00." % turn)
    assert all(c > 0 for _, c in figures[1:]), figures


main()
