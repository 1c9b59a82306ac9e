/*
 * Runs test cases on this host's CPU in user mode.
 *
 * Standard input is a sequence of state records, standard output the sequence of their outcomes in the same layout
 * (packages/x86/src/testing/state-record.ts; its constants come in as macros).
 *
 * There is no assembly around a case. A signal handler puts the case's whole state into its own signal frame and
 * returns: the kernel loads general registers, flags, segments, x87, MXCSR and XMM at once and continues at the
 * code. INT3 behind the code, or whatever goes wrong before it, raises the next signal, whose frame is the outcome.
 *
 *     main --SIGUSR1--> handler: load case 0 ==return==> code 0 --signal--> handler: save 0, load case 1 ==> ...
 *
 * FS is the handler's thread pointer, so it is put back before anything else and nothing here uses a canary.
 * System calls from the code page are turned into SIGSYS by a seccomp filter; an endless loop ends by a timer.
 */
#define _GNU_SOURCE
#include <asm/ldt.h>
#include <asm/prctl.h>
#include <errno.h>
#include <immintrin.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

#define BATCH 256
#define FX_DEFINED 416
#define XSAVE_HEADER 512
#define XSAVE_YMM 576
#define TIMER_MICROSECONDS 20000
#define SETTABLE_FLAGS 0x40dd5u

static uint8_t *code, *code_writable, *data;
static uint8_t *records;
static size_t current, count;
static int running;
static unsigned ticks;
static unsigned long long own_fs;
static greg_t own_gregs[NGREG];
static uint8_t own_fx[FX_DEFINED];

/* RAX RCX RDX RBX RSP RBP RSI RDI R8 ... R15 */
static const int gpr_index[16] = {
    REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
    REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

static uint32_t get32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return v; }
static uint64_t get64(const uint8_t *p) { uint64_t v; memcpy(&v, p, 8); return v; }
static void put16(uint8_t *p, uint16_t v) { memcpy(p, &v, 2); }
static void put32(uint8_t *p, uint32_t v) { memcpy(p, &v, 4); }
static void put64(uint8_t *p, uint64_t v) { memcpy(p, &v, 8); }

static int has_extended_state(const uint8_t *fp)
{
    return get32(fp + 464) == FP_XSTATE_MAGIC1;
}

/* Where the kernel keeps the instructions to itself it is asked; nothing here may touch errno, which is behind FS. */
static int has_fsgsbase;

static long ask_kernel(long operation, uint64_t argument)
{
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "0"((long)SYS_arch_prctl), "D"(operation), "S"(argument) : "rcx", "r11", "memory");
    return result;
}

static unsigned long long read_base(int operation)
{
    unsigned long long base = 0;
    if (has_fsgsbase) return operation == ARCH_GET_FS ? _readfsbase_u64() : _readgsbase_u64();
    ask_kernel(operation, (uint64_t)(uintptr_t)&base);
    return base;
}

/* The kernel refuses bases of its own half: such a case cannot run here. */
static int write_base(int operation, unsigned long long base)
{
    if (!has_fsgsbase) return ask_kernel(operation, base) == 0;
    if (operation == ARCH_SET_FS) _writefsbase_u64(base);
    else _writegsbase_u64(base);
    return 1;
}

static int load_segments(int mode, const uint8_t *record)
{
    uint16_t flat = 0x2b, other = mode == 32 ? 0x2b : 0;
    __asm__ volatile("mov %0, %%ds\n\tmov %0, %%es\n\tmov %1, %%fs\n\tmov %1, %%gs" : : "r"(flat), "r"(other));
    if (mode == 64) {
        if (!write_base(ARCH_SET_FS, get64(record + OFFSET_FSBASE))) return 0;
        return write_base(ARCH_SET_GS, get64(record + OFFSET_GSBASE));
    }
    return 1;
}

