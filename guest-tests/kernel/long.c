/* Checks of 64-bit mode: exceptions, privilege, paging, interrupts, debugging. */
#include "test.h"

struct frame {
  word r15, r14, r13, r12, r11, r10, r9, r8, di, si, bp, bx, dx, cx, ax;
  word vector, error, ip, cs, flags, sp, ss;
};

extern u64 pml4[512], pdpt[512], directory[512], table[512];
extern u8 stubs[];

enum { KCODE = 0x08, KDATA = 0x10, UCODE32 = 0x18 | 3, UDATA = 0x20 | 3, UCODE = 0x28 | 3, KCODE32 = 0x30, TSS_SELECTOR = 0x38, FREE = 0x48, ABSENT = 0x50 };
static u64 gdt[16] = {
  0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cffb000000ffff, 0x00cff3000000ffff, 0x00affb000000ffff, 0x00cf9b000000ffff,
  0, 0, 0x00cf93000000ffff, 0x00cf13000000ffff,
};
static struct { u64 low, high; } idt[256];
static struct { u32 reserved; u64 rsp[3], reserved1, ist[7], reserved2; u16 reserved3, io_map; u8 io[8193]; } __attribute__((packed)) tss;
struct pointer { u16 limit; u64 base; } __attribute__((packed));
static u8 ring0_stack[16384] __attribute__((aligned(16))), ist_stack[16384] __attribute__((aligned(16)));
/* What user mode may touch has a section of its own; all other pages become the supervisor's. */
static u8 user_stack[8192] __attribute__((aligned(4096), section(".userdata")));
extern u8 user_begin[], user_end[];
/* A page of its own for the checks of paging: its entry is table[index]. */
static u8 page[4096] __attribute__((aligned(4096)));
static volatile u64 *entry;

static void set_gate(u8 vector, void *handler, u8 type, u8 ist) {
  u64 at = (u64)handler;
  idt[vector].low = (at & 0xffff) | KCODE << 16 | (u64)ist << 32 | (u64)type << 40 | (at >> 16 & 0xffff) << 48;
  idt[vector].high = at >> 32;
}

/* ---- events ---- */

static struct frame seen;
static volatile word seen_cr2, seen_sp;
static volatile u32 events, ticks, steps;
static void *back[5];
static bool armed;
static bool (*volatile on_event)(struct frame *);

static void __attribute__((noreturn)) come_back(void) { __builtin_longjmp(back, 1); }

void event(struct frame *f) {
  if (on_event && on_event(f)) return;
  seen = *f;
  seen_cr2 = read_cr2();
  seen_sp = (word)f;
  events++;
  if (!armed) {
    print("unexpected vector "); print_hex(f->vector); print(" error "); print_hex(f->error); print(" at "); print_hex(f->ip);
    print(" cr2 "); print_hex(seen_cr2); put('\n');
    failed++;
    finish("long mode");
  }
  armed = false;
  f->ip = (word)come_back;
  f->cs = KCODE;
  f->ss = 0;
  f->flags = 2;
  f->sp = (word)ring0_stack + sizeof ring0_stack / 2 - 8;
}

/* Runs something until its first exception; true if there was one. */
static bool __attribute__((noinline)) attempt(void (*run)(void)) {
  events = 0;
  seen.vector = 255;
  armed = true;
  if (__builtin_setjmp(back) == 0) run();
  armed = false;
  return events != 0;
}
static void faults(const char *name, void (*run)(void), u32 vector, word error) {
  attempt(run);
  equal(name, seen.vector << 32 | (u32)seen.error, (u64)vector << 32 | (u32)error);
}
#define RUN(name, code) asm(".text\n" #name ": push %rbx\n" code "\n pop %rbx\n ret"); extern void name(void);

/* ---- exceptions ---- */

