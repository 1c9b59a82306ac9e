.altmacro
# Multiboot entry, then 64-bit mode with the first gigabyte mapped one to one by 4 KiB and 2 MiB pages.
.set FLAGS, 3
.section .multiboot, "a"
.align 4
.long 0x1badb002, FLAGS, -(0x1badb002 + FLAGS)

.section .bss
.align 4096
.globl pml4, pdpt, directory, table, stack_top
pml4: .skip 4096
pdpt: .skip 4096
directory: .skip 4096
table: .skip 4096
stack: .skip 65536
stack_top:

.section .text
.code32
.globl _start
_start:
  cli
  mov $stack_top, %esp
  movl $pdpt + 7, pml4
  movl $directory + 7, pdpt
  movl $table + 7, directory
  mov $1, %ecx
1: mov %ecx, %eax
  shl $21, %eax
  or $0x87, %eax
  mov %eax, directory(, %ecx, 8)
  inc %ecx
  cmp $512, %ecx
  jb 1b
  xor %ecx, %ecx
2: mov %ecx, %eax
  shl $12, %eax
  or $7, %eax
  mov %eax, table(, %ecx, 8)
  inc %ecx
  cmp $512, %ecx
  jb 2b
  mov $0x20, %eax
  mov %eax, %cr4
  mov $pml4, %eax
  mov %eax, %cr3
  mov $0xc0000080, %ecx
  rdmsr
  or $0x901, %eax
  wrmsr
  mov $0x80010033, %eax
  mov %eax, %cr0
  lgdt boot_gdt_pointer
  ljmp $8, $3f
.code64
3: xor %eax, %eax
  mov %eax, %ds
  mov %eax, %es
  mov %eax, %ss
  mov %eax, %fs
  mov %eax, %gs
  mov $stack_top, %rsp
  call kernel
4: hlt
  jmp 4b

boot_gdt: .quad 0, 0x00af9b000000ffff
boot_gdt_pointer: .word 15; .long boot_gdt

# Exceptions and interrupts 0 to 63: an error code (or zero), the vector, then the registers.
.macro stub vector, has_error
  .align 16
  .if \has_error == 0
  push $0
  .endif
  push $\vector
  jmp common
.endm
.align 16
.globl stubs
stubs:
.set i, 0
.rept 64
  .if i == 8 || (i >= 10 && i <= 14) || i == 17
  stub %i, 1
  .else
  stub %i, 0
  .endif
  .set i, i + 1
.endr
common:
  push %rax; push %rcx; push %rdx; push %rbx; push %rbp; push %rsi; push %rdi
  push %r8; push %r9; push %r10; push %r11; push %r12; push %r13; push %r14; push %r15
  mov %rsp, %rdi
  cld
  call event
  pop %r15; pop %r14; pop %r13; pop %r12; pop %r11; pop %r10; pop %r9; pop %r8
  pop %rdi; pop %rsi; pop %rbp; pop %rbx; pop %rdx; pop %rcx; pop %rax
  add $16, %rsp
  iretq
