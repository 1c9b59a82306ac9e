/* Checks of 32-bit protected mode, virtual-8086 mode and real mode: segments, gates, tasks, paging. */
#include "test.h"

struct frame {
  word gs, fs, es, ds, di, si, bp, handler_sp, bx, dx, cx, ax, vector, error, ip, cs, flags, sp, ss;
};

extern u8 stubs[], real_begin[], real_end[];
extern void visit_real(void);

enum {
  KCODE = 0x08, KDATA = 0x10, UCODE = 0x18 | 3, UDATA = 0x20 | 3, KCODE16 = 0x28, KDATA16 = 0x30,
  MAIN_TSS = 0x38, OTHER_TSS = 0x40, SMALL = 0x48, READ_ONLY = 0x50, DOWN = 0x58, ABSENT = 0x60, CODE_ONLY = 0x68,
  GATE = 0x70 | 3, TASK = 0x78,
};
static u64 gdt[16] = {
  0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00cffb000000ffff, 0x00cff3000000ffff, 0x008f9b000000ffff, 0x000093000000ffff,
  0, 0, 0x0040930000000fff, 0x00cf91000000ffff, 0x00c097000000000f, 0x00cf13000000ffff, 0x00cf99000000ffff,
};
static u64 idt[256];
struct tss {
  u32 link, esp0, ss0, esp1, ss1, esp2, ss2, cr3, eip, eflags, eax, ecx, edx, ebx, esp, ebp, esi, edi, es, cs, ss, ds, fs, gs, ldt;
  u16 trap, io_map;
} __attribute__((packed));
static struct tss tss, other;
struct pointer { u16 limit; u32 base; } __attribute__((packed));
static u8 ring0_stack[16384] __attribute__((aligned(16), used)), user_stack[8192] __attribute__((aligned(16)));
static u8 task_stack[8192] __attribute__((aligned(16)));

static u64 system_descriptor(void *base, u32 limit, u8 type) {
  u64 at = (u32)base;
  return limit | (at & 0xffffff) << 16 | (u64)type << 40 | (at >> 24) << 56;
}
static u64 gate(void *to, u16 selector, u8 type, u8 parameters) {
  u64 at = (u32)to;
  return (at & 0xffff) | (u64)selector << 16 | (u64)parameters << 32 | (u64)type << 40 | (at >> 16) << 48;
}

static struct frame seen;
static volatile word seen_cr2;
static volatile u32 events;
static void *back[5];
static volatile bool armed;
static bool (*volatile on_event)(struct frame *);

static void __attribute__((noreturn, used)) come_back(void) { __builtin_longjmp(back, 1); }
static void __attribute__((naked)) leave(void) {
  asm("mov $0x10, %eax\n mov %eax, %ss\n mov $ring0_stack + 8192, %esp\n jmp come_back");
}

void event(struct frame *f) {
  if (on_event && on_event(f)) return;
  seen = *f;
  seen_cr2 = read_cr2();
  events++;
  if (!armed) {
    print("unexpected vector "); print_hex(f->vector); print(" error "); print_hex(f->error); print(" at "); print_hex(f->ip); put('\n');
    failed++;
    finish("protected mode");
  }
  armed = false;
  /* The handler's own frame may lack SS:ESP: leave without IRET. */
  leave();
}
static bool __attribute__((noinline)) attempt(void (*run)(void)) {
  events = 0;
  seen.vector = 255;
  armed = true;
  if (__builtin_setjmp(back) == 0) run();
  armed = false;
  asm volatile("mov %0, %%ds\n mov %0, %%es\n mov %1, %%fs\n mov %1, %%gs" : : "r"(KDATA), "r"(0));
  return events != 0;
}
static void faults(const char *name, void (*run)(void), u32 vector, word error) {
  attempt(run);
  equal(name, (u64)seen.vector << 32 | seen.error, (u64)vector << 32 | error);
}
#define NOTHING 255, seen.error
#define RUN(name, code) asm(".text\n" #name ": pusha\n" code "\n popa\n ret"); extern void name(void);

/* ---- segments ---- */