RUN(divide_error, "xor %ecx, %ecx\n xor %edx, %edx\n mov $1, %eax\n div %ecx")
RUN(undefined, "ud2")
RUN(breakpoint, "int3\n .globl after_breakpoint\n after_breakpoint: nop")
RUN(non_canonical, "mov $0x800000000000, %rax\n mov (%rax), %rbx")
RUN(non_canonical_stack, "push %rbp\n mov $0x800000000000, %rbp\n mov (%rbp), %rbx\n pop %rbp")
RUN(bad_selector, "mov $0x7ff8, %eax\n mov %eax, %ds")
RUN(absent_segment, "mov $0x50, %eax\n mov %eax, %ds")
RUN(bad_msr, "mov $0xc0000080, %ecx\n mov $2, %eax\n xor %edx, %edx\n wrmsr")
RUN(bad_cr4, "mov %cr4, %rax\n bts $63, %rax\n mov %rax, %cr4")
RUN(bad_interrupt_gate, "int $200")
RUN(locked_register, ".byte 0xf0, 0x01, 0xc0")
RUN(too_long, ".byte 0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x90")
extern u8 after_breakpoint[];

static void exceptions(void) {
  faults("#DE has no error code", divide_error, DE, 0);
  faults("#UD", undefined, UD, 0);
  faults("#BP", breakpoint, BP, 0);
  equal("#BP pushes the next RIP", seen.ip, (word)after_breakpoint);
  faults("#GP of a non-canonical address", non_canonical, GP, 0);
  if (!is_tcg()) faults("#SS of a non-canonical address through RBP", non_canonical_stack, SS, 0);
  faults("#GP of a selector beyond the GDT", bad_selector, GP, 0x7ff8);
  faults("#NP of a segment that is not present", absent_segment, NP, ABSENT);
  if (!is_tcg()) faults("#GP of a reserved bit of EFER", bad_msr, GP, 0);
  if (!is_tcg()) faults("#GP of a reserved bit of CR4", bad_cr4, GP, 0);
  if (!is_tcg()) faults("#GP of an empty gate", bad_interrupt_gate, GP, 200 * 8 + 2);
  faults("#UD of LOCK on a register", locked_register, UD, 0);
  faults("#GP of 16 bytes of instruction", too_long, GP, 0);
}

/* A fault while #GP is delivered becomes #DF, on the stack that its gate's IST names. */
RUN(general_protection, "mov $0x800000000000, %rax\n mov (%rax), %rbx")
static void double_fault(void) {
  u64 saved = idt[GP].low;
  idt[GP].low &= ~(1ull << 47);
  faults("#NP during #GP is a double fault", general_protection, DF, 0);
  idt[GP].low = saved;
  check("IST switches the stack", seen_sp >= (word)ist_stack && seen_sp < (word)ist_stack + sizeof ist_stack);
}

/* ---- paging ---- */

RUN(read_page, "mov page, %al")
RUN(write_page, "movb $1, page")
RUN(jump_page, "mov $page, %eax\n call *%rax")
static void set_entry(u64 value) { *entry = value; invlpg(page); }

static void paging(void) {
  u64 frame = (u64)page;
  set_entry(frame & ~1ull);
  faults("#PF of a page that is not present", read_page, PF, 0);
  equal("CR2", seen_cr2, (word)page);
  faults("#PF of a write there", write_page, PF, E_W);
  set_entry(frame | 3);
  faults("a present page reads", read_page, 255, seen.error);
  equal("the accessed bit", *entry & 0x60, 0x20);
  faults("a writable page writes", write_page, 255, seen.error);
  equal("the dirty bit", *entry & 0x60, 0x60);
  set_entry(frame | 1);
  faults("#PF of a write to a read-only page under CR0.WP", write_page, PF, E_P | E_W);
  write_cr0(read_cr0() & ~(1ull << 16));
  faults("no fault without CR0.WP", write_page, 255, seen.error);
  write_cr0(read_cr0() | 1 << 16);
  faults("#PF again with CR0.WP", write_page, PF, E_P | E_W);
  set_entry(frame | 3);
  page[0] = 0xc3;
  faults("an executable page executes", jump_page, 255, seen.error);
  set_entry(frame | 3 | 1ull << 63);
  faults("#PF of a fetch from an NX page", jump_page, PF, E_P | E_I);
  set_entry(frame | 3 | 1ull << 51);
  if (!is_tcg()) faults("#PF of a reserved bit", read_page, PF, E_P | E_RSVD);
  set_entry(frame | 3);
  /* A translation may stay until it is invalidated, and is gone then. */
  static u8 other[4096] __attribute__((aligned(4096)));
  page[8] = 1;
  other[8] = 2;
  set_entry((u64)other | 3);
  equal("INVLPG shows the new page", ((volatile u8 *)page)[8], 2);
  set_entry(frame | 3);
  write_cr3(read_cr3());
  equal("a load of CR3 shows the old page", ((volatile u8 *)page)[8], 1);
}

