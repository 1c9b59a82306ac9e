/**
 * Page walks: linear to guest-physical, in WebAssembly.
 *
 * `walk(address, access)` returns the guest-physical address, or −1 with a page fault pending. It leaves in WALK_INFO what
 * a TLB may remember: whether writes are allowed and the page is dirty, and whether the translation is global.
 * SDM Vol. 3A, "Paging".
 */
import * as L from '../state/layout.ts'
import {
  CR0_PG,
  CR0_WP,
  CR4_PAE,
  CR4_PGE,
  CR4_PSE,
  CR4_SMAP,
  CR4_SMEP,
  EFER_LMA,
  EFER_NXE,
  EXCEPTION,
} from '../state/registers.ts'
import type { Callable, Code, Expr, Label, Variable } from '../wasm/code.ts'
import type { ModuleBuilder } from '../wasm/module.ts'

/** Access bits for `walk`. */
export const ACCESS_WRITE = 1
export const ACCESS_USER = 2
export const ACCESS_FETCH = 4
/** A supervisor access that SMAP does not check, since EFLAGS.AC is set. */
export const ACCESS_AC = 8

export const WALK_WRITABLE = 1
export const WALK_GLOBAL = 2
export const WALK_LARGE = 4

const RAM = 1
const PTE_P = 1
const PTE_W = 2
const PTE_U = 4
const PTE_A = 0x20
const PTE_D = 0x40
const PTE_PS = 0x80
const PTE_G = 0x100
const NX = 1n << 63n
const ADDRESS_MASK = 0x000ffffffffff000n

/** Page-fault error code bits. */
const PF_P = 1

const PF_RSVD = 8

/** Where `walk` leaves its WALK_ bits: in the scratch area's last word. */
export const WALK_INFO = L.SCRATCH + 60

export interface Walker {
  /** Guest-physical address to host offset in RAM, or −1 (i64). */
  readonly hostOf: Callable
  readonly walk: Callable
}

export function defineWalk(module: ModuleBuilder): Walker {
  const hostOf = defineHostOf(module)
  const walk = module.func('walk', ['i64', 'i32'], ['i64'], (c) => new WalkBuilder(c, hostOf).build())
  return { hostOf, walk }
}

function defineHostOf(module: ModuleBuilder): Callable {
  return module.func('hostOf', ['i64'], ['i64'], (c) => {
    const gpa = c.param(0)
    const at = (kind: 'i64', offset: number) => c.load(kind, c.i32(0), offset)
    const low = at('i64', L.RAM_LOW)
    c.if(gpa.ltU(low), () => c.return(gpa))
    const high = gpa.sub(0x100000000).add(low)
    const inHigh = gpa
      .geU(0x100000000)
      .and(high.ltU(at('i64', L.RAM_BYTES)))
      .and(high.geU(low))
    c.return(c.select(inHigh, high, -1))
  })
}

class WalkBuilder {
  readonly #c: Code
  readonly #hostOf: Callable
  readonly #address: Expr
  readonly #access: Expr
  readonly #cr4: Expr
  readonly #efer: Expr
  readonly #cr0: Expr
  /** AND of W and U over the levels; OR of NX. */
  readonly #rights: Variable
  readonly #noExecute: Variable
  /** Host offset and size of the leaf entry. */
  readonly #leafHost: Variable
  readonly #leaf: Variable
  readonly #pageMask: Variable

  constructor(c: Code, hostOf: Callable) {
    this.#c = c
    this.#hostOf = hostOf
    this.#address = c.param(0)
    this.#access = c.param(1)
    this.#cr0 = c.load('i32', c.i32(0), L.CR0)
    this.#cr4 = c.load('i32', c.i32(0), L.CR4)
    this.#efer = c.load('i32', c.i32(0), L.EFER)
    this.#rights = c.variable('i64', PTE_W | PTE_U)
    this.#noExecute = c.variable('i64', 0)
    this.#leafHost = c.variable('i32', 0)
    this.#leaf = c.variable('i64', 0)
    this.#pageMask = c.variable('i64', 0xfff)
  }

