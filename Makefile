# recurd: one makefile for everything; `make help` lists the targets.
#
#   make B=build/dir     another output directory     make SAN=address|undefined|thread
#   make CC=clang CXX=clang++                         make WERROR=1

# Compiling uses every core, unless the caller chose a number of jobs; tests follow one another.
JOBS     = $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(shell nproc))
# Short lines while building; V=1 shows the commands.
Q       := $(if $(V),,@)
say      = $(if $(V),,@printf '  %-4s %s\n' '$(1)' '$(2)')
B       ?= $(if $(SAN),build/$(SAN),build)
SAN     ?=
WERROR  ?=
PREFIX  ?= /usr/local
DESTDIR ?=
VERSION := 0.1.0
COMMIT  := $(shell git describe --always --abbrev=7 --exclude='*' --dirty=+ 2>/dev/null || echo unknown)
# For the makes of stages beside each other: an edit meanwhile is not another commit to each of them.
AS_NOW   = --no-print-directory COMMIT=$(COMMIT)

PKGS  = libmicrohttpd jansson sentencepiece libsystemd libsodium inih libpcre2-8 libutf8proc libcurl \
        $(HIREDIS) $(ZSTD)
# Without it --shared says so; statecache/shared/wire.c sees by its header whether it is there.
HIREDIS = $(shell pkg-config --exists hiredis 2>/dev/null && echo hiredis)
# Without it states are kept as they are; statecache/store/compress.c sees it likewise.
ZSTD    = $(shell pkg-config --exists libzstd 2>/dev/null && echo libzstd)
# Asked once, on first use: `make demo` installs the packages before it compiles.
PKG_CFLAGS = $(eval PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null))$(PKG_CFLAGS)
PKG_LIBS   = $(eval PKG_LIBS := $(shell pkg-config --libs $(PKGS) 2>/dev/null) -ldl -lm -lstdc++)$(PKG_LIBS)

# Debian packages: to build and run, to test, to check more deeply.
DEPS_BUILD := gcc g++ make pkg-config libmicrohttpd-dev libjansson-dev libsentencepiece-dev \
              libsystemd-dev libsodium-dev libinih-dev libpcre2-dev libutf8proc-dev \
              libcurl4-openssl-dev libhiredis-dev libzstd-dev opencl-c-headers python3
DEPS_CLUSTER := $(DEPS_BUILD) redis-server haproxy iproute2
DEPS_TEST  := $(DEPS_CLUSTER) libcriterion-dev ocl-icd-libopencl1 pocl-opencl-icd curl
DEPS_CHECK := $(DEPS_TEST) clang libclang-rt-dev cppcheck valgrind oclgrind?

# What it is compiled for: x86_64, aarch64, …
MACHINE := $(firstword $(subst -, ,$(shell $(CC) -dumpmachine 2>/dev/null)))
WARN := -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla \
        -Wpointer-arith -Wwrite-strings -Wundef $(if $(WERROR),-Werror)
HARD := -fstack-protector-strong -fstack-clash-protection $(if $(filter x86_64,$(MACHINE)),-fcf-protection) -fPIE
HARD += $(if $(SAN),,-D_FORTIFY_SOURCE=2)
SANFLAGS := $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer) \
            $(if $(findstring undefined,$(SAN)),-fno-sanitize-recover=undefined)
# No fast-math anywhere, and no contraction the source does not spell: bits matter.
CFLAGS   ?= -O2 -g
CFLAGS_ALL = -std=gnu11 $(CFLAGS) -ffp-contract=off -fno-math-errno -fvisibility=hidden -pthread \
             $(WARN) $(HARD) $(SANFLAGS) -I. $(PKG_CFLAGS) -MMD -MP
CXXFLAGS_ALL = -std=c++17 -O2 -g -Wall -Wextra $(HARD) $(SANFLAGS) -I. $(PKG_CFLAGS) -MMD -MP
LDFLAGS_ALL = $(LDFLAGS) -pie -Wl,-z,relro,-z,now -pthread $(SANFLAGS)

