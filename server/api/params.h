/* A generation request as sent: JSON -> checked values. Knows the model's vocabulary, not its
 * tokenizer: text stays text. Everything lives in one arena. Thread: any. */
#ifndef RECURD_PARAMS_H
#define RECURD_PARAMS_H

#include "base/arena.h"
#include "models/text/chat/chat.h"
#include "models/text/constrain/grammar.h"
#include "scheduler/served.h"
#include "scheduler/request.h"

enum params_kind { PARAMS_COMPLETION, PARAMS_CHAT, PARAMS_TOKENIZE, PARAMS_DETOKENIZE,
                   PARAMS_APPLY };

/* One prompt: text, or (text NULL) ids that are in the vocabulary. */
struct prompt_in {
    const char *text;
    size_t n_text;
    int32_t *ids;
    int32_t n_ids;
};

/* A definition that the answer's text must follow. */
struct constrain_in {
    const char *field; /* the request's, a literal; NULL = none */
    enum grammar_kind kind;
    const char *text;  /* in the arena */
    size_t n;
    bool compact;
};

enum tool_choice { TOOL_AUTO, TOOL_NONE, TOOL_REQUIRED, TOOL_NAMED };

struct params {
    struct arena arena;
    enum params_kind kind;
    const char *model;              /* NULL = not named */
    int32_t n_prompts;              /* completions, tokenize, detokenize */
    struct prompt_in *prompts;
    const char *suffix;             /* completions: behind the gap; NULL = none; in the arena */
    size_t n_suffix;
    int32_t n_messages;             /* chat, tokenize */
    struct chat_request chat;       /* with messages; borrows from chat_tree */
    struct json_t *chat_tree;       /* owned; NULL = none, or dropped */
    int32_t n;                      /* choices drawn for each prompt (best_of) */
    int32_t n_best;                 /* of them, the likeliest that the reply has; <= n */
    bool request_templates;         /* as the server is set */
    struct chat_rules *rules;       /* likewise; NULL = none */
    uint32_t rules_applied;         /* a bit for each that changed a message */
    bool cache_details;             /* usage says where the state cache hit, and why not deeper */
    bool receipt, receipt_ids;      /* of the answer, with its tokens (scheduler/receipt.h) */
    bool echo, stream, include_usage, return_ids, add_special, return_strs;
    int32_t logprobs;               /* -1 = none */
    int64_t max_tokens;             /* -1 = not named */
    int64_t min_tokens;
    bool ignore_eos;
    int64_t priority;
    const char *session, *turn_id;  /* NULL = none; in the arena */
    int64_t expected_position;      /* -1 = none */
    int64_t expected_generation;    /* 0 = none */
    int64_t pin_s;                  /* prompt_cache_key, prompt_cache_retention */
    bool has_seed;
    struct sampling sampling;       /* bias in the arena; the seed as sent */
    int32_t n_stops, n_stop_ids;
    char stops[LIMIT_STOPS][LIMIT_STOP_BYTES + 1];
    int32_t stop_ids[LIMIT_STOP_IDS];
    struct constrain_in constrain;
    enum tool_choice tool_choice;
    const char *tool_name;          /* of TOOL_NAMED; in the arena */
    bool single_call;               /* parallel_tool_calls: false */
    const char *budget_field;       /* a literal; NULL = none was named */
    int64_t budget;                 /* of tokens of reasoning; -1 = as many as it likes */
    bool reasoning;                 /* apart from the text, where the model writes it */
};

/* n: the body's bytes as sent. Of m, names, defaults, vocab and what requests may do are read.
 * E_NOENT: another model is named. After a failure too, params_fini must be called. */
int params_read(struct params *p, enum params_kind kind, const struct served *m,
                const struct json_t *body, size_t n, struct err *e) MUST_USE;
void params_fini(struct params *p);
/* The conversation is in tokens now: its JSON, 20-30 times its text, goes early. */
void params_drop_chat(struct params *p);

#endif