RUN(inside_limit, "mov $0x48, %eax\n mov %eax, %fs\n mov %fs:0xffc, %ebx")
RUN(beyond_limit, "mov $0x48, %eax\n mov %eax, %fs\n mov %fs:0xffd, %ebx")
RUN(write_read_only, "mov $0x50, %eax\n mov %eax, %fs\n movb $1, %fs:0x200000")
RUN(read_read_only, "mov $0x50, %eax\n mov %eax, %fs\n movb %fs:0x200000, %al")
RUN(inside_down, "mov $0x58, %eax\n mov %eax, %fs\n movb %fs:0x10000, %al")
RUN(below_down, "mov $0x58, %eax\n mov %eax, %fs\n movb %fs:0xffff, %al")
RUN(null_segment, "xor %eax, %eax\n mov %eax, %fs\n movb %fs:0, %al")
RUN(absent_segment, "mov $0x60, %eax\n mov %eax, %fs")
RUN(absent_stack, "mov $0x60, %eax\n mov %eax, %ss")
RUN(execute_only, "mov $0x68, %eax\n mov %eax, %fs")
RUN(code_as_stack, "mov $0x08, %eax\n mov %eax, %ss")
RUN(null_stack, "xor %eax, %eax\n mov %eax, %ss")
RUN(code_segment, "movb $1, %cs:0x200000")
RUN(far_to_data, "ljmp $0x10, $0")
RUN(small_stack, "mov %esp, %ebx\n mov $0x48, %eax\n mov %eax, %ss\n mov $0x2000, %esp\n push %eax\n mov $0x10, %eax\n mov %eax, %ss\n mov %ebx, %esp")
RUN(bound_low, "push $9\n push $5\n mov $4, %eax\n bound %eax, (%esp)\n add $8, %esp")
RUN(bound_inside, "push $9\n push $5\n mov $9, %eax\n bound %eax, (%esp)\n add $8, %esp")
RUN(overflow, "mov $0x7fffffff, %eax\n inc %eax\n into")

/* QEMU's TCG checks neither limits nor types of accesses. */
static void segments(void) {
  faults("an access at a segment's limit", inside_limit, NOTHING);
  if (!is_tcg()) faults("#GP beyond it", beyond_limit, GP, 0);
  faults("a read-only segment reads", read_read_only, NOTHING);
  if (!is_tcg()) faults("#GP of a write to it", write_read_only, GP, 0);
  if (!is_tcg()) faults("#GP of a write through CS", code_segment, GP, 0);
  faults("an expand-down segment above its limit", inside_down, NOTHING);
  if (!is_tcg()) faults("#GP below it", below_down, GP, 0);
  if (!is_tcg()) faults("#GP of a null segment", null_segment, GP, 0);
  faults("#NP of a segment that is not present", absent_segment, NP, ABSENT);
  faults("#SS of a stack that is not present", absent_stack, SS, ABSENT);
  faults("#GP of execute-only code as data", execute_only, GP, CODE_ONLY);
  faults("#GP of code as a stack", code_as_stack, GP, KCODE);
  faults("#GP of a null stack", null_stack, GP, 0);
  faults("#GP of a far jump to data", far_to_data, GP, KDATA);
  faults("#BR", bound_low, BR, 0);
  faults("no #BR inside", bound_inside, NOTHING);
  faults("#OF", overflow, OF, 0);
  u32 rights, limit;
  u8 zero;
  asm volatile("lar %3, %0\n setz %2\n lsl %3, %1" : "=&r"(rights), "=&r"(limit), "=&q"(zero) : "r"(SMALL));
  check("LAR finds it", zero);
  equal("LAR", rights & 0xf0ff00, 0x409300);
  equal("LSL", limit, 0xfff);
  asm volatile("verr %w1\n setz %0" : "=q"(zero) : "r"(CODE_ONLY));
  check("VERR refuses execute-only code", !zero);
  asm volatile("verw %w1\n setz %0" : "=q"(zero) : "r"(READ_ONLY));
  check("VERW refuses read-only data", !zero);
}

/* ---- privilege, gates, tasks ---- */