static u32 features(void) {
  u32 a = 7, b, c = 0, d;
  asm volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
  return b;
}

RUN(stac_read, "stac\n mov page, %al\n clac")
static void supervisor_protection(void) {
  if ((features() & (1 << 7 | 1 << 20)) != (1 << 7 | 1 << 20)) return print("no SMEP or SMAP: not checked\n");
  page[0] = 0xc3;
  set_entry((u64)page | 7);
  write_cr4(read_cr4() | 1 << 20);
  faults("#PF of a user page's code under SMEP", jump_page, PF, E_P | E_I);
  write_cr4((read_cr4() & ~(1ull << 20)) | 1 << 21);
  faults("#PF of a user page's data under SMAP", read_page, PF, E_P);
  faults("#PF of a write there", write_page, PF, E_P | E_W);
  faults("none after STAC", stac_read, 255, seen.error);
  write_cr4(read_cr4() & ~(1ull << 21));
  set_entry((u64)page | 3);
}

/* ---- privilege ---- */

static void *user_program;
static word user_flags = 0x202;
static void enter_user(void) {
  asm volatile("push %0\n push %1\n push %2\n push %3\n push %4\n iretq"
               : : "i"((word)UDATA), "r"((word)user_stack + sizeof user_stack), "r"(user_flags), "i"((word)UCODE), "r"(user_program) : "memory");
}
#define USER(name, code) asm(".section .user, \"ax\"\n" #name ": " code "\n ud2"); extern u8 name[];
USER(user_hlt, "hlt")
USER(user_cli, "cli")
USER(user_in, "in $0x80, %al")
USER(user_cr3, "mov %cr3, %rax")
USER(user_kernel_read, "mov page, %al")
USER(user_kernel_write, "movb %al, page")
USER(user_int_kernel, "int $14")
USER(user_int, "int $0x30")
USER(user_misaligned, "mov %rsp, %rax\n mov -15(%rax), %rbx")
USER(user_syscall, "mov $0x1234, %edi\n stc\n syscall\n .globl after_syscall\n after_syscall: ud2")
USER(user_popf, "pushf\n orl $0x3200, (%rsp)\n andl $~0x200, (%rsp)\n popf\n pushf\n pop %rax\n ud2")
extern u8 after_syscall[];
static void user_faults(const char *name, u8 *program, u32 vector, word error) {
  user_program = program;
  faults(name, enter_user, vector, error);
  equal("CS of user mode is pushed", seen.cs, UCODE);
}

asm(".text\n syscall_entry: ud2\n syscall_return: mov $0x202, %r11d\n sysretq");
extern u8 syscall_entry[], syscall_return[];