static int load_case(ucontext_t *uc)
{
    uint8_t *record = records + current * RECORD_BYTES;
    uint8_t *fp = (uint8_t *)uc->uc_mcontext.fpregs;
    greg_t *gregs = uc->uc_mcontext.gregs;
    int mode = (int)get32(record + OFFSET_MODE);
    uint64_t selectors = mode == 32 ? 0x23 : 0x33;
    for (int i = 0; i < 16; i++) gregs[gpr_index[i]] = (greg_t)get64(record + OFFSET_GPR + 8 * i);
    gregs[REG_EFL] = (greg_t)((get32(record + OFFSET_RFLAGS) & SETTABLE_FLAGS) | 0x202);
    gregs[REG_RIP] = (greg_t)get64(record + OFFSET_RIP);
    gregs[REG_CSGSFS] = (greg_t)(selectors | (uint64_t)0x2b << 48);
    memcpy(fp, record + OFFSET_FX, FX_DEFINED);
    put32(fp + 24, get32(fp + 24) & 0xffff);
    if (has_extended_state(fp)) {
        put64(fp + XSAVE_HEADER, get64(fp + XSAVE_HEADER) | 7);
        memcpy(fp + XSAVE_YMM, record + OFFSET_YMMHIGH, 256);
    }
    memcpy(data, record + OFFSET_DATA, DATA_BYTES);
    memcpy(code_writable, record + OFFSET_CODE, CODE_BYTES);
    ticks = 0;
    return load_segments(mode, record);
}

static uint32_t stop_of(int sig, const greg_t *gregs)
{
    if (sig == SIGALRM) return STOP_TIMEOUT;
    if (sig == SIGSYS) return STOP_SYSTEM_CALL;
    return (uint32_t)gregs[REG_TRAPNO];
}

static void save_case(int sig, const ucontext_t *uc, const uint16_t *segments)
{
    uint8_t *record = records + current * RECORD_BYTES;
    const uint8_t *fp = (const uint8_t *)uc->uc_mcontext.fpregs;
    const greg_t *gregs = uc->uc_mcontext.gregs;
    uint32_t stop = stop_of(sig, gregs);
    for (int i = 0; i < 16; i++) put64(record + OFFSET_GPR + 8 * i, (uint64_t)gregs[gpr_index[i]]);
    put64(record + OFFSET_RFLAGS, (uint64_t)gregs[REG_EFL]);
    put64(record + OFFSET_RIP, (uint64_t)gregs[REG_RIP]);
    memcpy(record + OFFSET_FX, fp, FX_DEFINED);
    if (has_extended_state(fp)) memcpy(record + OFFSET_YMMHIGH, fp + XSAVE_YMM, 256);
    put32(record + OFFSET_STOP, stop);
    put32(record + OFFSET_ERRORCODE, (uint32_t)gregs[REG_ERR]);
    put64(record + OFFSET_CR2, stop == 14 ? (uint64_t)gregs[REG_CR2] : 0);
    put16(record + OFFSET_SELECTORS, segments[0]);
    put16(record + OFFSET_SELECTORS + 2, (uint16_t)gregs[REG_CSGSFS]);
    put16(record + OFFSET_SELECTORS + 4, (uint16_t)((uint64_t)gregs[REG_CSGSFS] >> 48));
    for (int i = 1; i < 4; i++) put16(record + OFFSET_SELECTORS + 4 + 2 * i, segments[i]);
    put32(record + OFFSET_SIGNAL, (uint32_t)sig);
    memcpy(record + OFFSET_DATA, data, DATA_BYTES);
}

