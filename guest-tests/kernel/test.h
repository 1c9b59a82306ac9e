/* What both kernels share: output, checks, the end. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef uintptr_t word;

enum { DE = 0, DB = 1, BP = 3, OF = 4, BR = 5, UD = 6, DF = 8, TS = 10, NP = 11, SS = 12, GP = 13, PF = 14, AC = 17 };
/* Bits of a page fault's error code. SDM Vol. 3A, "Page-Fault Exceptions". */
enum { E_P = 1, E_W = 2, E_U = 4, E_RSVD = 8, E_I = 16 };

static inline void outb(u16 port, u8 v) { asm volatile("outb %0, %1" : : "a"(v), "Nd"(port)); }
/* The firmware may have left its timer running; until a test asks for interrupts there are none. */
static inline void mask_interrupts(void) { outb(0x21, 0xff); outb(0xa1, 0xff); }
static inline void outl(u16 port, u32 v) { asm volatile("outl %0, %1" : : "a"(v), "Nd"(port)); }
static inline u8 inb(u16 port) { u8 v; asm volatile("inb %1, %0" : "=a"(v) : "Nd"(port)); return v; }
static inline u64 rdmsr(u32 i) { u32 a, d; asm volatile("rdmsr" : "=a"(a), "=d"(d) : "c"(i)); return (u64)d << 32 | a; }
static inline void wrmsr(u32 i, u64 v) { asm volatile("wrmsr" : : "c"(i), "a"((u32)v), "d"((u32)(v >> 32)) : "memory"); }
static inline void invlpg(void *at) { asm volatile("invlpg (%0)" : : "r"(at) : "memory"); }
#define REGISTER(name)                                                                                        \
  static inline word read_##name(void) { word v; asm volatile("mov %%" #name ", %0" : "=r"(v)); return v; }  \
  static inline void write_##name(word v) { asm volatile("mov %0, %%" #name : : "r"(v) : "memory"); }
REGISTER(cr0) REGISTER(cr2) REGISTER(cr3) REGISTER(cr4) REGISTER(dr0) REGISTER(dr6) REGISTER(dr7)

static void put(char c) {
  outb(0xe9, c);
  while (!(inb(0x3fd) & 0x20)) continue;
  outb(0x3f8, c);
}
static void print(const char *s) { while (*s) put(*s++); }
static void print_hex(u64 v) {
  for (int i = 60; i >= 0; i -= 4) if (v >> i || i == 0) put("0123456789abcdef"[v >> i & 15]);
}

static u32 passed, failed;
static bool check(const char *name, bool holds) {
  if (holds) passed++;
  else { failed++; print("FAILED "); print(name); put('\n'); }
  return holds;
}
static bool equal(const char *name, u64 got, u64 wanted) {
  if (got == wanted) { passed++; return true; }
  failed++;
  print("FAILED "); print(name); print(": "); print_hex(got); print(", should be "); print_hex(wanted); put('\n');
  return false;
}

/* Runs under QEMU's TCG, which leaves some checks of the CPU out. */
static bool is_tcg(void) {
  u32 a = 0x40000000, b, c, d;
  asm volatile("cpuid" : "+a"(a), "=b"(b), "=c"(c), "=d"(d));
  return b == 0x54474354;
}

/* isa-debug-exit: the process ends with (value << 1) | 1. */
static void __attribute__((noreturn)) finish(const char *name) {
  print(name); print(": "); print_hex(passed); print("h checks hold, "); print_hex(failed); print("h do not\n");
  outl(0xf4, failed ? 1 : 0);
  for (;;) asm volatile("cli; hlt");
}

void *memset(void *to, int c, __SIZE_TYPE__ n) { u8 *p = to; while (n--) *p++ = c; return to; }
void *memcpy(void *to, const void *from, __SIZE_TYPE__ n) {
  u8 *p = to; const u8 *q = from; while (n--) *p++ = *q++; return to;
}
