# Multiboot entry of the 32-bit kernel, exception stubs, and the trip to real mode.
.altmacro
.set FLAGS, 3
.section .multiboot, "a"
.align 4
.long 0x1badb002, FLAGS, -(0x1badb002 + FLAGS)

.section .bss
.align 16
stack: .skip 65536
stack_top:

.section .text
.code32
.globl _start
_start:
  cli
  mov $stack_top, %esp
  call kernel
1: hlt
  jmp 1b

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
  pusha
  push %ds; push %es; push %fs; push %gs
  mov $0x10, %eax
  mov %eax, %ds
  mov %eax, %es
  push %esp
  cld
  call event
  add $4, %esp
  pop %gs; pop %fs; pop %es; pop %ds
  popa
  add $8, %esp
  iret

# Copied to 7000h: real mode, where it adds, calls through the IVT, and comes back with what it found in real_result.
.globl real_begin, real_end
.set BASE, 0x7000
real_begin:
  ljmp $0x28, $(BASE + (1f - real_begin))
.code16
1: mov $0x30, %ax
  mov %ax, %ds
  mov %ax, %es
  mov %ax, %ss
  mov %cr0, %eax
  and $~1, %al
  mov %eax, %cr0
  ljmp $0, $(BASE + (2f - real_begin))
2: xor %ax, %ax
  mov %ax, %ds
  mov %ax, %ss
  mov $0x6ff0, %sp
  lidtl BASE + (ivt_pointer - real_begin)
  movw $(BASE + (handler - real_begin)), 0x60 * 4
  movw $0, 0x60 * 4 + 2
  mov $0x1234, %bx
  int $0x60
  mov $0x1000, %ax
  mov %ax, %es
  movw $0xbeef, %es:0x10
  mov 0x6f00, %ax
  mov %bx, 0x6f00
  mov %cr0, %eax
  or $1, %al
  mov %eax, %cr0
  ljmpl $8, $(BASE + (3f - real_begin))
handler:
  add $0x1111, %bx
  iret
ivt_pointer: .word 0x3ff; .long 0
.code32
3: mov $0x10, %eax
  mov %eax, %ds
  mov %eax, %es
  mov %eax, %ss
  mov 0x6f10, %esp
  ret
real_end:
.globl visit_real
visit_real:
  pusha
  push $1f
  mov %esp, 0x6f10
  mov $0x7000, %eax
  jmp *%eax
1: popa
  ret