static void privilege(void) {
  user_faults("#GP of HLT in user mode", user_hlt, GP, 0);
  check("the stack is the TSS's", seen_sp >= (word)ring0_stack && seen_sp < (word)ring0_stack + sizeof ring0_stack);
  equal("SS of user mode is pushed", seen.ss, UDATA);
  user_faults("#GP of CLI", user_cli, GP, 0);
  user_faults("#GP of MOV from CR3", user_cr3, GP, 0);
  user_faults("#GP of IN without permission", user_in, GP, 0);
  tss.io[0x80 / 8] &= ~1;
  user_faults("IN that the bitmap allows", user_in, UD, 0);
  tss.io[0x80 / 8] |= 1;
  set_entry((u64)page | 3);
  user_faults("#PF of a supervisor page", user_kernel_read, PF, E_P | E_U);
  user_faults("#PF of a write to it", user_kernel_write, PF, E_P | E_U | E_W);
  if (!is_tcg()) user_faults("#GP of INT through a gate of the kernel", user_int_kernel, GP, 14 * 8 + 2);
  user_faults("INT through a gate of DPL 3", user_int, 0x30, 0);
  write_cr0(read_cr0() | 1 << 18);
  user_flags = 0x40202;
  if (!is_tcg()) user_faults("#AC of a misaligned access", user_misaligned, AC, 0);
  user_flags = 0x202;
  write_cr0(read_cr0() & ~(1ull << 18));
  user_faults("POPF leaves IF and IOPL alone", user_popf, UD, 0);
  equal("RFLAGS after it", seen.ax & 0x3200, 0x200);
  wrmsr(0xc0000081, (u64)0x18 << 48 | (u64)KCODE << 32);
  wrmsr(0xc0000082, (u64)syscall_entry);
  wrmsr(0xc0000084, 1);
  user_program = user_syscall;
  faults("SYSCALL enters the kernel", enter_user, UD, 0);
  equal("at LSTAR", seen.ip, (word)syscall_entry);
  equal("with its CS", seen.cs, KCODE);
  equal("RCX is the return address", seen.cx, (word)after_syscall);
  check("R11 has the flags, and FMASK cleared CF", (seen.r11 & 1) && !(seen.flags & 1));
  wrmsr(0xc0000082, (u64)syscall_return);
  user_program = user_syscall;
  faults("SYSRET goes back", enter_user, UD, 0);
  equal("to user code", seen.cs, UCODE);
  equal("after SYSCALL", seen.ip, (word)after_syscall);
}

/* A fault while the kernel is entered becomes #DF. */
static void kernel_stack_faults(const char *name, u64 stack, u8 *program, u64 cr2) {
  u64 saved = tss.rsp[0];
  tss.rsp[0] = stack;
  write_cr2(0);
  user_faults(name, program, DF, 0);
  tss.rsp[0] = saved;
  check("on the stack of its IST", seen_sp >= (word)ist_stack && seen_sp < (word)ist_stack + sizeof ist_stack);
  equal("CR2 is that of the last page fault", seen_cr2, cr2);
  equal("RIP is that of the first fault", seen.ip, (word)program);
}
static void entries(void) {
  u64 end = (u64)page + sizeof page;
  set_entry((u64)page);
  kernel_stack_faults("#PF with a kernel stack that is not present", end, user_kernel_read, end - 8);
  kernel_stack_faults("#GP with such a stack", end, user_hlt, end - 8);
  if (!is_tcg()) kernel_stack_faults("#PF with a kernel stack that is not canonical", 1ull << 63, user_kernel_read, (u64)page);
  set_entry((u64)page | 1);
  kernel_stack_faults("#PF with a kernel stack that is not writable", end, user_kernel_read, end - 8);
  set_entry((u64)page | 3);
  u64 saved = idt[PF].low;
  idt[PF].low |= 1ull << 32;
  user_faults("#PF through IST", user_kernel_read, PF, E_P | E_U);
  check("is on its stack", seen_sp >= (word)ist_stack && seen_sp < (word)ist_stack + sizeof ist_stack);
  equal("from user mode's", seen.sp, (word)user_stack + sizeof user_stack);
  idt[PF].low = saved | 1ull << 40;
  user_faults("#PF through a trap gate", user_kernel_read, PF, E_P | E_U);
  idt[PF].low = saved & ~(1ull << 47);
  user_faults("#PF through a gate that is not present", user_kernel_read, DF, 0);
  idt[PF].low = saved;
}

/* ---- pages with code ---- */

