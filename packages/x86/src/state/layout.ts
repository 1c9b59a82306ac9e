/**
 * Where the engine keeps what, in its own WebAssembly memory (guest RAM is another one). The only place with offsets.
 *
 * Registers that a micro-op names by an 8-bit byte offset come first in their area: 32 slots of 8 bytes, of which the
 * general registers are the first 16 and the rest serve as bases of addresses.
 */

/** General registers, then the slots below; 8 bytes each. */
export const REGS = 0x100
/** Slots after the 16 general registers, as indices of 8 bytes. */
export const SLOT = {
  /** Always zero: the base or index that is not there. */
  zero: 16,
  /** RIP at offset 0 of the code page that runs now: micro-ops hold offsets into the page. */
  ripBase: 17,
  /** Linear address made by an address micro-op for the instruction after it. */
  ea: 18,
  fsBase: 19,
  gsBase: 20,
  /** Offset part of the address made by an address micro-op (before the segment's base). */
  eaOffset: 21,
} as const

/** XMM registers, 16 bytes each; the upper halves of YMM follow them. */
export const XMM = 0x200
export const YMM_HIGH = 0x300
/** x87 physical registers: 16 bytes each, significand (u64) then sign and exponent (u16). */
export const X87 = 0x400

let next = 0x480
function slot(bytes: number): number {
  const size = Math.min(Math.max(bytes, 4), 64)
  next = (next + size - 1) & -size
  const at = next
  next += bytes
  return at
}

/** Flag sources, see flags.ts. */
export const FLAG_KIND = slot(4)
export const FLAG_A = slot(8)
export const FLAG_B = slot(8)
export const FLAG_RESULT = slot(8)
/** RFLAGS without CF, PF, AF, ZF, SF and OF. */
export const RFLAGS_SYSTEM = slot(4)

/** RIP where it is known exactly: on entry to and exit from the engine, and for a dispatch. */
export const RIP = slot(8)
/** The micro-op that runs (or faulted); says RIP together with `SLOT.ripBase`. 0 where RIP itself is exact. */
export const CURRENT_UOP = slot(4)
/** Instructions left in the slice, on exit. */
export const BUDGET = slot(4)

/** What a string instruction that stopped in its middle costs the slice; it is not done, so it does not count as run. */
export const REPEAT_SPENT = slot(4)

/** Pending exception: vector + 1, or 0. */
export const FAULT = slot(4)
export const FAULT_ERROR = slot(4)
/** Address of a page fault (CR2 when it is delivered). */
export const FAULT_ADDRESS = slot(8)

/** Where recompiled code faults: instructions to charge, and in the upper bits the page, in pages of 4 KiB from the region's base. */
export const FAULT_NOTE = slot(4)
export const FAULT_NOTE_PAGE = 12
/** The tag that an access of memory found in the TLB instead of its own; nobody reads it. */
export const MISSED_TAG = slot(8)

export const CPL = slot(4)
/** 2, 4 or 8: code segment's default operand size in bytes; 8 in 64-bit mode. */
export const CODE_SIZE = slot(4)
/** Mask of the stack pointer in use: 0xffff, 0xffffffff or all ones. */
export const STACK_MASK = slot(8)

/** Data TLB in use (for CPL and EFLAGS.AC), and code TLB. */
export const TLB_BASE = slot(4)
export const CODE_TLB_BASE = slot(4)

export const CR0 = slot(8)
export const CR2 = slot(8)
export const CR3 = slot(8)
export const CR4 = slot(8)
export const EFER = slot(8)
export const XCR0 = slot(8)
export const DR = slot(64)
/** IA32_STAR, LSTAR, CSTAR, FMASK, KERNEL_GS_BASE, SYSENTER_CS, _ESP, _EIP, TSC_AUX. */
export const MSR_STAR = slot(8)
export const MSR_LSTAR = slot(8)
export const MSR_CSTAR = slot(8)
export const MSR_FMASK = slot(8)
export const MSR_KERNEL_GS_BASE = slot(8)
export const MSR_SYSENTER_CS = slot(8)
export const MSR_SYSENTER_ESP = slot(8)
export const MSR_SYSENTER_EIP = slot(8)
export const MSR_TSC_AUX = slot(8)

/**
 * Segment registers ES, CS, SS, DS, FS, GS, then LDTR and TR: 32 bytes each.
 * FS and GS bases live in their register slots in all modes; `base` here mirrors them only when the descriptor is loaded.
 */
export const SEG = slot(8 * 32)
export const SEG_SIZE = 32
export const SEG_SELECTOR = 0
/** Descriptor bits 40–55 (type, S, DPL, P, AVL, L, D/B, G). */
export const SEG_ATTRIBUTES = 4
export const SEG_BASE = 8
/** Limit in bytes, scaled by G. */
export const SEG_LIMIT = 16
/** 1 when a null or otherwise unusable selector is loaded. */
export const SEG_UNUSABLE = 20
export const ES = 0
export const CS = 1
export const SS = 2
export const DS = 3
export const FS = 4
export const GS = 5
export const LDTR = 6
export const TR = 7