static void *user_program;
static void enter_user(void) {
  asm volatile("push %0\n push %1\n push $0x202\n push %2\n push %3\n iret"
               : : "i"(UDATA), "r"(user_stack + sizeof user_stack), "i"(UCODE), "r"(user_program) : "memory");
}
#define USER(name, code) asm(".text\n" #name ": " code "\n ud2"); extern u8 name[];
USER(user_hlt, "hlt")
USER(user_int, "int $0x30")
USER(user_far, "lcall $0x08, $0")
USER(user_call, "mov $0x23, %eax\n mov %eax, %ds\n push $0x1111\n push $0x2222\n lcall $0x73, $0\n .globl after_call\n after_call: ud2")
USER(user_sysenter, "mov %esp, %ecx\n mov $after_sysenter, %edx\n sysenter\n .globl after_sysenter\n after_sysenter: ud2")
extern u8 after_call[], after_sysenter[];
asm(".text\n gate_target: mov 8(%esp), %esi\n mov 12(%esp), %edi\n mov %cs, %ebx\n mov 20(%esp), %ecx\n lret $8");
asm(".text\n sysenter_target: mov %cs, %ebx\n sysexit");
extern u8 gate_target[], sysenter_target[];

static volatile u32 task_runs;
static void __attribute__((used)) task_body(void) { task_runs++; }
asm(".text\n task_entry: call task_body\n iret\n jmp task_entry");
extern u8 task_entry[];
RUN(call_task, "lcall $0x40, $0")
RUN(interrupt_task, "int $0x31")
RUN(jump_busy, "ljmp $0x38, $0")

static void privilege(void) {
  user_program = user_hlt;
  faults("#GP of HLT in user mode", enter_user, GP, 0);
  equal("its CS", seen.cs, UCODE);
  equal("its SS", seen.ss, UDATA);
  equal("its ESP", seen.sp, (word)user_stack + sizeof user_stack);
  user_program = user_int;
  faults("#GP of INT without DPL 3", enter_user, GP, 0x30 * 8 + 2);
  user_program = user_far;
  faults("#GP of a far call to the kernel's code", enter_user, GP, KCODE);
  gdt[GATE >> 3] = gate(gate_target, KCODE, 0xec, 2);
  user_program = user_call;
  faults("a call gate and back", enter_user, UD, 0);
  equal("returns after the call", seen.ip, (word)after_call);
  equal("ran in ring 0", seen.bx, KCODE);
  equal("with its first parameter", seen.si, 0x2222);
  equal("and its second", seen.di, 0x1111);
  equal("and the caller's SS", seen.cx & 0xffff, UDATA);
  equal("and released them", seen.sp, (word)user_stack + sizeof user_stack);
  wrmsr(0x174, KCODE);
  wrmsr(0x175, (word)ring0_stack + sizeof ring0_stack);
  wrmsr(0x176, (word)sysenter_target);
  user_program = user_sysenter;
  faults("SYSENTER and SYSEXIT", enter_user, UD, 0);
  equal("come back", seen.ip, (word)after_sysenter);
  equal("to user code", seen.cs, UCODE);
  equal("through the kernel's", seen.bx, KCODE);
}

static void tasks(void) {
  other = (struct tss){ .eip = (word)task_entry, .esp = (word)task_stack + sizeof task_stack, .cs = KCODE, .ss = KDATA,
                        .ds = KDATA, .es = KDATA, .eflags = 2, .io_map = sizeof other };
  gdt[OTHER_TSS >> 3] = system_descriptor(&other, sizeof other - 1, 0x89);
  faults("a call to a task, and its IRET", call_task, NOTHING);
  equal("the task ran", task_runs, 1);
  equal("it is free again", gdt[OTHER_TSS >> 3] >> 40 & 0xf, 9);
  equal("its link was this task", other.link & 0xffff, MAIN_TSS);
  idt[0x31] = gate(0, OTHER_TSS, 0x85, 0);
  faults("a task gate", interrupt_task, NOTHING);
  equal("the task ran again", task_runs, 2);
  faults("#GP of a jump to a busy task", jump_busy, GP, MAIN_TSS);
  u32 cr0 = read_cr0();
  check("a task switch sets CR0.TS", cr0 & 8);
  asm volatile("clts");
}

/* ---- virtual-8086 mode ---- */