static u8 codes[2][4096] __attribute__((aligned(4096)));
static u64 __attribute__((noinline)) run_page(void) { u64 a = 5; asm volatile("call *%1" : "+a"(a) : "r"(page) : "memory"); return a; }
asm(".text\n run_page32: push %rbx\n mov $0x10, %eax\n mov %eax, %ss\n pushq $0x30\n pushq $1f\n lretq\n"
    ".code32\n 1: mov $5, %eax\n mov $page, %ebx\n call *%ebx\n ljmp $8, $2f\n .code64\n 2: pop %rbx\n ret");
extern u64 run_page32(void);
static void code_pages(void) {
  for (u8 i = 0; i < 2; i++) {
    /* mov eax, i + 1; ret */
    memcpy(codes[i], (u8[]){ 0xb8, i + 1, 0, 0, 0, 0xc3 }, 6);
    set_entry((u64)codes[i] | 3);
    equal("INVLPG lets other code in", run_page(), i + 1);
  }
  for (int i = 0; i < 4; i++) {
    *entry = (u64)codes[i & 1] | 3;
    write_cr3(read_cr3());
    equal("so does CR3", run_page(), (i & 1) + 1);
  }
  /* inc rax; ret, which in 32-bit code is dec eax; inc eax; ret */
  memcpy(codes[0], (u8[]){ 0x48, 0xff, 0xc0, 0xc3 }, 4);
  set_entry((u64)codes[0] | 3);
  for (int i = 0; i < 2; i++) {
    equal("a page as 64-bit code", run_page(), 6);
    equal("and as 32-bit code", run_page32(), 5);
  }
  set_entry((u64)page | 3);
}

/* ---- compatibility mode ---- */

asm(".text\n compatibility: push %rbx\n mov $0x10, %eax\n mov %eax, %ss\n pushq $0x30\n pushq $1f\n lretq\n"
    ".code32\n 1: mov $0xffffffff, %eax\n inc %eax\n mov $0x12345678, %ebx\n push %ebx\n pop %ecx\n ljmp $8, $2f\n"
    ".code64\n 2: mov %rcx, %rax\n pop %rbx\n ret");
extern u64 compatibility(void);
asm(".section .user, \"ax\"\n .code32\n compatible_user: mov %esp, %eax\n push $0x55\n pop %ebx\n ud2\n .code64");
extern u8 compatible_user[];
static void enter_compatible(void) {
  asm volatile("push %0\n push %1\n push $0x202\n push %2\n push %3\n iretq"
               : : "i"((word)UDATA), "r"((word)user_stack + sizeof user_stack), "i"((word)UCODE32), "r"((word)compatible_user) : "memory");
}
static void compatibility_mode(void) {
  equal("32-bit code between two far transfers", compatibility(), 0x12345678);
  faults("32-bit user code", enter_compatible, UD, 0);
  equal("its CS", seen.cs, UCODE32);
  equal("its stack", seen.bx, 0x55);
}

/* ---- interrupts ---- */

static void end_of_interrupt(void) { outb(0x20, 0x20); }
static bool count_tick(struct frame *f) {
  if (f->vector != 32) return false;
  ticks++;
  end_of_interrupt();
  return true;
}
static volatile word shadow_ip;
static bool note_ip(struct frame *f) {
  if (f->vector != 32) return false;
  shadow_ip = f->ip;
  f->flags &= ~0x200ull;
  end_of_interrupt();
  return true;
}
static void one_shot(u16 count) {
  outb(0x43, 0x30);
  outb(0x40, count);
  outb(0x40, count >> 8);
}
static bool requested(void) { outb(0x20, 0x0a); return inb(0x20) & 1; }