export const GDTR_BASE = slot(8)
export const GDTR_LIMIT = slot(4)
export const IDTR_LIMIT = slot(4)
export const IDTR_BASE = slot(8)

/** x87: control word, status word without TOP, TOP, tag bits (1 = in use), last instruction and operand pointers, opcode. */
export const FPU_CONTROL = slot(4)
export const FPU_STATUS = slot(4)
export const FPU_TOP = slot(4)
export const FPU_TAGS = slot(4)
export const FPU_OPCODE = slot(4)
export const MXCSR = slot(4)
export const FPU_IP = slot(8)
export const FPU_DP = slot(8)
/** Exceptions that soft float raised, at the places of MXCSR's flags; and whether the last rounding went away from zero. */
export const SF_FLAGS = slot(4)
export const SF_ROUNDED_UP = slot(4)
/** Soft float's operands and result, taken apart: see float/unpacked.ts. 32 bytes each. */
export const SF_A = slot(32)
export const SF_B = slot(32)
export const SF_C = slot(32)
export const SF_R = slot(32)
/** Result of an x87 operation: significand, then sign and exponent (i32). */
export const X87_RESULT = slot(16)
/** Image of XSAVE's area while it is made or taken apart: 512 bytes as FXSAVE's, the header, 256 bytes of AVX state. */
export const FX_IMAGE = slot(832)
/** Scratch for values that cross to TypeScript (wide MMIO, MSRs, host calls): 64 bytes. */
export const SCRATCH = slot(64)
/** Set by TypeScript to stop the slice at the next branch; checked where a slice's budget is. */
export const EXIT_REQUEST = slot(4)
/** 1 when a TLB holds pieces of a large page in the lower half of the address space. */
export const LARGE_PAGES = slot(4)
/** DR7's enable bits: while not zero no translation is remembered, and every access is compared with DR0–DR3. */
export const WATCHING = slot(4)
/** Breakpoints that were hit since they were last looked at: bits 0–3 as in DR6. */
export const WATCH_HITS = slot(4)
/** Interrupt shadow: instructions left before an interrupt may be taken. */
export const SHADOW = slot(4)
/** Number of bytes of RAM below the hole, and in all. */
export const RAM_LOW = slot(8)
export const RAM_BYTES = slot(8)
/** What x87, MMX, SSE and WAIT instructions raise (vector + 1) under CR0.EM, TS, MP and CR4.OSFXSR; 0 when they may run. */
export const X87_BLOCKED = slot(4)
export const MMX_BLOCKED = slot(4)
export const SSE_BLOCKED = slot(4)
export const WAIT_BLOCKED = slot(4)
/** The same for what VEX encodes: general registers only (no real-address or virtual-8086 mode), and vectors. */
export const VEX_BLOCKED = slot(4)
export const AVX_BLOCKED = slot(4)
/** Physical-address bits that must be zero in a paging entry. */
export const PHYSICAL_RESERVED = slot(8)
/** The code size that each code TLB is for: user, supervisor. */
export const CODE_TLB_CODE_SIZES = slot(8)
/** 1 while the pins have an interrupt, as last seen: before each entry, and after each call of theirs. */
export const INTERRUPT_PENDING = slot(4)
/** 1 where exceptions go to TypeScript before they are delivered. */
export const INTERCEPTED = slot(4)
/** Events delivered; and how many of the slice's budget went to faults, which are no instructions that ran. */
export const EVENTS = slot(4)
export const FAULTS = slot(4)
/** The last exception: vector + 1, error code, RIP. */
export const LAST_FAULT = slot(4)
export const LAST_FAULT_ERROR = slot(4)
export const LAST_FAULT_RIP = slot(8)
/** Entries in TLB_JOURNAL. */
export const TLB_JOURNAL_LENGTH = slot(4)
/** Bit n: segment n is flat, as system/flat-segments.ts says; follows from its cache. */
export const FLAT_SEGMENTS = slot(4)
/** Jump cache in use. */
export const JUMP_CACHE_BASE = slot(4)
export const STATE_END = next

/**
 * Data TLB: one per MMU index (user, supervisor, supervisor with EFLAGS.AC, and user with alignment checks, which is
 * never filled so that every access takes the slow path). 1024 entries of 32 bytes: read tag (i64),
 * write tag (i64), addend (i32, host offset minus low half of the address), flags. A tag is the page's linear address, or −1.
 */