asm(".text\n .code16\n virtual_begin: mov $0x1000, %ax\n mov %ax, %ds\n mov %cs, %bx\n movw $0x4321, 0x20\n pushf\n hlt\n virtual_end:\n .code32");
extern u8 virtual_begin[], virtual_end[];
static void enter_virtual(void) {
  asm volatile("push $0\n push $0\n push $0\n push $0\n push $0\n push $0x5ff0\n push $0x20002\n push $0x500\n push $0\n iret" : : : "memory");
}
static void virtual_8086(void) {
  memcpy((void *)0x5000, virtual_begin, virtual_end - virtual_begin);
  faults("#GP of PUSHF with IOPL 0", enter_virtual, GP, 0);
  check("EFLAGS.VM is pushed", seen.flags & 0x20000);
  equal("its CS", seen.cs, 0x500);
  equal("DS became 1000h", *(volatile u16 *)0x10020, 0x4321);
  equal("BX has CS", seen.bx & 0xffff, 0x500);
}

/* ---- paging ---- */

static u32 directory[1024] __attribute__((aligned(4096))), table[1024] __attribute__((aligned(4096)));
static u64 pae_table[4] __attribute__((aligned(32))), pae_directory[512] __attribute__((aligned(4096)));
RUN(read_far, "mov 0x40001000, %al")
RUN(write_far, "movb $7, 0x40001000")
static void paging(void) {
  static u8 page[4096] __attribute__((aligned(4096)));
  page[0] = 0x5a;
  write_cr4(read_cr4() | 0x10);
  for (u32 i = 0; i < 1024; i++) directory[i] = i < 16 ? i << 22 | 0x83 : 0;
  directory[256] = (u32)table | 3;
  table[1] = (u32)page | 1;
  write_cr3((word)directory);
  write_cr0(read_cr0() | 1u << 31 | 1 << 16);
  faults("a 4 KiB page reads", read_far, NOTHING);
  equal("the accessed bit of the table", directory[256] & 0x20, 0x20);
  faults("#PF of a write to a read-only page", write_far, PF, E_P | E_W);
  equal("CR2", seen_cr2, 0x40001000);
  table[1] = 0;
  invlpg((void *)0x40001000);
  faults("#PF of a page that is not present", read_far, PF, 0);
  directory[256] = 0x400083;
  write_cr3((word)directory);
  *(volatile u8 *)0x401000 = 0x77;
  equal("a 4 MiB page", *(volatile u8 *)0x40001000, 0x77);
  write_cr0(read_cr0() & ~(1u << 31));
  for (u32 i = 0; i < 512; i++) pae_directory[i] = i << 21 | 0x83;
  pae_table[0] = (u32)pae_directory | 1;
  pae_table[1] = (u32)pae_directory | 1;
  write_cr4(read_cr4() | 0x20);
  write_cr3((word)pae_table);
  write_cr0(read_cr0() | 1u << 31);
  *(volatile u8 *)0x601000 = 0x33;
  equal("PAE's 2 MiB pages", *(volatile u8 *)0x40601000, 0x33);
  write_cr0(read_cr0() & ~(1u << 31));
  write_cr4(read_cr4() & ~0x30u);
}

static void real_mode(void) {
  memcpy((void *)0x7000, real_begin, real_end - real_begin);
  *(volatile u16 *)0x10010 = 0;
  visit_real();
  struct pointer idtr = { sizeof idt - 1, (u32)idt };
  asm volatile("lidt %0" : : "m"(idtr));
  equal("INT through the vector table", *(volatile u16 *)0x6f00, 0x2345);
  equal("a store through ES", *(volatile u16 *)0x10010, 0xbeef);
}

void kernel(void) {
  mask_interrupts();
  gdt[MAIN_TSS >> 3] = system_descriptor(&tss, sizeof tss - 1, 0x89);
  struct pointer gdtr = { sizeof gdt - 1, (u32)gdt }, idtr = { sizeof idt - 1, (u32)idt };
  for (int i = 0; i < 64; i++) idt[i] = gate(stubs + i * 16, KCODE, 0x8e, 0);
  tss.ss0 = KDATA;
  tss.esp0 = (word)ring0_stack + sizeof ring0_stack;
  tss.io_map = sizeof tss;
  asm volatile("lgdt %0\n lidt %1\n ljmp $0x08, $1f\n 1: mov %2, %%ds\n mov %2, %%es\n mov %2, %%ss\n ltr %w3"
               : : "m"(gdtr), "m"(idtr), "r"(KDATA), "r"(MAIN_TSS));
  segments();
  privilege();
  tasks();
  virtual_8086();
  paging();
  real_mode();
  finish("protected mode");
}
