/* fork+exec for ever, of programs whose code differs each time: small ELF files generated here, and copies of
 * busybox with other displacements in the NOPs between its functions. Each is checked by its exit status. Prints
 * "SOAK PROGRAMS WRONG" each second. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BASE 0x10000000u
#define OPERATIONS 200
#define LOOPS 300
#define BUSYBOX_EVERY 8
#define BOX "/bin/busybox"

static void die(const char *what)
{
    perror(what);
    exit(2);
}

static uint32_t next(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

struct code {
    uint8_t bytes[8192];
    size_t length;
};

static void put(struct code *code, const void *bytes, size_t length)
{
    memcpy(code->bytes + code->length, bytes, length);
    code->length += length;
}

static void put_immediate(struct code *code, const void *opcode, size_t length, uint32_t immediate)
{
    put(code, opcode, length);
    put(code, &immediate, sizeof immediate);
}

/* A random operation on EAX and ECX. */
struct operation {
    uint32_t kind, value;
};

static void encode(struct code *code, struct operation o)
{
    switch (o.kind) {
    case 0: put_immediate(code, "\x05", 1, o.value); break;             /* add eax, imm32 */
    case 1: put_immediate(code, "\x2d", 1, o.value); break;             /* sub eax, imm32 */
    case 2: put_immediate(code, "\x35", 1, o.value); break;             /* xor eax, imm32 */
    case 3: put_immediate(code, "\x69\xc0", 2, o.value); break;         /* imul eax, eax, imm32 */
    case 4: put(code, "\xc1\xc0\x07", 3); break;                        /* rol eax, 7 */
    case 5: put(code, "\x01\xc1", 2); break;                            /* add ecx, eax */
    case 6: put(code, "\x31\xc8", 2); break;                            /* xor eax, ecx */
    }
}

static void calculate(struct operation o, uint32_t *eax, uint32_t *ecx)
{
    switch (o.kind) {
    case 0: *eax += o.value; break;
    case 1: *eax -= o.value; break;
    case 2: *eax ^= o.value; break;
    case 3: *eax *= o.value; break;
    case 4: *eax = *eax << 7 | *eax >> 25; break;
    case 5: *ecx += *eax; break;
    case 6: *eax ^= *ecx; break;
    }
}

/* A loop of random operations that ends with exit(EAX); returns what it exits with. */
static int generate(struct code *code, uint32_t seed)
{
    struct operation operations[OPERATIONS];
    uint32_t eax = seed, ecx = 0;
    for (int i = 0; i < OPERATIONS; i++) {
        operations[i].kind = next(&seed) % 7;
        operations[i].value = next(&seed) | 1;
    }
    code->length = 0;
    put_immediate(code, "\xb8", 1, eax); /* mov eax, seed */
    put(code, "\x31\xc9", 2);            /* xor ecx, ecx */
    put_immediate(code, "\xba", 1, LOOPS); /* mov edx, LOOPS */
    size_t loop = code->length;
    for (int i = 0; i < OPERATIONS; i++)
        encode(code, operations[i]);
    put(code, "\xff\xca", 2); /* dec edx */
    put_immediate(code, "\x0f\x85", 2, (uint32_t)(loop - (code->length + 6))); /* jnz loop */
#ifdef __x86_64__
    put(code, "\x89\xc7\xb8\x3c\x00\x00\x00\x0f\x05", 9); /* mov edi, eax; mov eax, 60; syscall */
#else
    put(code, "\x89\xc3\xb8\x01\x00\x00\x00\xcd\x80", 9); /* mov ebx, eax; mov eax, 1; int 0x80 */
#endif
    for (int n = 0; n < LOOPS; n++)
        for (int i = 0; i < OPERATIONS; i++)
            calculate(operations[i], &eax, &ecx);
    return eax & 0xff;
}

static void write_file(const char *path, const void *head, size_t head_length, const void *body, size_t length)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0700);
    if (fd < 0 || write(fd, head, head_length) != (ssize_t)head_length || write(fd, body, length) != (ssize_t)length)
        die(path);
    close(fd);
}