export const TLB_ENTRIES = 1024
export const TLB_ENTRY_SIZE = 32
export const TLB_READ = 0
export const TLB_WRITE = 8
export const TLB_ADDEND = 16
/** 1 when the translation is global (survives a CR3 load). */
export const TLB_GLOBAL = 20
export const TLB_SIZE = TLB_ENTRIES * TLB_ENTRY_SIZE
export const TLB = 0x4000
export const MMU_USER = 0
export const MMU_SUPERVISOR = 1
export const MMU_SUPERVISOR_AC = 2
export const MMU_USER_ALIGNED = 3
export const MMU_INDICES = 4

/** Code TLB: user and supervisor, 1024 entries of 16 bytes: tag (i64), code page (i32), global (i32). */
export const CODE_TLB_ENTRIES = 1024
export const CODE_TLB_ENTRY_SIZE = 16
export const CODE_TLB_SIZE = CODE_TLB_ENTRIES * CODE_TLB_ENTRY_SIZE
export const CODE_TLB = TLB + MMU_INDICES * TLB_SIZE

/** Addresses of the entries, of all these TLBs, that were filled with what is not global since the last flush; while they fit. */
export const TLB_JOURNAL = CODE_TLB + 2 * CODE_TLB_SIZE
export const TLB_JOURNAL_ENTRIES = 1024

/** One byte per page of RAM: 1 while the page holds decoded code. Up to 4 GiB of RAM. */
export const CODE_PAGES = TLB_JOURNAL + TLB_JOURNAL_ENTRIES * 4
export const CODE_PAGES_SIZE = 1 << 20

/** For each page of RAM the map of its code page (of the code size used last), or 0. */
export const CODE_MAPS = CODE_PAGES + CODE_PAGES_SIZE
const CODE_MAPS_SIZE = 4 * CODE_PAGES_SIZE

/** How often control arrived at a micro-op, for the recompiler: 16 bits each, by a hash of the micro-op's address. */
export const HEAT = CODE_MAPS + CODE_MAPS_SIZE
export const HEAT_ENTRIES = 1 << 16
const HEAT_SIZE = HEAT_ENTRIES * 2

/** How often a region was entered, by its slot: 16 bits each, close together since most are in use. */
export const REGION_ENTRIES = HEAT + HEAT_SIZE
export const REGION_SLOTS = 16384

/**
 * What a fault asks of the micro-op at work (UOP_PLACE, UOP_BASE), for code that has none: 8 bytes for each place, and the
 * same again with RSP as base, which tells accesses to the stack apart.
 */
export const PLACES = REGION_ENTRIES + REGION_SLOTS * 2
export const PLACE_SIZE = 8
export const PLACE_STACK = 65536 * PLACE_SIZE
const PLACES_SIZE = 2 * PLACE_STACK

/** Where indirect jumps went, see interpreter/targets.ts: 8 bytes each. */
export const TARGETS = PLACES + PLACES_SIZE
export const TARGET_ROWS = 64
export const TARGETS_OF_ROW = 256
const TARGETS_SIZE = TARGET_ROWS * TARGETS_OF_ROW * 8

/** Where jumps went, for user mode and for the supervisor: see interpreter/jump-cache.ts. */
export const JUMP_CACHE = TARGETS + TARGETS_SIZE
export const JUMP_CACHE_ENTRIES = 16384
export const JUMP_CACHE_SIZE = JUMP_CACHE_ENTRIES * 16
/** The current generation of its entries for the lower half of the address space, and for the upper half. */
export const JUMP_GENERATIONS = JUMP_CACHE + 2 * JUMP_CACHE_SIZE
/** 1 where code of the upper half may be there that is not global. */
export const JUMP_UPPER_IS_LOCAL = JUMP_GENERATIONS + 8

/**
 * Micro-ops and the maps from page offset to micro-op; see interpreter/code-cache.ts. Aligned, so that the places in the tables that
 * hash a micro-op's address do not depend on what comes before.
 */
export const ARENA = (JUMP_GENERATIONS + 16 + 0xfffff) & ~0xfffff

/** The map of a code page: 64 pointers to sub-maps of 64 pointers to micro-ops, then the code size. */
export const CODE_PAGE_SUBMAPS = 64
export const CODE_PAGE_SIZE_AT = CODE_PAGE_SUBMAPS * 4
export const CODE_PAGE_BYTES = CODE_PAGE_SIZE_AT + 16

/** A micro-op. */
export const UOP_SIZE = 16
export const UOP_HANDLER = 0
/** Bits 0–11: offset of the instruction in its page; bits 12–15: its length. */
export const UOP_PLACE = 2
export const UOP_BASE = 4
export const UOP_INDEX = 5
export const UOP_REG = 6
export const UOP_SCALE = 7
export const UOP_DISP = 8
export const UOP_IMM = 12
/** With VEX the immediate is one byte. Behind it: the registers of VEX.vvvv and of imm8[7:4], the segment of a gather. */
export const UOP_VVVV = 13
export const UOP_IS4 = 14
export const UOP_SEGMENT = 15
