/* The child is this program once more, told by its name what to do: a process forked from one with
 * threads may not so much as allocate, since a lock that another thread held stays held for ever.
 * Where it cannot be started again (no /proc, an emulator), the forked child does the work. */
#define _GNU_SOURCE /* memfd_create, program_invocation_name */
#include "models/text/spm_probe.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "base/err.h"
#include "models/text/spm_shim.h"

#define CHILD_NAME "recurd-spm-probe"
#define PROBE_SECONDS 60 /* of the processor's time; beyond them something hangs */
#define SWEEP_LINE 2048  /* bytes encoded at a time: short enough for quadratic normalisers */

enum { SOUND, REFUSED, FAILED, UNREAD };

static size_t put_utf8(char *p, uint32_t c)
{
    if (c < 0x80) {
        p[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n; i-- > 1; c >>= 6)
        p[i] = (char)(0x80 | (c & 0x3f));
    p[0] = (char)((0xf00 >> n & 0xf0) | c);
    return n;
}

/* Every character of the alphabets below U+0800, every 251st of the rest. The normaliser's table
 * was proved by spm_charsmap_check; this runs the library's own code over what it built. */
static uint32_t next_char(uint32_t c)
{
    c += c < 0x800 ? 1 : 251;
    return c >= 0xd800 && c < 0xe000 ? 0xe000 : c;
}

static int sweep(const struct spm_shim *s)
{
    char line[SWEEP_LINE + 4];
    size_t n = 0, count;
    int32_t *ids;
    for (uint32_t c = 1; c < 0x110000; c = next_char(c)) {
        n += put_utf8(line + n, c);
        if (n < SWEEP_LINE && next_char(c) < 0x110000)
            continue;
        if (spm_shim_encode(s, line, n, &ids, &count) < 0)
            return -1;
        free(ids);
        n = 0;
    }
    return 0;
}

/* Never returns: the verdict is the exit code, or the signal it ends in. */
NORETURN static void try_model(const char *model, size_t n)
{
    static const int deadly[] = {SIGPROF, SIGSEGV, SIGABRT};
    struct rlimit no_core = {0, 0};
    struct itimerval limit = {.it_value = {.tv_sec = PROBE_SECONDS}};
    setrlimit(RLIMIT_CORE, &no_core);
    for (size_t i = 0; i < ARRAY_LEN(deadly); i++)
        signal(deadly[i], SIG_DFL);
    setitimer(ITIMER_PROF, &limit, NULL);
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (null >= 0)
        dup2(null, STDERR_FILENO);
    struct spm_shim *s = spm_shim_open(model, n);
    int code = !s ? REFUSED : sweep(s) < 0 ? FAILED : SOUND;
    spm_shim_close(s); /* a leak checker looks at this process, too */
    _exit(code);
}

/* Before main, in the program that was started as the child: the model is its input. */
__attribute__((constructor)) static void be_the_child(void)
{
    struct stat st;
    if (strcmp(program_invocation_name, CHILD_NAME) != 0)
        return;
    if (fstat(STDIN_FILENO, &st) != 0 || st.st_size <= 0)
        _exit(UNREAD);
    const char *model = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, STDIN_FILENO, 0);
    if (model == MAP_FAILED)
        _exit(UNREAD);
    try_model(model, (size_t)st.st_size);
}

/* In the forked child: only calls that a handler of signals could make, until it is another. */
NORETURN static void become(int fd, const char *model, size_t n)
{
    static char name[] = CHILD_NAME;
    static char *const argv[] = {name, NULL};
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (dup2(fd, STDIN_FILENO) == STDIN_FILENO)
        execv("/proc/self/exe", argv);
    try_model(model, n);
}

static int written(const char *model, size_t n)
{
    int fd = memfd_create(CHILD_NAME, MFD_CLOEXEC);
    for (size_t at = 0; fd >= 0 && at < n;) {
        ssize_t k = write(fd, model + at, n - at);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0) {
            close(fd);
            return -1;
        }
        at += (size_t)k;
    }
    return fd;
}

static int verdict(int status, const char *name, size_t n, struct err *e)
{
    if (WIFSIGNALED(status))
        return err_set(e, E_FORMAT, "%s: damaged: encoding a sample of Unicode with it ends in "
                       "signal %d", name, WTERMSIG(status));
    switch (WEXITSTATUS(status)) {
    case SOUND:
        return 0;
    case REFUSED:
        return err_set(e, E_FORMAT, "%s: SentencePiece refuses this model of %zu bytes", name, n);
    case UNREAD:
        return err_set(e, E_IO, "%s: the process that checks it could not read its %zu bytes",
                       name, n);
    default:
        return err_set(e, E_FORMAT, "%s: damaged: encoding a sample of Unicode with it fails "
                       "(exit %d)", name, WEXITSTATUS(status));
    }
}

int spm_probe(const char *model, size_t n, const char *name, struct err *e)
{
    int status;
    int fd = written(model, n);
    if (fd < 0)
        return err_set(e, E_IO, "%s: no memory file of %zu bytes for its check: %s", name, n,
                       strerror(errno));
    pid_t child = fork();
    if (child == 0)
        become(fd, model, n);
    int why = errno;
    close(fd);
    if (child < 0)
        return err_set(e, E_IO, "%s: cannot start a process to check it: %s", name,
                       strerror(why));
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return err_set(e, E_IO, "%s: cannot wait for its check: %s", name, strerror(errno));
    return verdict(status, name, n, e);
}