static void write_elf(const char *path, const struct code *code)
{
    struct {
        ElfW(Ehdr) file;
        ElfW(Phdr) segment;
    } head = {
        .file = {
            .e_ident = {0x7f, 'E', 'L', 'F', sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32, ELFDATA2LSB, EV_CURRENT},
            .e_type = ET_EXEC,
            .e_machine = sizeof(void *) == 8 ? EM_X86_64 : EM_386,
            .e_version = EV_CURRENT,
            .e_entry = BASE + sizeof head,
            .e_phoff = sizeof(ElfW(Ehdr)),
            .e_ehsize = sizeof(ElfW(Ehdr)),
            .e_phentsize = sizeof(ElfW(Phdr)),
            .e_phnum = 1,
        },
        .segment = {
            .p_type = PT_LOAD,
            .p_vaddr = BASE,
            .p_paddr = BASE,
            .p_filesz = sizeof head + code->length,
            .p_memsz = sizeof head + code->length,
            .p_flags = PF_R | PF_X,
            .p_align = 0x1000,
        },
    };
    write_file(path, &head, sizeof head, code->bytes, code->length);
}

static int run(char *const argv[], const char *path)
{
    int status = -1;
    pid_t child = fork();
    if (child < 0)
        die("fork");
    if (!child) {
        execv(path, argv);
        _exit(127);
    }
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int run_generated(uint32_t n)
{
    static struct code code;
    char path[32];
    int expected = generate(&code, n * 2654435761u);
    snprintf(path, sizeof path, "/tmp/generated.%u", (unsigned)(n % 16));
    write_elf(path, &code);
    return run((char *const[]){path, NULL}, path) == expected;
}

static uint8_t *box;
static size_t box_length;
/* Where 32 bits may be what they want. */
static uint8_t *free_words[16384];
static size_t free_count;

/* Between functions stand long NOPs with a displacement of 0; i386's LEA of 7 bytes gets a NOP in its place. */
static void find_free_words(void)
{
    for (size_t i = 0; i + 8 <= box_length && free_count < sizeof free_words / sizeof *free_words; i++) {
        if (!memcmp(box + i, "\x0f\x1f\x84\0\0\0\0\0", 8)) {
            free_words[free_count++] = box + i + 4;
        } else if (!memcmp(box + i, "\x8d\xb4\x26\0\0\0\0", 7)) {
            memcpy(box + i, "\x0f\x1f\x80", 3);
            free_words[free_count++] = box + i + 3;
        }
    }
}

static void read_box(void)
{
    struct stat file;
    int fd = open(BOX, O_RDONLY);
    if (fd < 0 || fstat(fd, &file) < 0)
        die(BOX);
    box_length = (size_t)file.st_size;
    box = malloc(box_length);
    if (!box || read(fd, box, box_length) != file.st_size)
        die(BOX);
    close(fd);
    find_free_words();
    printf("SOAK patches %u places of busybox\n", (unsigned)free_count);
}

static int run_box(uint32_t n)
{
    for (size_t i = 0; i < free_count; i++)
        memcpy(free_words[i], &n, sizeof n);
    write_file("/tmp/busybox", "", 0, box, box_length);
    char *const argv[] = {"busybox", "sh", "-c", "i=0; while [ $i -lt 300 ]; do i=$((i+1)); done; exit $((i%128))", NULL};
    int right = run(argv, "/tmp/busybox") == 300 % 128;
    unlink("/tmp/busybox");
    return right;
}

int main(void)
{
    uint32_t wrong = 0;
    time_t told = 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    read_box();
    for (uint32_t n = 1;; n++) {
        struct timespec now;
        wrong += !(n % BUSYBOX_EVERY ? run_generated(n) : run_box(n));
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec != told)
            printf("SOAK %u %u\n", (unsigned)n, (unsigned)wrong);
        told = now.tv_sec;
    }
}