static void interrupts(void) {
  outb(0x20, 0x11); outb(0x21, 32); outb(0x21, 4); outb(0x21, 1); outb(0x21, 0xfe);
  outb(0xa0, 0x11); outb(0xa1, 40); outb(0xa1, 2); outb(0xa1, 1); outb(0xa1, 0xff);
  on_event = count_tick;
  one_shot(2000);
  asm volatile("sti\n hlt\n cli");
  equal("the PIT wakes HLT", ticks, 1);
  one_shot(2000);
  while (!requested()) continue;
  equal("nothing is delivered while IF is clear", ticks, 1);
  asm volatile("sti\n nop\n cli");
  equal("STI lets it in", ticks, 2);
  /* Interrupts stay off for one instruction after STI. */
  on_event = note_ip;
  one_shot(2000);
  while (!requested()) continue;
  word wanted;
  asm volatile("lea 1f(%%rip), %0\n sti\n nop\n 1: nop\n nop\n cli" : "=r"(wanted));
  equal("the shadow of STI", shadow_ip, wanted);
  /* The same where the instruction after it is on the next page. */
  one_shot(2000);
  while (!requested()) continue;
  asm volatile("lea 1f(%%rip), %0\n jmp 2f\n .balign 4096\n .skip 4095\n 2: sti\n nop\n 1: nop\n nop\n cli" : "=r"(wanted));
  equal("the shadow of STI across pages", shadow_ip, wanted);
  one_shot(2000);
  while (!requested()) continue;
  asm volatile("lea 1f(%%rip), %0\n pushf\n orl $0x200, (%%rsp)\n popf\n 1: nop\n nop\n cli" : "=r"(wanted) : : "memory");
  equal("POPF has no shadow", shadow_ip, wanted);
  one_shot(2000);
  while (!requested()) continue;
  asm volatile("lea 1f(%%rip), %0\n mov %%rsp, %%rax\n push $0\n push %%rax\n push $0x202\n push %1\n push %0\n iretq\n 1: nop\n nop\n cli"
               : "=&r"(wanted) : "i"((word)KCODE) : "rax", "memory");
  equal("nor has IRET", shadow_ip, wanted);
  one_shot(2000);
  while (!requested()) continue;
  user_flags = 0x2;
  wrmsr(0xc0000082, (u64)syscall_return);
  user_program = user_syscall;
  attempt(enter_user);
  equal("nor has SYSRET", shadow_ip, (word)after_syscall);
  equal("which goes on after the interrupt", seen.ip, (word)after_syscall);
  user_flags = 0x202;
  on_event = 0;
  outb(0x21, 0xff);
}

static volatile u32 *const apic = (u32 *)0xfee00000;
static bool count_apic(struct frame *f) {
  if (f->vector != 33) return false;
  ticks++;
  apic[0xb0 / 4] = 0;
  return true;
}
static void local_apic(void) {
  /* The register page lies at the end of the fourth gigabyte: map it through the second entry of the PML4's first table. */
  static u64 high[512] __attribute__((aligned(4096)));
  high[503] = 0xfee00000 | 0x83 | 0x10;
  pdpt[3] = (u64)high | 3;
  write_cr3(read_cr3());
  ticks = 0;
  on_event = count_apic;
  apic[0xf0 / 4] = 0x1ff;
  apic[0x3e0 / 4] = 0xb;
  apic[0x320 / 4] = 33;
  apic[0x380 / 4] = 100000;
  asm volatile("sti\n hlt\n cli");
  equal("the local APIC's timer wakes HLT", ticks, 1);
  apic[0x300 / 4] = 0x40000 | 33;
  asm volatile("sti\n nop\n nop\n cli");
  equal("an interrupt to itself", ticks, 2);
  on_event = 0;
}

/* ---- debugging ---- */