# Instruction sets are per object: the rest of the program runs on any x86-64 (or other) CPU. Each
# kernels/cpu/impl/*.c is compiled once for every set named here; another set is one more line.
ISAS         := $(if $(filter x86_64,$(MACHINE)),avx2 avx512)$(if $(filter aarch64,$(MACHINE)),neon)
neon_FLAGS   := -march=armv8-a
avx2_FLAGS   := -mavx2 -mfma -mf16c
avx512_FLAGS := -mavx512f -mavx512bw -mavx512vl -mavx512dq -mfma -mf16c
ISA_OBJ       = $(foreach isa,$(ISAS),$(patsubst %.c,$B/%.$(isa).o,$(wildcard $(1)/impl/*.c)))
# Products once more, by matrix units; and by a model of them, for tests on a CPU without.
TILED        := $(if $(filter x86_64,$(MACHINE)),amx)
amx_FLAGS    := $(avx512_FLAGS) -DBY_TILES
TILE_OBJ     := $(foreach isa,$(TILED),$B/kernels/cpu/impl/linear.$(isa).o)
model_FLAGS  := $(amx_FLAGS) -DTILES_EMULATED
int16_model_FLAGS := $(avx512_FLAGS) -DBY_INT16 -DINT16_TILES=int16_avx512 -DTILES_EMULATED
MODELS       := $(if $(filter x86_64,$(MACHINE)),model int16_model)
# And once more, by whole numbers of 16 bits.
INT16S       := $(if $(filter x86_64,$(MACHINE)),int16_avx2 int16_avx512 int16_vnni int16_amx)$(if $(filter aarch64,$(MACHINE)),int16_neon)
int16_avx2_FLAGS   := $(avx2_FLAGS) -DBY_INT16
int16_avx512_FLAGS := $(avx512_FLAGS) -DBY_INT16
int16_neon_FLAGS   := $(neon_FLAGS) -DBY_INT16
int16_vnni_FLAGS   := $(avx512_FLAGS) -mavx512vnni -DBY_INT16
int16_amx_FLAGS    := $(int16_vnni_FLAGS) -DINT16_TILES=int16_vnni
TILE_OBJ     += $(foreach isa,$(INT16S),$B/kernels/cpu/impl/linear.$(isa).o)

# Every layer's folders; a program is a file or a folder in programs/.
LAYERS  := base kernels models statecache scheduler server
LIB_SRC := $(sort $(shell find $(LAYERS) -name '*.c' -not -path '*/impl/*'))
LIB_CXX := $(sort $(shell find $(LAYERS) -name '*.cc'))
CL_SRC  := $(wildcard kernels/opencl/src/*.cl kernels/opencl/src/*.clh kernels/opencl/src/nvidia/*.cl)
LIB_OBJ := $(LIB_SRC:%.c=$B/%.o) $(LIB_CXX:%.cc=$B/%.o) $(call ISA_OBJ,kernels/cpu) $(TILE_OBJ) \
           $(if $(CL_SRC),$B/kernels/opencl/sources.o) $B/server/page/texts.o
LIB     := $B/librecurd.a
PROGS   := $(patsubst programs/%,$B/%,$(basename $(wildcard programs/*.c)) \
             $(patsubst %/,%,$(wildcard programs/*/)))
GPU_PROGRAMS := $(addprefix $B/,oclcheck oclbench ocllaunch oclrows oclgroups oclpacks oclsums steps golden recurd-eval)
UNIT    := $(patsubst %.c,$B/%,$(wildcard tests/unit/test_*.c))

.PHONY: capacity capacity-measure all pages manual deb test-deb test-newcomer test-container page guide checks hostile long \
        torture cluster-test cluster-quick configs random random-quick help \
        deps deps-test deps-check demo run test \
        test-formats test-gguf test-aarch64 test-keys test-tokenizers tokenizers-quick test-templates \
        test-grammars test-clients unit \
        kernelcheck golden api load \
        lint bench bench-serve bench-peers peers opencl opencl-quick gpu gpu-programs oclgrind asan ubsan tsan valgrind fuzz fault install clean
.DEFAULT_GOAL := all
# Objects of test programs are kept, so that the next run need not compile them again.
.SECONDARY:

help: ## this list
	@grep -hE '^[a-z_.-]+:.*##' $(firstword $(MAKEFILE_LIST)) | sed 's/:.*##/\t/' | expand -t 14

all: $(PROGS) pages ## builds the programs and their manual pages into build/

deps-list:
	@echo $(DEPS_BUILD)
deps: ## installs what building needs (apt-get)
	@tests/deps.sh $(DEPS_BUILD)
deps-test: ## … and what the tests need
	@tests/deps.sh $(DEPS_TEST)
deps-check: ## … and what lint, fuzzing, valgrind and oclgrind need
	@tests/deps.sh $(DEPS_CHECK)

# These three work from a bare checkout; the inner make starts after the packages are there.
demo: deps ## starts the daemon on the bundled model and streams a story and a second turn
	@$(MAKE) $(JOBS) --no-print-directory all
	@python3 tests/demo.py $B/recurd
run: deps ## starts the daemon on the bundled model at 127.0.0.1:8080
	@$(MAKE) $(JOBS) --no-print-directory all
	$B/recurd
test: deps-test ## everything that answers within minutes
	@$(MAKE) $(JOBS) $(AS_NOW) checks
	@MAKE="$(MAKE) -j1 $(AS_NOW)" tests/stages.sh $B/test opencl-quick kernelcheck capacity \
	  unit cluster-quick page guide golden random-quick fault manual configs -- api load
checks: all $B/tests/recurd-next $B/kernelcheck $(TILED:amx=$B/tests/kernelcheck-tiles) \
        $(TILED:amx=$B/tests/golden-tiles) $B/golden $B/layers $B/twins $B/inputs $B/states $B/crashsim $B/random $B/oclcheck \
        $B/oclbundle $B/ocl_fault $(GPU_PROGRAMS) $(UNIT)

# What is compiled and how: each stamp changes only when its text does, so that a changed compiler or
# flag rebuilds everything, and a new commit one file.
.PHONY: FORCE
stamp = @mkdir -p $(@D); printf '%s\n' '$(subst ','\'',$(1))' | cmp -s - $@ || \
        printf '%s\n' '$(subst ','\'',$(1))' >$@