  build(): void {
    const c = this.#c
    c.if(this.#cr0.and(CR0_PG).eqz(), () => {
      c.store('i32', c.i32(0), WALK_WRITABLE, WALK_INFO)
      c.return(this.#address)
    })
    const cr3 = c.load('i64', c.i32(0), L.CR3)
    c.if(
      this.#cr4.and(CR4_PAE).eqz(),
      () => this.#legacy32(cr3),
      () => {
        c.if(
          this.#efer.and(EFER_LMA),
          () => this.#fourLevel(cr3),
          () => this.#pae(cr3),
        )
      },
    )
    this.#finish()
  }

  #fourLevel(cr3: Expr): void {
    const c = this.#c
    c.block((done) => {
      const pml4e = this.#entry64(cr3.and(ADDRESS_MASK), 39)
      this.#checkReserved(pml4e, PTE_PS)
      const pdpte = this.#entry64(pml4e.and(ADDRESS_MASK), 30)
      this.#large(pdpte, 30, done)
      const pde = this.#entry64(pdpte.and(ADDRESS_MASK), 21)
      this.#large(pde, 21, done)
      this.#entry64(pde.and(ADDRESS_MASK), 12)
    })
  }

  #pae(cr3: Expr): void {
    const c = this.#c
    c.block((done) => {
      // PDPTEs hold no rights; they are read here rather than kept since the last load of CR3.
      const at = cr3.and(0xffffffe0).add(this.#address.shrU(30).and(3).shl(3))
      const host = this.#host(at)
      const pdpte = c.load('i64', host, 0, RAM)
      c.if(pdpte.and(PTE_P).eqz(), () => this.#fault(0))
      const pde = this.#entry64(pdpte.and(ADDRESS_MASK), 21)
      this.#large(pde, 21, done)
      this.#entry64(pde.and(ADDRESS_MASK), 12)
    })
  }

  #legacy32(cr3: Expr): void {
    const c = this.#c
    c.block((done) => {
      const pde = this.#entry32(cr3.and(0xfffff000), 22)
      c.if(pde.and(PTE_PS).ne(0).and(this.#cr4.and(CR4_PSE).ne(0)), () => {
        // PSE-36: bits 13–20 are address bits 32–39.
        this.#pageMask.set(0x3fffff)
        const high = pde.shrU(13).and(0xff).shl(32)
        this.#leaf.set(pde.and(0xffc00fff).or(high))
        c.branch(done)
      })
      this.#entry32(pde.and(0xfffff000), 12)
    })
  }

  #host(gpa: Expr): Expr {
    const host = this.#c.call(this.#hostOf, gpa)
    // Tables outside RAM read as not present.
    this.#c.if(host.ltS(0), () => this.#fault(0))
    return host.wrap()
  }

  /** Reads an 8-byte entry of the table at `table`; it becomes the leaf until the next one. */
  #entry64(table: Expr, shift: number): Expr {
    const c = this.#c
    const host = this.#host(table.add(this.#address.shrU(shift).and(511).shl(3)))
    const entry = c.load('i64', host, 0, RAM)
    c.if(entry.and(PTE_P).eqz(), () => this.#fault(0))
    this.#checkReserved(entry, 0)
    this.#rights.set(this.#rights.get().and(entry))
    this.#noExecute.set(this.#noExecute.get().or(entry))
    this.#remember(host, entry)
    return entry
  }

  #entry32(table: Expr, shift: number): Expr {
    const c = this.#c
    const host = this.#host(table.add(this.#address.shrU(shift).and(1023).shl(2)))
    const entry = c.load('i64_32u', host, 0, RAM)
    c.if(entry.and(PTE_P).eqz(), () => this.#fault(0))
    this.#rights.set(this.#rights.get().and(entry))
    this.#remember(host, entry)
    return entry
  }

  /** Remembers the entry as leaf, and sets the accessed bit of the one before, which is no leaf. */
  #remember(host: Expr, entry: Expr): void {
    const c = this.#c
    c.if(this.#leafHost.get().ne(0), () => {
      c.if(this.#leaf.get().and(PTE_A).eqz(), () =>
        c.store('i32_8', this.#leafHost.get(), this.#leaf.get().wrap().or(PTE_A), 0, RAM),
      )
    })
    this.#leafHost.set(host)
    this.#leaf.set(entry)
  }

  #large(entry: Expr, shift: number, done: Label): void {
    const c = this.#c
    c.if(entry.and(PTE_PS).ne(0), () => {
      const mask = 2 ** shift - 1
      this.#pageMask.set(mask)
      // Address bits below the page size are reserved, but for bit 12 (PAT).
      this.#checkReserved(entry, mask - 0x1fff)
      c.branch(done)
    })
  }

  #checkReserved(entry: Expr, bits: number): void {
    const c = this.#c
    const reserved = c.load('i64', c.i32(0), L.PHYSICAL_RESERVED).or(bits)
    const noNx = c.select(this.#efer.and(EFER_NXE), c.i64(0), c.i64(NX))
    c.if(entry.and(reserved.or(noNx)).ne(0), () => this.#fault(PF_P | PF_RSVD))
  }

  #finish(): void {
    const c = this.#c
    const { user, write, fetch } = {
      user: this.#access.and(ACCESS_USER),
      write: this.#access.and(ACCESS_WRITE),
      fetch: this.#access.and(ACCESS_FETCH),
    }
    const rights = this.#rights.get().wrap()
    const pageUser = rights.and(PTE_U)
    const denied = c.variable('i32', 0)
    const nx = this.#efer.and(EFER_NXE).ne(0).and(this.#noExecute.get().ltS(0))
    c.if(
      user,
      () => denied.set(pageUser.eqz()),
      () => {
        const smep = fetch.ne(0).and(this.#cr4.and(CR4_SMEP).ne(0))
        const smap = this.#access
          .and(ACCESS_FETCH | ACCESS_AC)
          .eqz()
          .and(this.#cr4.and(CR4_SMAP).ne(0))
        denied.set(pageUser.ne(0).and(smep.or(smap)))
      },
    )
    const writable = rights.and(PTE_W).or(c.select(user, c.i32(0), this.#cr0.and(CR0_WP).eqz()))
    const all = denied.get().or(write.ne(0).and(writable.eqz())).or(fetch.ne(0).and(nx))
    c.if(all, () => this.#fault(PF_P))
    this.#markUsed(write)
    const leaf = this.#leaf.get()
    const dirty = leaf.and(PTE_D).ne(0).or(write.ne(0))
    const global = leaf.and(PTE_G).ne(0).and(this.#cr4.and(CR4_PGE).ne(0))
    const mask = this.#pageMask.get()
    const info = writable.ne(0).and(dirty).or(global.shl(1)).or(mask.ne(0xfff).shl(2))
    c.store('i32', c.i32(0), info, WALK_INFO)
    c.return(leaf.and(ADDRESS_MASK).and(mask.xor(-1)).or(this.#address.and(mask)))
  }

  #markUsed(write: Expr): void {
    const c = this.#c
    const leaf = this.#leaf.get()
    const wanted = c.select(write, c.i64(PTE_A | PTE_D), PTE_A)
    c.if(leaf.and(wanted).ne(wanted), () => {
      c.store('i32_8', this.#leafHost.get(), leaf.or(wanted).wrap(), 0, RAM)
    })
  }

  #fault(bits: number): void {
    const c = this.#c
    const write = this.#access.and(ACCESS_WRITE).shl(1)
    const user = this.#access.and(ACCESS_USER).shl(1)
    const reportsFetch = this.#efer.and(EFER_NXE).ne(0).or(this.#cr4.and(CR4_SMEP).ne(0))
    const fetch = c.select(reportsFetch, this.#access.and(ACCESS_FETCH).shl(2), 0)
    c.store('i32', c.i32(0), EXCEPTION.PF + 1, L.FAULT)
    c.store('i32', c.i32(0), write.or(user).or(fetch).or(bits), L.FAULT_ERROR)
    c.store('i64', c.i32(0), this.#address, L.FAULT_ADDRESS)
    c.return(-1)
  }
}