static volatile word trap_ip, trap_dr6;
static bool count_step(struct frame *f) {
  if (f->vector != DB) return false;
  trap_ip = f->ip;
  trap_dr6 = read_dr6();
  write_dr6(0xffff0ff0);
  if (steps++ == 2) f->flags &= ~0x100ull;
  return true;
}
static bool note_breakpoint(struct frame *f) {
  if (f->vector != DB) return false;
  steps++;
  trap_ip = f->ip;
  trap_dr6 = read_dr6();
  write_dr6(0xffff0ff0);
  f->flags |= 0x10000;
  return true;
}
static volatile u32 watched;
static void debugging(void) {
  word first;
  on_event = count_step;
  steps = 0;
  asm volatile("lea 1f(%%rip), %0\n pushf\n orl $0x100, (%%rsp)\n popf\n nop\n 1: nop\n nop\n nop" : "=r"(first) : : "memory", "cc");
  equal("single steps", steps, 3);
  equal("the last of them", trap_ip, first + 2);
  check("DR6.BS", trap_dr6 & 1 << 14);
  on_event = note_breakpoint;
  steps = 0;
  write_dr0((word)&watched);
  write_dr7(0x000d0402);
  watched = 5;
  equal("a data breakpoint", steps, 1);
  check("DR6.B0", trap_dr6 & 1);
  (void)watched;
  equal("does not see reads", steps, 1);
  steps = 0;
  write_dr7(0x400);
  word target;
  asm volatile("lea 1f(%%rip), %0\n mov %0, %%dr0\n mov $0x402, %%eax\n mov %%rax, %%dr7\n nop\n 1: nop\n xor %%eax, %%eax\n mov %%rax, %%dr7"
               : "=&r"(target) : : "rax", "memory");
  equal("an instruction breakpoint, once with RF", steps, 1);
  equal("before the instruction", trap_ip, target);
  write_dr7(0x400);
  on_event = 0;
}

/* ---- code that changes, strings that fault ---- */

static bool map_page(struct frame *f) {
  if (f->vector != PF) return false;
  steps++;
  set_entry((u64)page | 3);
  return true;
}
static void changes(void) {
  u32 result;
  asm volatile("movb $42, 1f + 1(%%rip)\n 1: mov $7, %%eax\n movb $7, 1b + 1(%%rip)" : "=a"(result) : : "memory");
  equal("the next instruction may be changed", result, 42);
  static u8 source[6000];
  u8 *before = page - 100;
  for (int i = 0; i < 6000; i++) source[i] = i * 7;
  on_event = map_page;
  steps = 0;
  set_entry((u64)page & ~1ull);
  word left = 300, to = (word)before, from = (word)source;
  asm volatile("rep movsb" : "+c"(left), "+D"(to), "+S"(from) : : "memory");
  equal("REP MOVSB goes on after a page fault", steps, 1);
  equal("to its end", left, 0);
  bool same = true;
  for (int i = 0; i < 300; i++) same &= before[i] == (u8)(i * 7);
  check("with all bytes", same);
  on_event = 0;
}

void kernel(void) {
  mask_interrupts();
  u64 base = (u64)&tss;
  gdt[7] = (sizeof tss - 1) | (base & 0xffffff) << 16 | 0x89ull << 40 | (base >> 24 & 0xff) << 56;
  gdt[8] = base >> 32;
  struct pointer gdtr = { sizeof gdt - 1, (u64)gdt }, idtr = { sizeof idt - 1, (u64)idt };
  asm volatile("lgdt %0\n lidt %1" : : "m"(gdtr), "m"(idtr));
  tss.rsp[0] = (u64)ring0_stack + sizeof ring0_stack;
  tss.ist[0] = (u64)ist_stack + sizeof ist_stack;
  tss.io_map = __builtin_offsetof(typeof(tss), io);
  memset(tss.io, 0xff, sizeof tss.io);
  asm volatile("ltr %w0" : : "r"(TSS_SELECTOR));
  for (int i = 0; i < 64; i++) set_gate(i, stubs + i * 16, i == 0x30 ? 0xee : 0x8e, i == DF ? 1 : 0);
  for (u64 at = 0; at < 0x200000; at += 4096)
    if (at < (u64)user_begin || at >= (u64)user_end) table[at >> 12] &= ~4ull;
  write_cr3(read_cr3());
  entry = &table[(u64)page >> 12 & 511];
  exceptions();
  double_fault();
  paging();
  supervisor_protection();
  privilege();
  entries();
  code_pages();
  compatibility_mode();
  interrupts();
  local_apic();
  debugging();
  changes();
  finish("long mode");
}