$B/flags: FORCE
	$(call stamp,$(CC) $(filter-out -Werror,$(CFLAGS_ALL)) $(CXX) $(CXXFLAGS_ALL) $(LDFLAGS_ALL) \
	  $(foreach isa,$(ISAS) $(TILED) $(MODELS) $(INT16S),$($(isa)_FLAGS)) $(shell $(CC) -dumpfullversion 2>&1))
$B/commit: FORCE
	$(call stamp,$(COMMIT))
$B/base/version.o: $B/commit
$B/base/version.o: CFLAGS_ALL += -DRECURD_VERSION='"$(VERSION)"' -DRECURD_COMMIT='"$(COMMIT)"'

$B/%.o: %.c $B/flags
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CFLAGS_ALL) -c $< -o $@

define isa_rule
$B/%.$(1).o: %.c $B/flags
	@mkdir -p $$(@D)
	$$(call say,CC,$$< ($(1)))
	$$(Q)$$(CC) $$(CFLAGS_ALL) $$($(1)_FLAGS) -c $$< -o $$@
endef
$(foreach isa,$(ISAS) $(TILED) $(MODELS) $(INT16S),$(eval $(call isa_rule,$(isa))))

$B/%.o: %.cc $B/flags
	@mkdir -p $(@D)
	$(call say,CXX,$<)
	$(Q)$(CXX) $(CXXFLAGS_ALL) -c $< -o $@

# Kernel sources, the tuning table and the page travel inside the program.
CL_TEXT := $(CL_SRC) $(wildcard etc/tuning/*.tune)
$B/kernels/opencl/sources.c: base/embed.sh $(CL_TEXT)
	@mkdir -p $(@D)
	$(call say,GEN,$@)
	$(Q)base/embed.sh $@ kernels/opencl/source.h "ocl_source ocl_sources" $(CL_TEXT)
PAGE_TEXT := $(wildcard server/page/*.html server/page/*.css server/page/*.js)
$B/server/page/texts.c: base/embed.sh $(PAGE_TEXT)
	@mkdir -p $(@D)
	$(call say,GEN,$@)
	$(Q)base/embed.sh $@ server/page/page.h "page_text page_texts" $(PAGE_TEXT)
$B/kernels/opencl/sources.o $B/server/page/texts.o: %.o: %.c $B/flags
	$(Q)$(CC) $(CFLAGS_ALL) -c $< -o $@

$(LIB): $(LIB_OBJ)
	@rm -f $@
	$(call say,AR,$@)
	$(Q)$(AR) rcs $@ $^

# The daemon as it would be after the next change of bits, for the tests of what it then refuses.
$B/tests/numerics_next.o: kernels/numerics.c $B/flags
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) -DNUMERICS_REVISION=1000 -c $< -o $@
$B/tests/recurd-next: $B/programs/recurd.o $B/tests/numerics_next.o $(LIB)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(PKG_LIBS)

$B/%: $B/programs/%.o $(LIB)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(PKG_LIBS)
define program_rule
$B/$(1): $(patsubst %.c,$B/%.o,$(wildcard programs/$(1)/*.c)) $(LIB)
	$$(call say,LD,$$@)
	$$(Q)$$(CC) $$(LDFLAGS_ALL) -o $$@ $$^ $$(PKG_LIBS)
endef
$(foreach p,$(patsubst programs/%/,%,$(wildcard programs/*/)),$(eval $(call program_rule,$(p))))