static void handler(int sig, siginfo_t *info, void *context)
{
    uint16_t segments[4];
    unsigned long long fs, gs;
    ucontext_t *uc = context;
    (void)info;
    __asm__ volatile("mov %%es, %0\n\tmov %%ds, %1\n\tmov %%fs, %2\n\tmov %%gs, %3"
                     : "=r"(segments[0]), "=r"(segments[1]), "=r"(segments[2]), "=r"(segments[3]));
    fs = read_base(ARCH_GET_FS);
    gs = read_base(ARCH_GET_GS);
    /* NT, AC and ID survive into the handler and would leak into the next case. */
    __builtin_ia32_writeeflags_u64(0x202);
    /* The timer may run out before the first case or behind the last one. */
    if (!running && sig == SIGALRM) return;
    if (!running) {
        if (sig != SIGUSR1) _exit(3);
        memcpy(own_gregs, uc->uc_mcontext.gregs, sizeof own_gregs);
        memcpy(own_fx, uc->uc_mcontext.fpregs, FX_DEFINED);
        own_fs = fs;
        running = 1;
    } else {
        uint8_t *record = records + current * RECORD_BYTES;
        write_base(ARCH_SET_FS, own_fs);
        if (sig == SIGALRM && ++ticks < 3) {
            load_segments((int)get32(record + OFFSET_MODE), record);
            return;
        }
        save_case(sig, uc, segments);
        if (get32(record + OFFSET_MODE) == 64) {
            put64(record + OFFSET_FSBASE, fs);
            put64(record + OFFSET_GSBASE, gs);
        }
        current++;
    }
    for (; current < count; current++) {
        if (load_case(uc)) return;
        put32(records + current * RECORD_BYTES + OFFSET_STOP, STOP_TIMEOUT);
        write_base(ARCH_SET_FS, own_fs);
    }
    running = 0;
    memcpy(uc->uc_mcontext.gregs, own_gregs, sizeof own_gregs);
    memcpy(uc->uc_mcontext.fpregs, own_fx, FX_DEFINED);
}

static void die(const char *what)
{
    fprintf(stderr, "harness: %s: %s\n", what, strerror(errno));
    exit(2);
}

static uint8_t *map_at(uintptr_t address, size_t length, int protection, int flags, int fd)
{
    void *p = mmap((void *)address, length, protection, flags | MAP_FIXED_NOREPLACE, fd, 0);
    if (p != (void *)address) die("cannot map the test areas");
    return p;
}

/* The code page is mapped twice: executable for the case, writable for us. */
static void map_areas(void)
{
    int fd = memfd_create("code", 0);
    if (fd < 0 || ftruncate(fd, PAGE_BYTES) != 0) die("memfd_create");
    code = map_at(CODE_ADDRESS, PAGE_BYTES, PROT_READ | PROT_EXEC, MAP_SHARED, fd);
    code_writable = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (code_writable == MAP_FAILED) die("mmap");
    memset(code_writable, 0xcc, PAGE_BYTES);
    data = map_at(DATA_ADDRESS, DATA_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

static void refuse_system_calls(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, instruction_pointer)),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, ~(uint32_t)(PAGE_BYTES - 1)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, CODE_ADDRESS, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, instruction_pointer) + 4),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        die("seccomp");
}

static void install_handlers(void)
{
    static const int signals[] = {SIGUSR1, SIGILL, SIGTRAP, SIGSEGV, SIGBUS, SIGFPE, SIGSYS, SIGALRM};
    static uint8_t stack[1 << 18];
    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    if (sigaltstack(&alternate, NULL) != 0) die("sigaltstack");
    sigfillset(&action.sa_mask);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        if (sigaction(signals[i], &action, NULL) != 0) die("sigaction");
}

static void timer(long microseconds)
{
    struct itimerval interval = {{0, microseconds}, {0, microseconds}};
    setitimer(ITIMER_REAL, &interval, NULL);
}

static size_t read_batch(void)
{
    size_t have = 0, want = (size_t)BATCH * RECORD_BYTES;
    while (have < want) {
        ssize_t n = read(0, records + have, want - have);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) die("read");
        if (n == 0) break;
        have += (size_t)n;
    }
    return have / RECORD_BYTES;
}

static void write_batch(void)
{
    size_t done = 0, all = count * RECORD_BYTES;
    while (done < all) {
        ssize_t n = write(1, records + done, all - done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) die("write");
        done += (size_t)n;
    }
}

int main(void)
{
    has_fsgsbase = (getauxval(AT_HWCAP2) & 2) != 0;
    records = malloc((size_t)BATCH * RECORD_BYTES);
    if (!records) die("malloc");
    map_areas();
    install_handlers();
    refuse_system_calls();
    while ((count = read_batch()) > 0) {
        current = 0;
        timer(TIMER_MICROSECONDS);
        raise(SIGUSR1);
        timer(0);
        write_batch();
    }
    return 0;
}
