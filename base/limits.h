/* Every limit of the program, each with its reason. Changing one needs no other edit. */
#ifndef RECURD_LIMITS_H
#define RECURD_LIMITS_H

#define KIB(n) ((size_t)(n) << 10)
#define MIB(n) ((size_t)(n) << 20)
#define GIB(n) ((size_t)(n) << 30)

/* --- model files: hostile until checked --- */
#define LIMIT_CONFIG_BYTES MIB(4)         /* config.json of the largest hub models: < 100 KiB */
#define LIMIT_ST_HEADER_BYTES MIB(16)     /* 65,536 tensors at ~150 B a row; format: 100 MB */
#define LIMIT_ST_TENSORS (1 << 18)        /* a 60-layer, 512-expert model has ~95,000 */
#define LIMIT_ST_DIMS 5                   /* conv weights have 3, kimi_linear's A_log has 4 */
#define LIMIT_TENSOR_NAME 256             /* longest name seen: ~110 bytes */
#define LIMIT_ST_SHARDS 512               /* files of one checkpoint */
#define LIMIT_GGUF_HEADER_BYTES MIB(256)  /* a 262,144-token vocabulary with merges: ~20 MB */
#define LIMIT_GGUF_VALUES 65536           /* files in use have 20 to 60 */
#define LIMIT_TOKENIZER_BYTES MIB(64)     /* tokenizer.json of a 256k vocabulary: ~35 MB */
#define LIMIT_VOCAB (1 << 20)             /* largest published: 262,144 */
#define LIMIT_TOKEN_BYTES 512             /* one vocabulary piece; GPT-NeoX has one of 512 spaces */
#define LIMIT_LAYERS 1024                 /* deepest published: < 130 */
#define LIMIT_HIDDEN (1 << 16)            /* widest published: 18,432 */
#define LIMIT_WIDTH (1 << 20)             /* any single activation width */
#define LIMIT_MATRIX_ROWS (1 << 29)       /* 16 tables of 20,000,000 hashed n-grams: 320,000,000 */
#define LIMIT_JSON_DEPTH 64               /* 2,048 levels overflow a 128 KiB thread stack */
#define LIMIT_JSON_VALUES 1000000         /* a request of 256 Ki token ids, with room to spare */

/* --- plan --- */
#define LIMIT_OPS 16384                   /* ~24 a layer */
#define LIMIT_ACTS 32768                  /* activations before liveness merges them */
#define LIMIT_EW_CODE 36                  /* and the inputs: 48 registers x 128 floats = 24 KiB */
#define LIMIT_EW_IN 12
#define LIMIT_EW_OUT 8

#define SPARSE_BLOCKS_MAX 16384 /* blocks of the past a sparse layer scores: 64 KiB of stack */

/* --- what kernels have room for (kernels/validate.h) --- */
#define LIMIT_BLOCKS (1 << 24)            /* numbers of blocks are exact as floats */
#define LIMIT_SINKHORN 16                 /* rows of a mixing matrix on a kernel's stack */
#define LIMIT_CONV_SIZE 64                /* taps; published: at most 4 */
#define LIMIT_MESA_K 256                  /* K x K doubles of stack: 550 KB */
#define LIMIT_PATH_DK 512                 /* a query as older keys see it, of 16 heads: 32 KiB */
#define LIMIT_PARALLAX_DV 1024            /* a second sum of values, of 16 heads: 64 KiB */
#define LIMIT_SPARSE_D 1024               /* means of a block's keys and values */
#define LIMIT_TOPK 1024                   /* indices on a kernel's stack */
#define LIMIT_SQUARE_PER 64               /* query heads of a key head */
#define LIMIT_NGRAM 8                     /* tokens hashed together; published: 3 */
#define LIMIT_NGRAM_HEADS 64              /* rows of a table a token looks up; published: 16 */