# Manual pages and completion for shells, from the tables that --help is made of.
PAGES := $(patsubst etc/manual/%.in,$B/man/%,$(wildcard etc/manual/*.in))
COMPLETIONS := $(foreach p,$(notdir $(PROGS)),$B/completion/bash/$p $B/completion/zsh/_$p)
pages: $(PAGES) $(COMPLETIONS)
$B/manual: $(patsubst %.c,$B/%.o,$(wildcard etc/manual/*.c))
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^
$(PAGES): $B/man/%: etc/manual/%.in $B/manual
	@mkdir -p $(@D)
	$(call say,MAN,$@)
	$(Q)$B/manual page $< $(VERSION) >$@.part && mv $@.part $@
$B/completion/bash/%: $B/manual
	@mkdir -p $(@D)
	$(Q)$B/manual bash $* >$@.part && mv $@.part $@
$B/completion/zsh/_%: $B/manual
	@mkdir -p $(@D)
	$(Q)$B/manual zsh $* >$@.part && mv $@.part $@
manual: all ## manual pages and completion against --help, by man, bash and zsh
	@rm -rf $B/installed
	$(Q)$(MAKE) -s --no-print-directory DESTDIR=$(abspath $B/installed) PREFIX=/usr install
	python3 tests/manual/run.py $B $B/installed

$B/tests/unit/%: $B/tests/unit/%.o $(LIB)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $(filter-out %.a,$^) $(filter %.a,$^) $(PKG_LIBS) -lcriterion

# Every kernel against its definition, and the promises about bits; --bench times them.
PEAK_OBJ  := $(call ISA_OBJ,tests/check) $(foreach isa,$(filter-out int16_amx,$(INT16S)),$B/tests/check/impl/peak.$(isa).o)
CHECK_OBJ := $(patsubst %.c,$B/%.o,$(filter-out tests/check/ocl%,$(wildcard tests/check/*.c))) $(PEAK_OBJ)
$B/kernelcheck: $(CHECK_OBJ) $(foreach isa,$(TILED),$B/tests/check/amx/tiles.$(isa).o) $(LIB)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(PKG_LIBS)
kernelcheck: $B/kernelcheck $(TILED:amx=$B/tests/kernelcheck-tiles) ## checks every kernel against its definition
	$B/kernelcheck
	tests/check/sums_test.sh $B/kernelcheck
	$(if $(TILED),$B/tests/kernelcheck-tiles --tiles 20000)
	$(if $(TILED),$B/tests/kernelcheck-tiles --variant '*amx')

# On a CPU that has the matrix unit, as far as these programs see: they come before the library.
$B/tests/cpuid_model.o: kernels/cpu/cpuid.c $B/flags
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) -DTILES_EMULATED -c $< -o $@
MODEL := $(MODELS:%=$B/kernels/cpu/impl/linear.%.o) $B/tests/cpuid_model.o
$B/tests/kernelcheck-tiles: $(CHECK_OBJ) $B/tests/check/amx/tiles.model.o $(MODEL) $(LIB)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(PKG_LIBS)
$B/tests/unit/test_int16_job: $(if $(MODELS),$(MODEL))
$B/tests/golden-tiles: $B/tests/golden/golden.o $B/tests/golden/distance.o $(MODEL) $(LIB)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(PKG_LIBS)

# Every format of weights against an independent decoder (from PyPI, or skipped).
$B/formatcheck: $B/tests/formats/formatcheck.o $(LIB)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(PKG_LIBS)
test-formats: $B/formatcheck ## weight formats against the gguf package (FORMAT_BLOCKS=10000: quick)
	python3 tests/formats/test_formats.py $B/formatcheck $(or $(FORMAT_BLOCKS),1000000)

# Every stored reference result, and the same bits however a prompt is cut.
$B/golden: $B/tests/golden/golden.o $B/tests/golden/distance.o $(LIB)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(PKG_LIBS)
$B/layers: $B/tests/golden/layers.o $(LIB)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(PKG_LIBS)
$B/twins: $B/tests/golden/twins.o $(LIB)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(PKG_LIBS)
$B/states: $B/tests/golden/states.o $B/tests/golden/distance.o $B/tests/golden/text.o $(LIB)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(PKG_LIBS)
$B/inputs: $(patsubst %,$B/tests/golden/%.o,inputs blocks distance text) $(LIB)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(PKG_LIBS)
$B/steps: $B/tests/gpu/steps.o $(LIB)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(PKG_LIBS)
$B/oclbench: $B/tests/gpu/bench.o $(LIB)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(PKG_LIBS)
$B/ocllaunch: $B/tests/gpu/launch.o $(LIB)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(PKG_LIBS)
$B/oclrows: $B/tests/gpu/rows.o $(LIB)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(PKG_LIBS)
$B/oclgroups: $B/tests/gpu/groups.o $(LIB)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(PKG_LIBS)
COMMA := ,
TILE_FAMILIES := $(addprefix public/,rwkv7 mamba2 gated_deltanet) hf/hf_qwen3_5_moe
golden: $B/golden $(TILED:amx=$B/tests/golden-tiles) $B/layers $B/twins $B/inputs $B/states $B/recurd-eval $B/recurd-convert ## checks every model family against its reference
	tests/golden/plans.sh $B/recurd-eval
	$B/golden
	$(if $(TILED),$B/tests/golden-tiles --kernels amx$(COMMA)float32 $(TILE_FAMILIES:%=tests/golden/%))
	$(foreach q,q8 q4,$B/golden --kernels int16$(COMMA)float32 --quantize $q models/demo/rwkv7 models/demo/gated-deltanet &&) true
	$(if $(TILED),$(foreach q,q8 q4,$B/tests/golden-tiles --kernels int16$(COMMA)float32 --quantize $q models/demo/rwkv7 &&) true)
	$B/layers
	python3 tests/golden/respell.py $B/golden
	python3 tests/golden/fp8.py $B/recurd-eval
	python3 tests/golden/pth.py $B
	$B/twins
	$B/inputs
	$B/states
	$B/golden --states float16

configs: $B/recurd ## describes, or refuses as listed, what is published
	python3 tests/configs/run.py $B/recurd

# Ids of texts against the tokenizers package of PyPI; skipped where it cannot be had.
$B/tokenizer-ids: $B/tests/tokenizers/ids.o $(LIB)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(PKG_LIBS)
TOKENIZERS_RUN = python3 tests/tokenizers/compare.py $B/tokenizer-ids --work $B/tokenizers
PLAMO_RUN = python3 tests/tokenizers/plamo.py $B/tokenizer-ids --work $B/tokenizers
test-tokenizers: $B/tokenizer-ids ## every code point against the tokenizers package (needs PyPI)
	$(PLAMO_RUN) --vocabularies 600
	$(TOKENIZERS_RUN)
tokenizers-quick: $B/tokenizer-ids ## … every 61st code point, in two minutes
	$(PLAMO_RUN)
	$(TOKENIZERS_RUN) --step 61 --texts 2000

# Under emulation; skipped where the cross compiler, qemu or debootstrap is missing.
test-aarch64: ## every kernel and model family on another processor (half an hour; network at first)
	tests/cross/aarch64.sh $B/aarch64

# Keys that recurd ignores, against the config classes of the libraries that tests/golden/make is made
# with; skipped where PYTHON does not have them. An hour: flash-linear-attention is interpreted.
KEYS_RUN = $(or $(PYTHON),python3) tests/golden/make/keys.py
test-keys: $B/recurd-eval $B/golden ## no key is ignored that changes a result (PYTHON=V/bin/python)
	$(KEYS_RUN) transformers $B tests/golden/hf/*/ tests/golden/more/*/
	$(KEYS_RUN) fla $B tests/golden/public/*/ tests/golden/fla/*/

# GGUF files of the gguf package of PyPI, and ours read by it; skipped where it cannot be had.
test-gguf: all ## files written by another GGUF writer, and ours read by it (needs PyPI)
	python3 tests/formats/test_gguf.py $B

# Against the newest llama.cpp on PyPI; skipped where it cannot be had.
peers: all ## tokens, logits, memory and speed beside llama.cpp (needs PyPI; an hour, a quiet machine)
	python3 tests/peers/peers.py $B

bench-peers: all $B/speed $B/kernelcheck ## speed beside llama.cpp and the machine's limits: text, JSON, a page
	python3 tests/peers/bench_peers.py $B $(PEERS)

# Random configurations of every family: refused in a sentence, or right on every way to a state.
$B/random: $B/tests/random/random.o $(LIB)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(PKG_LIBS)
RANDOM_RUN = tests/random/run.py $B/random --device $(or $(DEVICE),cpu) --seed $(or $(SEED),1)
random-quick: $B/random
	$(RANDOM_RUN) --cases $(or $(CASES),160)
random: ## random configurations under the sanitizers (CASES=1000 SEED=1 DEVICE=cpu)
	@$(MAKE) $(JOBS) --no-print-directory SAN=address,undefined B=build/asan build/asan/random
	@$(MAKE) -j1 --no-print-directory SAN=address,undefined B=build/asan \
	  CASES=$(or $(CASES),1000) random-quick

# The cache's promises under crashes and failing calls; FAULT_SEEDS=10000 for the long run.
$B/crashsim: $B/tests/fault/crashsim.o $(LIB)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(PKG_LIBS)
fault: $B/crashsim ## simulated crashes of the disk under the state cache
	$B/crashsim --seeds $(or $(FAULT_SEEDS),1000)

# Grammars against an independent validator and another engine, both from PyPI; what they cost.
$B/grammar-masks: $B/tests/grammars/masks.o $(LIB)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(PKG_LIBS)
test-grammars: $B/grammar-masks $B/recurd ## random schemas: answers, masks, costs (needs PyPI)
	python3 tests/grammars/run.py --masks $B/grammar-masks --recurd $B/recurd --work $B/grammars

unit: $(UNIT) ## unit tests (Criterion)
	@tests/unit/run.sh $(UNIT)

api: $B/recurd $B/recurd-eval $B/recurd-state $B/tests/recurd-next ## black-box tests of the daemon through a real socket
	python3 tests/api/run.py --recurd $B/recurd

hostile: $B/recurd ## attacks on the daemon, each with its figure and bound
	python3 tests/hostile/run.py --recurd $B/recurd

long: $B/recurd $B/crashsim ## hundreds of stops, kills, restarts; an hour's soak; 10^6 crashes (hours)
	python3 tests/long/run.py --recurd $B/recurd --crashsim $B/crashsim

# Hosts are network namespaces; where none may be made it says so and passes.
CLUSTER_RUN = python3 tests/cluster/run.py --recurd $B/recurd --next $B/tests/recurd-next
cluster-test: ## replicas, store and HAProxy on hosts of their own, killed and cut off (root; 10 min)
	@tests/deps.sh $(DEPS_CLUSTER)
	@$(MAKE) $(JOBS) --no-print-directory $B/recurd $B/tests/recurd-next
	$(CLUSTER_RUN)
cluster-quick: $B/recurd $B/tests/recurd-next ## the same for a minute, without what needs a quiet machine (root)
	$(CLUSTER_RUN) --short --seconds 180

torture: $B/recurd ## one life of the daemon, in which each allocation fails once (an hour; STEP=7: some)
	python3 tests/fault/torture.py --recurd $B/recurd --step $(or $(STEP),1)

$B/speed: $B/tests/check/limits.o $(PEAK_OBJ)
$B/speed $B/receipts: $B/%: $B/tests/bench/%.o $(LIB)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(PKG_LIBS)
bench: $B/speed $B/recurd $B/recurd-bench ## speed, memory and start-up of the bundled and of a larger model
	python3 tests/bench/bench.py $B

bench-serve: all ## the load client's standard workloads, with a report in build/report
	tests/load/bench_serve.sh --build $B --out $B/report
load: $B/recurd-bench $B/recurd ## tests of the load client, against known delays and the daemon
	python3 tests/load/run_tests.py --bench $B/recurd-bench --daemon $B/recurd \
	  --artifacts $B/bench-tests

# The OpenCL backend on whatever device is there; PoCL runs it on a CPU.
OCL_DEVICE   = $(or $(DEVICE),opencl:pocl)
# One family for each kind of layer: most of a model's time is PoCL compiling its kernels.
OCL_FAMILIES := $(addprefix public/,gated_deltanet rwkv7 mamba2 mamba mla log_linear_mamba2 nsa) \
                hf/hf_qwen3_5_moe more/kimi_groups
# Groups of a size in which a whole layer of RWKV-7 can be merged.
BUNDLE_TUNE  := group=32 state_cols=32 slice_min=32 slices=4
# … and of Gated DeltaNet: heads that share keys. Groups of one size, so that a walk has them all.
DELTA_TUNE   := group=128 state_cols=32 slice_min=32 slices=4 mma=1
# Products by wgmma, modelled, with all slices apart.
SUMS_TUNE    := group=128 state_cols=32 slice_min=32 slices=4 mma=1 wgmma=1 split=2 many_rows=33
# Rows that are written packed: kernels for many rows, on emulated tensor cores.
PACKS_TUNE   := group=128 mma=1 many_rows=9
# Long rows, of which several warps have one. Sequences of one row first, then of several: by the
# kernel for few of them, and by that for many.
NORM_SHAPES  := 2x1x2x600x1x1x1x1x0 2x4x1x1100x0x0x0x0x0
DELTA_SHAPES := 13x1x1x1x16x12x1x3x1x0x0x0 13x2x2x2x16x36x1x2x0x1x0x0
# Attention on emulated tensor cores: pages, a window, sums of forget gates.
MMA_FAMILIES := gated_deltanet_hybrid samba forgetting_transformer
$B/oclcheck: $(patsubst %,$B/tests/check/%.o,oclcheck oclsample oclgrind ops families ew rig) $(LIB)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(PKG_LIBS)
$B/oclbundle: $(patsubst %,$B/tests/check/%.o,oclbundle oclgrind oclwgmma) $(LIB)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(PKG_LIBS)
$B/oclpacks: $B/tests/check/oclpacks.o $(LIB)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(PKG_LIBS)
$B/oclsums: $(patsubst %,$B/tests/check/%.o,oclsums oclwgmma) $(LIB)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(PKG_LIBS)
$B/ocl_fault: $B/tests/fault/ocl_fault.o $(LIB)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(PKG_LIBS)
opencl: $B/oclcheck $B/ocl_fault $B/golden $B/layers ## everything on OpenCL (DEVICE=opencl:…)
	$B/oclcheck --device $(OCL_DEVICE)
	$B/ocl_fault $(OCL_DEVICE)
	$B/golden --device $(OCL_DEVICE)
	$B/ocl_fault --quick $(OCL_DEVICE)+$(OCL_DEVICE)
	$B/layers --device $(OCL_DEVICE)
opencl-quick: $B/oclcheck $B/oclsums $B/oclpacks $B/oclrows $B/oclgroups $B/oclbundle $B/ocl_fault $B/golden ## … in two minutes: fewer inputs, calls, families
	tests/check/oclgrind.sh --parse $B/oclcheck
	$B/oclcheck --quick --device $(OCL_DEVICE)
	$B/oclcheck --device $(OCL_DEVICE) --op attention --shape 5x4x1x48x31x64x1x0 --class nan \
	  --tune 'mma=1 key_split=64'
	for shape in $(NORM_SHAPES); do $B/oclcheck --device $(OCL_DEVICE) --op norm --shape $$shape \
	  --class uniform --tune 'mma=1 many_rows=2 group=128' || exit 1; done
	for shape in $(DELTA_SHAPES); do $B/oclcheck --aligned --device $(OCL_DEVICE) --op delta \
	  --shape $$shape --class uniform --tune 'mma=1 many_rows=2' || exit 1; done
	$B/oclrows --device $(OCL_DEVICE) --shape 90x300x70 --tune mma=1 --tune "mma=1 wgmma=1"
	$B/oclgroups --device $(OCL_DEVICE) --groups 2 --rows 70 --small --tune mma=1
	$B/oclbundle tests/check/bundle $(OCL_DEVICE) --tune '$(BUNDLE_TUNE)' 1 3 10 5+4 70 30+50 270 100+200
	$B/oclbundle tests/check/bundle $(OCL_DEVICE) --tune '$(BUNDLE_TUNE) mma=1' 2 10
	$B/oclbundle tests/check/bundle $(OCL_DEVICE) --tune '$(BUNDLE_TUNE) mma=1 many_rows=33' --once 9+11 40 66 5+62
	$B/oclbundle tests/check/bundle-delta $(OCL_DEVICE) --tune '$(DELTA_TUNE)' --most 75 1 3
	$B/oclbundle tests/check/bundle-delta $(OCL_DEVICE) --tune '$(DELTA_TUNE) persistent=128' --most 30 1 3 1+9
	$B/oclbundle tests/check/bundle $(OCL_DEVICE) --tune '$(DELTA_TUNE) persistent=128' 1 10 5+4
	$B/oclbundle tests/check/bundle-kda $(OCL_DEVICE) --tune '$(DELTA_TUNE) mma=0 state_split=32 persistent=128' \
	  --most 10 1 3
	$B/oclbundle tests/check/bundle-delta $(OCL_DEVICE) --tune '$(DELTA_TUNE)' --quantize q8 --most 75 1
	$B/oclsums $(OCL_DEVICE) 40 300
	$B/oclbundle tests/check/bundle $(OCL_DEVICE) --wgmma --tune '$(SUMS_TUNE)' --once 66 5+62
	$B/oclpacks tests/check/packs $(OCL_DEVICE) --tune '$(PACKS_TUNE)' 33 40 70 200
	$B/oclpacks tests/check/packs-long $(OCL_DEVICE) --tune '$(PACKS_TUNE)' 40
	$B/oclpacks tests/check/bundle $(OCL_DEVICE) --tune '$(PACKS_TUNE) wide_rows=80' 33 66 90
	$B/oclpacks tests/check/packs-pairs $(OCL_DEVICE) --tune '$(PACKS_TUNE) wide_rows=80 bundle=0' 40 90
	$B/ocl_fault --quick $(OCL_DEVICE)
	$B/golden --device $(OCL_DEVICE) $(OCL_FAMILIES:%=tests/golden/%)
	$B/golden --device $(OCL_DEVICE),bank_kib=600+$(OCL_DEVICE),bank_kib=600+rows=7 \
	  tests/golden/public/gated_deltanet
	$B/golden --device '$(OCL_DEVICE),mma=1 key_split=64' $(MMA_FAMILIES:%=tests/golden/public/%)
	$B/golden --device $(OCL_DEVICE)+$(OCL_DEVICE)+rows=7 tests/golden/hf/hf_qwen3_5_moe
gpu: gpu-programs ## every check of the OpenCL backend with whole models, and its times (DEVICE=opencl:…)
	B=$B tests/gpu/run.sh $(OCL_DEVICE:opencl:%=%)
gpu-programs: $(GPU_PROGRAMS) ## … its programs alone: tests/gpu/run.sh runs them, on another machine too
oclgrind: $B/oclcheck ## every portable OpenCL kernel where races, bounds and unwritten values show
	tests/check/oclgrind.sh $B/oclcheck

# Published chat templates, fetched from PyPI, against jinja2 with the settings of transformers.
$B/jinja_render: $B/tests/templates/jinja_render.o $(LIB)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(PKG_LIBS)
test-templates: $B/jinja_render ## published chat templates against their reference (needs pip)
	python3 tests/templates/run.py $B/jinja_render --cache $B/templates

guide: all ## every command of the user's guide (etc/guide), run and compared
	python3 tests/guide/run.py $B

capacity: ## the capacity program's formulas against its events, its constants against the sources
	python3 tests/capacity/test_capacity.py
capacity-measure: $B/recurd ## … its prediction against three replicas and a redis-server (three minutes)
	python3 tests/capacity/measure.py $B

page: $B/recurd ## the page at /, driven in Chromium where there is one
	tests/page/run.py --recurd $B/recurd

# Official clients and those of frameworks, from PyPI; each that cannot be had is skipped.
test-clients: $B/recurd ## clients that people use, against the daemon (needs pip)
	tests/clients/run.py --recurd $B/recurd --cache $B/clients

lint: $(LIB) ## layers, link cycles, sizes, banned calls, names of files, cppcheck
	tests/lint/run.sh . $B

# The same tests under a sanitizer; Criterion exits 0 on a leak in a passing test, so unit/run.sh
# also looks for the sanitizer's own words.
asan: ## tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@$(MAKE) $(JOBS) $(AS_NOW) SAN=address,undefined B=build/asan checks
	@MAKE="$(MAKE) -j1 $(AS_NOW) SAN=address,undefined B=build/asan" \
	  tests/stages.sh build/asan/test unit golden -- api
ubsan: ## tests under UndefinedBehaviorSanitizer
	@$(MAKE) $(JOBS) $(AS_NOW) SAN=undefined checks
	@MAKE="$(MAKE) -j1 $(AS_NOW) SAN=undefined" \
	  tests/stages.sh build/undefined/test unit golden -- api
tsan: ## races in the scheduler (plain programs: Criterion itself breaks under TSan)
	@$(MAKE) $(JOBS) --no-print-directory SAN=thread race
RACE := $(patsubst %.c,$B/%,$(wildcard tests/race/*.c))
# No backends and no server: those objects take most of the compiling, and few are called.
$B/librace.a: $(filter-out $B/kernels/cpu/% $B/kernels/ref/% $B/kernels/opencl/% \
                $B/models/arch/% $B/server/%,$(LIB_OBJ))
	@rm -f $@
	$(call say,AR,$@)
	$(Q)$(AR) rcs $@ $^
$B/tests/race/%: $B/tests/race/%.o $B/librace.a
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $(filter-out %.a,$^) $(filter %.a,$^) $(PKG_LIBS)
# Steps of the cpu backend by the definition's kernels: the vector ones take most of the rest.
$B/tests/select_ref.o: kernels/cpu/select.c $B/flags
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) -DREF_ALONE -c $< -o $@
$B/tests/race/race_steps: $B/tests/select_ref.o $(patsubst %.c,$B/%.o,$(wildcard kernels/ref/*.c) \
  $(filter-out %/select.c,$(wildcard kernels/cpu/*.c)))
$B/tests/race/race_beside: $(patsubst %,$B/kernels/opencl/%.o,beside buffer call)
race: $(RACE)
	@for t in $(RACE); do echo "== $$t"; $$t || exit 1; done
valgrind: $B/recurd ## API tests under valgrind
	python3 tests/api/run.py --recurd $B/recurd --valgrind
fuzz: ## every fuzz target for FUZZ_SECONDS (needs clang)
	tests/fuzz/run.sh $(or $(FUZZ_SECONDS),20)

SHARE = $(PREFIX)/share
UNITS ?= $(PREFIX)/lib/systemd/system
install: all ## into DESTDIR/PREFIX, with the demo models, manual pages and systemd units
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/recurd/demo \
	  $(DESTDIR)$(UNITS) $(DESTDIR)/etc/recurd $(DESTDIR)$(SHARE)/zsh/vendor-completions \
	  $(foreach n,1 5 8,$(DESTDIR)$(SHARE)/man/man$n) $(DESTDIR)$(SHARE)/bash-completion/completions
	install -m 755 $(PROGS) $(DESTDIR)$(PREFIX)/bin
	for m in models/demo/*/; do d=$(DESTDIR)$(PREFIX)/share/recurd/demo/$$(basename $$m); \
	  install -d $$d && install -m 644 $$m/* $$d || exit 1; done
	for p in $(PAGES); do install -m 644 $$p $(DESTDIR)$(SHARE)/man/man$${p##*.}/ || exit 1; done
	install -m 644 $(filter $B/completion/bash/%,$(COMPLETIONS)) $(DESTDIR)$(SHARE)/bash-completion/completions
	install -m 644 $(filter $B/completion/zsh/%,$(COMPLETIONS)) $(DESTDIR)$(SHARE)/zsh/vendor-completions
	for u in systemd/*.service systemd/*.socket; do \
	  sed 's|/usr/local/bin|$(PREFIX)/bin|' $$u >$(DESTDIR)$(UNITS)/$$(basename $$u) && \
	  chmod 644 $(DESTDIR)$(UNITS)/$$(basename $$u) || exit 1; done
	install -d $(DESTDIR)$(PREFIX)/share/recurd/systemd
	install -m 644 systemd/recurd.service.d/*.conf $(DESTDIR)$(PREFIX)/share/recurd/systemd
	for d in proxy monitoring; do install -d $(DESTDIR)$(PREFIX)/share/recurd/$$d && \
	  install -m 644 etc/$$d/* $(DESTDIR)$(PREFIX)/share/recurd/$$d || exit 1; done
	install -d $(DESTDIR)$(PREFIX)/share/recurd/capacity
	install -m 644 etc/capacity/*.py $(DESTDIR)$(PREFIX)/share/recurd/capacity
	install -d $(DESTDIR)$(SHARE)/doc/recurd/guide
	install -m 644 etc/guide/*.md $(DESTDIR)$(SHARE)/doc/recurd/guide
	[ -e $(DESTDIR)/etc/recurd/recurd.conf ] || install -m 644 etc/recurd.conf $(DESTDIR)/etc/recurd/
	install -m 600 etc/api-keys.example $(DESTDIR)/etc/recurd/

# Packages of this distribution; VERSION=… makes another one, as the test of upgrades does.
deb: all ## Debian packages in build/deb (recurd, recurd-bench, recurd-models-demo)
	@rm -rf $B/deb-root
	$(Q)$(MAKE) -s --no-print-directory DESTDIR=$(abspath $B/deb-root) PREFIX=/usr install
	etc/debian/build.sh $B/deb-root $(VERSION) $B/deb
test-deb: ## … lintian; installed, upgraded, removed and purged in a root by debootstrap (root, network)
	MAKE="$(MAKE)" tests/packages/run.sh $B
test-newcomer: ## … somebody new installs, chats in Chromium, restarts, goes on; timed (root, network)
	MAKE="$(MAKE)" tests/packages/newcomer.sh $B
test-container: ## the image of etc/container, built by buildah on a clean root, and asked (root, network)
	tests/packages/container.sh $B

compile_commands.json: FORCE ## the compiler's command of every file, for editors
	$(Q)$(MAKE) -Bnk --no-print-directory V=1 checks 2>/dev/null | python3 tests/compile_commands.py >$@

clean: ## removes build/
	rm -rf build

-include $(shell find $B -name '*.d' -type f -not -path '*-root/*' 2>/dev/null)
