# recurd: one makefile for everything; `make help` lists the targets.
#
#   make B=build/dir     another output directory     make SAN=address|undefined|thread
#   make CC=clang CXX=clang++                         make WERROR=1

B       ?= $(if $(SAN),build/$(SAN),build)
SAN     ?=
WERROR  ?=
PREFIX  ?= /usr/local
DESTDIR ?=
VERSION := 0.1.0
COMMIT  := $(shell git rev-parse --short HEAD 2>/dev/null || echo unknown)

PKGS := libmicrohttpd jansson sentencepiece libsystemd libsodium inih libpcre2-8 libutf8proc
PKG_CFLAGS = $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
PKG_LIBS   = $(shell pkg-config --libs $(PKGS) 2>/dev/null) -ldl -lm -lstdc++

WARN := -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla \
        -Wpointer-arith -Wwrite-strings -Wundef $(if $(WERROR),-Werror)
HARD := -fstack-protector-strong -fstack-clash-protection -fcf-protection -fPIE
HARD += $(if $(SAN),,-D_FORTIFY_SOURCE=2)
SANFLAGS := $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer)
# No fast-math anywhere, and no contraction the source does not spell: bits matter.
CFLAGS   ?= -O2 -g
CFLAGS_ALL = -std=gnu11 $(CFLAGS) -ffp-contract=off -fno-math-errno -fvisibility=hidden -pthread \
             $(WARN) $(HARD) $(SANFLAGS) -I. $(PKG_CFLAGS) -MMD -MP \
             -DRECURD_VERSION='"$(VERSION)"' -DRECURD_COMMIT='"$(COMMIT)"'
CXXFLAGS_ALL = -std=c++17 -O2 -g -Wall -Wextra $(HARD) $(SANFLAGS) -I. $(PKG_CFLAGS) -MMD -MP
LDFLAGS_ALL = $(LDFLAGS) -pie -Wl,-z,relro,-z,now -pthread $(SANFLAGS)

# Instruction sets are per file: the rest of the program runs on any x86-64 (or other) CPU.
AVX2_FLAGS   := -mavx2 -mfma -mf16c
AVX512_FLAGS := -mavx512f -mavx512bw -mavx512vl -mavx512dq -mfma -mf16c

MAINS := server/recurd.c models/recurd-eval.c tests/load/recurd-bench.c
LIB_SRC := $(filter-out $(MAINS),$(wildcard base/*.c kernels/*.c kernels/ref/*.c kernels/cpu/*.c \
             kernels/opencl/*.c models/*.c models/arch/*.c statecache/*.c scheduler/*.c server/*.c))
LIB_CXX := $(wildcard models/*.cc)
CL_SRC  := $(wildcard kernels/opencl/src/*.cl kernels/opencl/src/*.clh kernels/opencl/src/nvidia/*.cl)
LIB_OBJ := $(LIB_SRC:%.c=$B/%.o) $(LIB_CXX:%.cc=$B/%.o) $(if $(CL_SRC),$B/kernels/opencl/sources.o)
LIB     := $B/librecurd.a
PROGS   := $(patsubst %.c,$B/%,$(notdir $(wildcard $(MAINS))))
UNIT    := $(patsubst %.c,$B/%,$(wildcard tests/unit/test_*.c))

.PHONY: all help deps demo run test unit kernelcheck lint asan ubsan tsan install clean
.DEFAULT_GOAL := all

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

all: $(PROGS) ## builds the programs into build/

$B/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $(if $(findstring _avx2,$<),$(AVX2_FLAGS)) \
	  $(if $(findstring _avx512,$<),$(AVX512_FLAGS)) -c $< -o $@

$B/%.o: %.cc
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS_ALL) -c $< -o $@

# Kernel sources and the tuning table travel inside the program.
CL_TEXT := $(CL_SRC) $(wildcard etc/tuning/*.tune)
$B/kernels/opencl/sources.c: kernels/opencl/embed.sh $(CL_TEXT)
	@mkdir -p $(@D)
	kernels/opencl/embed.sh $@ $(CL_TEXT)
$B/kernels/opencl/sources.o: $B/kernels/opencl/sources.c
	$(CC) $(CFLAGS_ALL) -c $< -o $@

$(LIB): $(LIB_OBJ)
	@rm -f $@
	$(AR) rcs $@ $^

$B/recurd: $B/server/recurd.o $(LIB)
	$(CC) $(LDFLAGS_ALL) -o $@ $^ $(PKG_LIBS)
$B/recurd-eval: $B/models/recurd-eval.o $(LIB)
	$(CC) $(LDFLAGS_ALL) -o $@ $^ $(PKG_LIBS)
$B/recurd-bench: $(patsubst %.c,$B/%.o,$(wildcard tests/load/*.c)) $(LIB)
	$(CC) $(LDFLAGS_ALL) -o $@ $^ $(PKG_LIBS)

$B/tests/unit/%: $B/tests/unit/%.o $(LIB)
	$(CC) $(LDFLAGS_ALL) -o $@ $^ $(PKG_LIBS) -lcriterion

# Every kernel against its definition, and the promises about bits; --bench times them.
$B/kernelcheck: $(patsubst %.c,$B/%.o,$(filter-out tests/check/ocl%,$(wildcard tests/check/*.c))) $(LIB)
	$(CC) $(LDFLAGS_ALL) -o $@ $^ $(PKG_LIBS)
kernelcheck: $B/kernelcheck ## checks every kernel against its definition
	$B/kernelcheck

unit: $(UNIT) ## unit tests (Criterion)
	@for t in $(UNIT); do echo "== $$t"; $$t --timeout 60 || exit 1; done

clean: ## removes build/
	rm -rf build

-include $(shell find $B -name '*.d' 2>/dev/null)