/* --- requests --- */
#define LIMIT_HEADER_BYTES KIB(16)        /* of a request line and its headers */
#define LIMIT_HEADERS 128                 /* browsers send 20; each costs the library 64 bytes */
#define LIMIT_TARGET_BYTES KIB(8)         /* a path and its query */
#define LIMIT_METHOD_BYTES 32
#define LIMIT_CHUNK_EXTENSION 256         /* nobody sends one */
#define LIMIT_BODY_BYTES MIB(4)           /* parsing JSON costs 21-30 x its size in memory */
#define LIMIT_PROMPT_TOKENS (1 << 18)     /* 256 Ki: what a body of 4 MiB can name */
#define LIMIT_PROMPTS 128                 /* prompts in one completion request */
#define LIMIT_CHOICES 128                 /* n, as the OpenAI specification */
#define LIMIT_MESSAGES 1024
#define LIMIT_CLIENT_STOPS 63             /* stop strings of one request (OpenAI: 4), */
#define LIMIT_STOPS 64                    /* … and one of the chat format */
#define LIMIT_STOP_BYTES 128              /* one stop string; bounds the held-back text */
#define LIMIT_STOP_IDS 64
#define LIMIT_LOGIT_BIAS 1024             /* entries */
#define LIMIT_TOP_LOGPROBS 20             /* OpenAI chat */
#define LIMIT_REPEAT_TOKENS (1 << 20)     /* repeat_last_n: 5 bytes each */
#define LIMIT_DRY_TOKENS (1 << 14)        /* looked at for repetitions: some 50 us a token */
#define LIMIT_DRY_BREAKERS 16             /* llama-server's default has 4 */
#define LIMIT_DRY_BREAKER_BYTES 40        /* as llama-server */
#define LIMIT_NOTE_BYTES 256              /* value of a header of ours that names things */
#define LIMIT_CHAT_RULES 32               /* normalising rules of system messages */
#define LIMIT_CHAT_RULES_BYTES KIB(256)   /* of their file */
#define LIMIT_EVENTS 256                  /* tokens waiting for a slow reader before it stalls */

/* --- chat templates: programs of a model's author, or of a client --- */
#define LIMIT_TEMPLATE_BYTES MIB(1)       /* largest published: 35 KiB */
#define LIMIT_TEMPLATE_NODES (1 << 17)    /* of its syntax tree; the largest has ~3,000 */
#define LIMIT_TEMPLATE_NESTING 64         /* of blocks and expressions in the source */
#define LIMIT_TEMPLATE_DEPTH 200          /* of evaluation, macros included: 150 KiB of stack */
#define LIMIT_TEMPLATE_STEPS 300000       /* nodes evaluated, 128 bytes copied: below 50 ms */
#define LIMIT_TEMPLATE_STEPS_VALUE 1000   /* … and for each value of the input … */
#define LIMIT_TEMPLATE_STEPS_MAX 16000000 /* … up to this */
#define LIMIT_TEMPLATE_MEMORY MIB(32)     /* of one rendering … */
#define LIMIT_TEMPLATE_MEMORY_X 24        /* … and this many times what the client sent */
#define LIMIT_TEMPLATE_OUTPUT MIB(8)      /* twice the largest body */
#define LIMIT_TEMPLATE_RANGE 100000       /* elements of a range, as the reference's sandbox */

/* --- constrained decoding: definitions are a stranger's --- */
#define LIMIT_GRAMMAR_BYTES KIB(256)      /* of a definition; schemas of large APIs: < 100 KiB */
#define LIMIT_GRAMMAR_RULES (1 << 15)
#define LIMIT_GRAMMAR_STATES (1 << 17)    /* with the edges: 6 MiB, built in some 10 ms */
#define LIMIT_GRAMMAR_EDGES (1 << 18)
#define LIMIT_GRAMMAR_REPEAT (1 << 20)    /* a{n}: doubling rules, so memory does not care */
#define LIMIT_GRAMMAR_ITEMS 4096          /* places of a grammar that one text may stand at */
#define LIMIT_GRAMMAR_POOL MIB(8)         /* what is remembered of its positions, then forgotten */
#define LIMIT_GRAMMAR_MASKS 128           /* masks kept: 2.4 MB at a vocabulary of 150,000 */
#define LIMIT_GRAMMAR_STEPS (1 << 20)     /* item moves for one mask: some 20 ms */
#define LIMIT_GRAMMAR_CACHE MIB(96)       /* all compiled grammars of a server */
#define LIMIT_REGEX_DEPTH 64              /* groups in groups, in regexes and GBNF */
#define LIMIT_TRIGGER_BYTES 64            /* text after which a grammar starts */

/* --- tool calls in what a model writes --- */
#define LIMIT_CALL_BYTES KIB(256)         /* held back until a call is complete */
#define LIMIT_SHOWN_IDS 8                 /* special tokens that mark calls and reasoning */

/* --- responses that clients may go on with --- */
#define LIMIT_RESPONSES 4096
#define LIMIT_RESPONSES_BYTES MIB(64)     /* with their conversations, as text */

/* --- serving defaults; each is also a key of recurd.conf --- */
#define DEFAULT_SLOTS 64                  /* sequences running at once */
#define DEFAULT_QUEUE 256                 /* waiting requests before 429 */
#define DEFAULT_STEP_TOKENS 512           /* tokens of one step: GEMM tiles are full at 64 */
#define DEFAULT_LOGIT_ROWS 64             /* rows of logits a step may produce */
#define DEFAULT_REQUEST_TIMEOUT_S 600     /* what the OpenAI client waits by default */
#define DEFAULT_DRAIN_S 30                /* running requests may finish this long after SIGTERM */
#define DEFAULT_CONNECTIONS 10000         /* 4.5 kB each when silent (measured) */

#endif
