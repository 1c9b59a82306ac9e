/**
 * Building WebAssembly functions from TypeScript.
 *
 * A `Code` collects expressions (`Expr`) and statements. An expression is pure (arithmetic over other expressions), or a
 * read that happens where it was written (memory, mutable variables, calls). Nothing is emitted until the function is
 * complete; then expressions that nobody uses are dropped, those used once are emitted in place, and those used more
 * often get a local at the place where they were made:
 *
 *     const sum = a.add(b)            // pure; emitted where it is used
 *     code.store('i64', address, sum) // statement
 *     code.if(sum.eqz(), () => { … })
 *
 * Locals are used again after the last use of what they held.
 */
import { ByteWriter } from './bytes.ts'
import {
  BINARY,
  COMPARE,
  CONVERT,
  type LaneShape,
  LOAD,
  type LoadKind,
  SIMD,
  SIMD_LANE,
  SIMD_MIXED,
  type SimdMixedOp,
  type SimdOp,
  STORE,
  type StoreKind,
  UNARY,
  VALUE_TYPE_CODE,
  type ValueType,
} from './opcodes.ts'

export type { ValueType } from './opcodes.ts'

/** A function that can be called: its index in the module and its signature. */
export interface Callable {
  readonly index: number
  readonly params: readonly ValueType[]
  readonly results: readonly ValueType[]
}

/** An operand of an operation: an expression, or a number that becomes a constant of the other operand's type. */
export type Operandish = Expr | number | bigint

const enumKinds = { constant: 0, param: 1, pure: 2, load: 3, variable: 4, call: 5, select: 6 } as const
type Kind = (typeof enumKinds)[keyof typeof enumKinds]
const K = enumKinds

/** One value in a function under construction. */
export class Expr {
  readonly code: Code
  readonly kind: Kind
  readonly type: ValueType
  readonly opcode: number
  readonly args: readonly Expr[]
  /** Constant's value; local's index; load's offset; lane. */
  readonly immediate: number | bigint
  /** Load: memory index. Call: the callable. Shuffle and v128.const: the bytes. */
  readonly extra: number | Callable | Uint8Array | undefined
  uses = 0
  local = -1
  loop = 0
  /** Of a condition: how it mostly is. */
  expected: boolean | undefined
  /** See `onDemand`. */
  demanded = false

  constructor(
    code: Code,
    kind: Kind,
    type: ValueType,
    opcode: number,
    args: readonly Expr[],
    immediate: number | bigint = 0,
    extra?: number | Callable | Uint8Array,
  ) {
    this.code = code
    this.kind = kind
    this.type = type
    this.opcode = opcode
    this.args = args
    this.immediate = immediate
    this.extra = extra
  }

  #binary(name: keyof typeof BINARY, other: Operandish): Expr {
    return this.code.binary(name, this, other)
  }
  #compare(name: keyof typeof COMPARE, other: Operandish): Expr {
    return this.code.compare(name, this, other)
  }
  #unary(name: keyof typeof UNARY): Expr {
    const row: Partial<Record<ValueType, number>> = UNARY[name]
    const folded = foldExtension(this.code, name, this)
    if (folded) return folded
    const opcode = opcodeFor(row, this.type, name)
    // What is extended stays as it is.
    if (name.startsWith('extend') && this.kind === K.pure && this.opcode === opcode) return this
    return this.code.pure(this.type, opcode, [this])
  }
  #convert(name: keyof typeof CONVERT): Expr {
    const [from, to, opcode] = CONVERT[name]
    if (from !== this.type) throw new Error(`${name} of ${this.type}`)
    const folded = foldConversion(this.code, name, this)
    if (folded) return folded
    return this.code.pure(to, opcode, [this])
  }

  add(other: Operandish): Expr {
    return this.#binary('add', other)
  }
  sub(other: Operandish): Expr {
    return this.#binary('sub', other)
  }
  mul(other: Operandish): Expr {
    return this.#binary('mul', other)
  }
  div(other: Operandish): Expr {
    return this.#binary('div', other)
  }
  divS(other: Operandish): Expr {
    return this.#binary('divS', other)
  }
  divU(other: Operandish): Expr {
    return this.#binary('divU', other)
  }
  remS(other: Operandish): Expr {
    return this.#binary('remS', other)
  }
  remU(other: Operandish): Expr {
    return this.#binary('remU', other)
  }
  and(other: Operandish): Expr {
    return this.#binary('and', other)
  }
  or(other: Operandish): Expr {
    return this.#binary('or', other)
  }
  xor(other: Operandish): Expr {
    return this.#binary('xor', other)
  }
  shl(other: Operandish): Expr {
    return this.#binary('shl', other)
  }
  shrS(other: Operandish): Expr {
    return this.#binary('shrS', other)
  }
  shrU(other: Operandish): Expr {
    return this.#binary('shrU', other)
  }
  rotl(other: Operandish): Expr {
    return this.#binary('rotl', other)
  }
  rotr(other: Operandish): Expr {
    return this.#binary('rotr', other)
  }
  min(other: Operandish): Expr {
    return this.#binary('min', other)
  }
  max(other: Operandish): Expr {
    return this.#binary('max', other)
  }
  copysign(other: Operandish): Expr {
    return this.#binary('copysign', other)
  }
  /** Bitwise complement. */
  not(): Expr {
    return this.xor(-1)
  }

  eq(other: Operandish): Expr {
    return this.#compare('eq', other)
  }
  ne(other: Operandish): Expr {
    return this.#compare('ne', other)
  }
  lt(other: Operandish): Expr {
    return this.#compare('lt', other)
  }
  gt(other: Operandish): Expr {
    return this.#compare('gt', other)
  }
  le(other: Operandish): Expr {
    return this.#compare('le', other)
  }
  ge(other: Operandish): Expr {
    return this.#compare('ge', other)
  }
  ltS(other: Operandish): Expr {
    return this.#compare('ltS', other)
  }
  ltU(other: Operandish): Expr {
    return this.#compare('ltU', other)
  }
  gtS(other: Operandish): Expr {
    return this.#compare('gtS', other)
  }
  gtU(other: Operandish): Expr {
    return this.#compare('gtU', other)
  }
  leS(other: Operandish): Expr {
    return this.#compare('leS', other)
  }
  leU(other: Operandish): Expr {
    return this.#compare('leU', other)
  }
  geS(other: Operandish): Expr {
    return this.#compare('geS', other)
  }
  geU(other: Operandish): Expr {
    return this.#compare('geU', other)
  }
  eqz(): Expr {
    return this.code.isZero(this)
  }

  clz(): Expr {
    return this.#unary('clz')
  }
  ctz(): Expr {
    return this.#unary('ctz')
  }
  popcnt(): Expr {
    return this.#unary('popcnt')
  }
  abs(): Expr {
    return this.#unary('abs')
  }
  neg(): Expr {
    return this.type === 'i32' || this.type === 'i64'
      ? this.code.zero(this.type).sub(this)
      : this.#unary('neg')
  }
  ceil(): Expr {
    return this.#unary('ceil')
  }
  floor(): Expr {
    return this.#unary('floor')
  }
  trunc(): Expr {
    return this.#unary('trunc')
  }
  nearest(): Expr {
    return this.#unary('nearest')
  }
  sqrt(): Expr {
    return this.#unary('sqrt')
  }
  extend8S(): Expr {
    return this.#unary('extend8S')
  }
  extend16S(): Expr {
    return this.#unary('extend16S')
  }
  extend32S(): Expr {
    return this.#unary('extend32S')
  }

  /** Low 32 bits of an i64. */
  wrap(): Expr {
    return this.#convert('wrap')
  }
  /** The same of an i64 that is wanted whole as well, so that computing it again with 32 bits would be more work. */
  lowHalf(): Expr {
    const isExtended = isPure(this, CONVERT.extendU[2]) || isPure(this, CONVERT.extendS[2])
    if (this.isConstant || isExtended) return this.wrap()
    return this.code.pure('i32', CONVERT.wrap[2], [this])
  }
  /** i32 to i64, sign-extended. */
  extendS(): Expr {
    return this.#convert('extendS')
  }
  /** i32 to i64, zero-extended. */
  extendU(): Expr {
    return this.#convert('extendU')
  }
  convert(name: keyof typeof CONVERT): Expr {
    return this.#convert(name)
  }

  /** A SIMD operation with this as its first operand, by its name in the WebAssembly text format. */
  simd(name: SimdOp, ...others: Expr[]): Expr {
    if (name === 'v128.xor' && others[0] === this) return this.code.zero('v128')
    return this.code.pure('v128', 0xfd00 + SIMD[name], [this, ...others])
  }
  simdMixed(name: SimdMixedOp, ...others: Operandish[]): Expr {
    const [types, result, opcode] = SIMD_MIXED[name]
    const args = [this as Expr, ...others.map((o, i) => this.code.coerce(o, types[i + 1]!))]
    return this.code.pure(result, 0xfd00 + opcode, args)
  }
  lane(shape: LaneShape, index: number): Expr {
    const [type, extract] = SIMD_LANE[shape]
    const known = foldLane(this, shape, index)
    if (known) return known
    // V8 has a shorter instruction for the lowest lane of floats.
    if (shape === 'i64x2' && index === 0) return this.lane('f64x2', 0).convert('i64ReinterpretF64')
    return this.code.pure(type, 0xfd00 + extract, [this], index)
  }
  withLane(shape: LaneShape, index: number, value: Operandish): Expr {
    const [type, , replace] = SIMD_LANE[shape]
    const lane = this.code.coerce(value, type)
    const folded = foldWithLane(this, shape, index, lane)
    if (folded) return folded
    return this.code.pure('v128', 0xfd00 + replace, [this, lane], index)
  }
  /** The vector that this was read from by `lane` as a float, and at which byte. */
  asLane(): { readonly value: Expr; readonly byte: number } | undefined {
    for (const shape of ['f32x4', 'f64x2'] as const)
      if (isPure(this, extractOf(shape)))
        return { value: this.args[0]!, byte: Number(this.immediate) * bytesOfLane(shape) }
    return undefined
  }
  /** i8x16.shuffle: lanes 0–15 choose from this, 16–31 from `other`. */
  shuffle(other: Expr, lanes: readonly number[]): Expr {
    return this.code.pure('v128', 0xfd0d, [this, other], 0, Uint8Array.from(lanes))
  }

  get isConstant(): boolean {
    return this.kind === K.constant
  }

  /** Computed again wherever it is used, and nowhere else: for what is wanted on ways that are seldom taken. */
  onDemand(): Expr {
    if (this.kind === K.pure) this.demanded = true
    return this
  }
  /** As a condition: mostly true. Tells the compiler which arm to keep out of the way. */
  likely(): Expr {
    this.expected = true
    return this
  }
  /** As a condition: mostly false. */
  unlikely(): Expr {
    this.expected = false
    return this
  }
}

function opcodeFor(row: Partial<Record<ValueType, number>>, type: ValueType, name: string): number {
  const opcode = row[type]
  if (opcode === undefined) throw new Error(`no ${name} for ${type}`)
  return opcode
}

/** A mutable variable of the function under construction. */
export class Variable {
  readonly code: Code
  readonly type: ValueType
  readonly local: number
  constructor(code: Code, type: ValueType, local: number) {
    this.code = code
    this.type = type
    this.local = local
  }
  /** The value at this point of the function. */
  get(): Expr {
    return this.code.record(new Expr(this.code, K.variable, this.type, 0x20, [], this.local))
  }
  set(value: Operandish): void {
    this.code.statement({ kind: 'set', local: this.local, value: this.code.coerce(value, this.type) })
  }
}

export type Statement =
  | { kind: 'let'; expr: Expr }
  | { kind: 'set'; local: number; value: Expr }
  | { kind: 'store'; opcode: number; memory: number; offset: number; address: Expr; value: Expr }
  | { kind: 'op'; opcodes: readonly number[]; args: readonly Expr[] }
  | { kind: 'if'; condition: Expr; body: Statement[]; otherwise: Statement[] | undefined }
  | { kind: 'block'; label: Label; body: Statement[] }
  | { kind: 'loop'; label: Label; body: Statement[] }
  | { kind: 'branch'; label: Label; condition: Expr | undefined }
  | { kind: 'switch'; index: Expr; labels: readonly Label[]; fallback: Label }
  | { kind: 'return'; values: readonly Expr[] }
  | { kind: 'tail-call'; callee: Callable; args: readonly Expr[] }
  | { kind: 'tail-call-indirect'; typeIndex: number; table: number; index: Expr; args: readonly Expr[] }
  | { kind: 'unreachable' }
  | { kind: 'group'; body: readonly Statement[] }

/** A function's entry in the code section, and what is expected of its branches. */
export interface FunctionBody {
  readonly bytes: Uint8Array
  readonly hints: readonly BranchHint[]
}
export interface BranchHint {
  /** Of the branch, from the start of the body. */
  readonly offset: number
  readonly taken: boolean
}

/** The target of a branch: the end of a block, or the head of a loop. */
export class Label {
  depth = -1
}

const BLOCK_VOID = 0x40
const CALL = 0x10

/** A function under construction. */
export class Code {
  readonly params: readonly ValueType[]
  readonly results: readonly ValueType[]
  readonly #locals: ValueType[] = []
  #statements: Statement[] = []
  #loop = 0
  #loops = 0

  constructor(params: readonly ValueType[], results: readonly ValueType[]) {
    this.params = params
    this.results = results
  }

  // ---- expressions ----

  i32(value: number): Expr {
    return new Expr(this, K.constant, 'i32', 0x41, [], value | 0)
  }
  i64(value: number | bigint): Expr {
    return new Expr(this, K.constant, 'i64', 0x42, [], value)
  }
  f64(value: number): Expr {
    return new Expr(this, K.constant, 'f64', 0x44, [], value)
  }
  f32(value: number): Expr {
    return new Expr(this, K.constant, 'f32', 0x43, [], value)
  }
  v128(bytes: readonly number[]): Expr {
    return new Expr(this, K.constant, 'v128', 0xfd0c, [], 0, Uint8Array.from(bytes))
  }
  zero(type: ValueType): Expr {
    if (type === 'v128') return this.v128(new Array(16).fill(0))
    return this.coerce(0, type)
  }

  coerce(value: Operandish, type: ValueType): Expr {
    if (value instanceof Expr) {
      if (value.type !== type) throw new Error(`expected ${type}, got ${value.type}`)
      return value
    }
    switch (type) {
      case 'i32':
        return this.i32(Number(BigInt.asIntN(32, BigInt(value))))
      case 'i64':
        return this.i64(value)
      case 'f32':
        return this.f32(Number(value))
      case 'f64':
        return this.f64(Number(value))
      case 'v128':
        throw new Error('no v128 from a number')
    }
  }

  param(index: number): Expr {
    return new Expr(this, K.param, this.params[index]!, 0x20, [], index)
  }

  pure(type: ValueType, opcode: number, args: readonly Expr[], immediate = 0, extra?: Uint8Array): Expr {
    const expr = new Expr(this, K.pure, type, opcode, args, immediate, extra)
    return this.record(expr)
  }

  binary(name: keyof typeof BINARY, a: Expr, other: Operandish): Expr {
    const b = this.coerce(other, a.type)
    if (a.isConstant && !b.isConstant && COMMUTATIVE.has(name)) return this.binary(name, b, a)
    const folded = foldBinary(this, name, a, b)
    if (folded) return folded
    return this.pure(a.type, opcodeFor(BINARY[name], a.type, name), [a, b])
  }

  compare(name: keyof typeof COMPARE, a: Expr, other: Operandish): Expr {
    const b = this.coerce(other, a.type)
    const folded = foldCompare(this, name, a, b)
    return folded ?? this.pure('i32', opcodeFor(COMPARE[name], a.type, name), [a, b])
  }

  isZero(a: Expr): Expr {
    if (a.isConstant) return this.i32(a.immediate === 0 || a.immediate === 0n ? 1 : 0)
    if (a.type === 'i64' && isSigned32(a)) return this.isZero(low32(this, a))
    return this.pure('i32', a.type === 'i32' ? 0x45 : 0x50, [a])
  }

  /** `condition ? a : b`, both evaluated. */
  select(condition: Expr, a: Expr, other: Operandish): Expr {
    const b = this.coerce(other, a.type)
    if (condition.isConstant) return condition.immediate ? a : b
    const expr = new Expr(this, K.select, a.type, 0x1b, [a, b, condition])
    return this.record(expr)
  }

  load(kind: LoadKind, address: Expr, offset = 0, memory = 0): Expr {
    const [type, opcode] = LOAD[kind]
    return this.record(new Expr(this, K.load, type, opcode, [address], offset, memory))
  }

  /** Calls a function; the result is undefined only for functions without one. */
  call(callee: Callable, ...args: Operandish[]): Expr {
    const type = callee.results[0] ?? 'i32'
    const exprs = callee.params.map((param, i) => this.coerce(args[i]!, param))
    if (args.length !== callee.params.length) throw new Error('wrong number of arguments')
    return this.record(new Expr(this, K.call, type, CALL, exprs, 0, callee))
  }

  /** Calls a function that does nothing but compute a result: only where it is wanted. */
  pureCall(callee: Callable, ...args: Operandish[]): Expr {
    const exprs = callee.params.map((param, i) => this.coerce(args[i]!, param))
    return this.record(new Expr(this, K.pure, callee.results[0]!, CALL, exprs, 0, callee))
  }

  /** Records an expression at this point of the function. */
  record(expr: Expr): Expr {
    expr.loop = this.#loop
    this.#statements.push({ kind: 'let', expr })
    return expr
  }

  // ---- variables and statements ----

  variable(type: ValueType, initial?: Operandish): Variable {
    this.#locals.push(type)
    const variable = new Variable(this, type, this.params.length + this.#locals.length - 1)
    if (initial !== undefined) variable.set(initial)
    return variable
  }

  statement(statement: Statement): void {
    this.#statements.push(statement)
  }

  store(kind: StoreKind, address: Expr, value: Operandish, offset = 0, memory = 0): void {
    const [type, opcode] = STORE[kind]
    const whole = this.coerce(value, type)
    const float = FLOAT_STORE[kind] && floatOf(whole, FLOAT_STORE[kind])
    if (float) return this.store(FLOAT_STORE[kind]!, address, float, offset, memory)
    this.statement({ kind: 'store', opcode, memory, offset, address, value: whole })
  }

  /** memory.copy within or between memories. */
  copyMemory(target: Expr, source: Expr, bytes: Expr, targetMemory = 0, sourceMemory = 0): void {
    this.statement({
      kind: 'op',
      opcodes: [0xfc, 0x0a, targetMemory, sourceMemory],
      args: [target, source, bytes],
    })
  }
  fillMemory(target: Expr, value: Operandish, bytes: Operandish, memory = 0): void {
    const args = [target, this.coerce(value, 'i32'), this.coerce(bytes, 'i32')]
    this.statement({ kind: 'op', opcodes: [0xfc, 0x0b, memory], args })
  }

  /** Collects the statements of `body` instead of appending them. */
  protected nested(body: () => void): Statement[] {
    const outer = this.#statements
    this.#statements = []
    body()
    const inner = this.#statements
    this.#statements = outer
    return inner
  }

  /** Where the next statement will stand. */
  protected here(): { readonly statements: Statement[]; readonly index: number } {
    return { statements: this.#statements, index: this.#statements.length }
  }

  if(condition: Expr, then: () => void, otherwise?: () => void): void {
    if (condition.isConstant) {
      if (condition.immediate) then()
      else otherwise?.()
      return
    }
    const thenBody = this.nested(then)
    const otherwiseBody = otherwise && this.nested(otherwise)
    this.statement({ kind: 'if', condition, body: thenBody, otherwise: otherwiseBody })
  }

  /** `condition ? then() : otherwise()`, only one evaluated. */
  choose(type: ValueType, condition: Expr, then: () => Operandish, otherwise: () => Operandish): Expr {
    if (condition.isConstant) return this.coerce((condition.immediate ? then : otherwise)(), type)
    const result = this.variable(type)
    this.if(
      condition,
      () => result.set(then()),
      () => result.set(otherwise()),
    )
    return result.get()
  }

  /** Runs `body`; a branch to the label it is given leaves it. */
  block(body: (end: Label) => void): void {
    const label = new Label()
    const statements = this.nested(() => body(label))
    this.statement({ kind: 'block', label, body: statements })
  }

  /** Runs `body` once; a branch to `again` runs it once more. */
  loop(body: (again: Label) => void): void {
    const label = new Label()
    const outer = this.#loop
    this.#loop = ++this.#loops
    const statements = this.nested(() => body(label))
    this.#loop = outer
    this.statement({ kind: 'loop', label, body: statements })
  }

  /** `while (condition()) body()`. `leave` in `body` ends the loop. */
  while(condition: () => Expr, body: (leave: Label) => void): void {
    this.block((leave) => {
      this.loop((again) => {
        this.branchIf(leave, condition().eqz())
        body(leave)
        this.branch(again)
      })
    })
  }

  branch(label: Label): void {
    this.statement({ kind: 'branch', label, condition: undefined })
  }
  branchIf(label: Label, condition: Expr): void {
    this.statement({ kind: 'branch', label, condition })
  }

  /** Runs the case that `index` (i32) names; `otherwise` where it names none. */
  switch(index: Expr, cases: readonly (() => void)[], otherwise: () => void): void {
    const end = new Label()
    const labels = cases.map(() => new Label())
    const fallback = new Label()
    let body: Statement[] = [{ kind: 'switch', index, labels, fallback }]
    cases.forEach((run, i) => {
      const inner = body
      body = this.nested(() => {
        this.statement({ kind: 'block', label: labels[i]!, body: inner })
        run()
        this.branch(end)
      })
    })
    const inner = body
    body = this.nested(() => {
      this.statement({ kind: 'block', label: fallback, body: inner })
      otherwise()
    })
    this.statement({ kind: 'block', label: end, body })
  }

  return(...values: Operandish[]): void {
    this.statement({ kind: 'return', values: values.map((v, i) => this.coerce(v, this.results[i]!)) })
  }
  tailCall(callee: Callable, ...args: Operandish[]): void {
    this.statement({ kind: 'tail-call', callee, args: args.map((a, i) => this.coerce(a, callee.params[i]!)) })
  }
  tailCallIndirect(typeIndex: number, index: Expr, args: readonly Expr[], table = 0): void {
    this.statement({ kind: 'tail-call-indirect', typeIndex, table, index, args })
  }
  unreachable(): void {
    this.statement({ kind: 'unreachable' })
  }

  /** The function's entry in the code section, without the size. */
  emit(): FunctionBody {
    countUses(this.#statements)
    return new Emitter(this.params, this.#locals).run(this.#statements, this.results.length > 0)
  }
}

const COMMUTATIVE: ReadonlySet<string> = new Set(['add', 'mul', 'and', 'or', 'xor'])
const isInteger = (expr: Expr): boolean => expr.type === 'i32' || expr.type === 'i64'

function foldBinary(code: Code, name: keyof typeof BINARY, a: Expr, b: Expr): Expr | undefined {
  if ((name === 'xor' || name === 'sub') && isInteger(a) && isSame(a, b)) return code.zero(a.type)
  if (!b.isConstant || !isInteger(b)) return undefined
  if (a.isConstant) return foldConstants(code, name, a, b)
  if (b.immediate === 0 || b.immediate === 0n) {
    if (ZERO_IS_NEUTRAL.has(name)) return a
    if (name === 'and' || name === 'mul') return code.coerce(0, a.type)
  }
  if (name === 'and' && Number(b.immediate) === -1) return a
  // One form for both, which address computations go on with.
  if (name === 'sub' && Number.isSafeInteger(b.immediate)) return a.add(-Number(b.immediate))
  if (a.type !== 'i64') return undefined
  if (name === 'and' && Number(b.immediate) === 0xffffffff) return zeroExtended(code, a)
  const shift = Number(b.immediate)
  if (name === 'shrU' && a.opcode === CONVERT.extendU[2] && a.kind === K.pure && shift < 32)
    return a.args[0]!.shrU(shift).extendU()
  // (x + 1) + 2 is x + 3: displacements, and stack pointers that move several times.
  if (name === 'add' && isPure(a, BINARY.add.i64)) {
    const inner = a.args[1]!
    const [x, y] = [inner.immediate, b.immediate]
    if (!inner.isConstant || !Number.isSafeInteger(x) || !Number.isSafeInteger(y)) return undefined
    const sum = Number(x) + Number(y)
    return Number.isSafeInteger(sum) ? a.args[0]!.add(sum) : undefined
  }
  return undefined
}

/** Whether both are the same value, as far as that is seen at a glance: a register read twice. */
export function isSame(a: Expr, b: Expr, depth = 3): boolean {
  if (a === b) return true
  if (a.isConstant && b.isConstant) return isInteger(a) && a.type === b.type && a.immediate === b.immediate
  if (depth === 0 || a.kind !== K.pure || b.kind !== K.pure) return false
  if (a.opcode !== b.opcode || a.immediate !== b.immediate || a.extra !== b.extra) return false
  return a.args.every((arg, i) => isSame(arg, b.args[i]!, depth - 1))
}

/** A value, perhaps zero-extended from 32 bits, as another plus a constant. */
export function splitSum(x: Expr): { readonly base: Expr; readonly constant: number } {
  const sum = isPure(x, CONVERT.extendU[2]) ? x.args[0]! : x
  const isSum = isPure(sum, BINARY.add.i64) || isPure(sum, BINARY.add.i32)
  const constant = isSum && sum.args[1]!.isConstant ? Number(sum.args[1]!.immediate) : Number.NaN
  return Number.isSafeInteger(constant) ? { base: sum.args[0]!, constant } : { base: sum, constant: 0 }
}

const ZERO_IS_NEUTRAL: ReadonlySet<string> = new Set(['add', 'sub', 'or', 'xor', 'shl', 'shrU', 'shrS'])

function foldConstants(code: Code, name: keyof typeof BINARY, a: Expr, b: Expr): Expr | undefined {
  const bits = a.type === 'i32' ? 32 : 64
  const [x, y] = [BigInt(a.immediate), BigInt(b.immediate)]
  const by = y & BigInt(bits - 1)
  const value = {
    add: () => x + y,
    sub: () => x - y,
    mul: () => x * y,
    and: () => x & y,
    or: () => x | y,
    xor: () => x ^ y,
    shl: () => x << by,
    shrU: () => BigInt.asUintN(bits, x) >> by,
    shrS: () => BigInt.asIntN(bits, x) >> by,
  }[name as 'add']
  return value && constant(code, a.type, BigInt.asIntN(bits, value()))
}

function constant(code: Code, type: ValueType, value: bigint): Expr {
  const small = value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER
  return code.coerce(small ? Number(value) : value, type)
}

/** x & 0xffffffff, as arithmetic on 32 bits where that is shorter. */
function zeroExtended(code: Code, x: Expr): Expr | undefined {
  if (x.kind !== K.pure) return undefined
  if (x.opcode === CONVERT.extendU[2]) return x
  return isNarrowable(x) ? low32(code, x).extendU() : undefined
}

const NARROWABLE = new Map<number, keyof typeof BINARY>(
  (['add', 'sub', 'mul', 'and', 'or', 'xor'] as const).map((name) => [BINARY[name].i64, name]),
)
const isNarrowable = (x: Expr): boolean =>
  x.kind === K.pure && (NARROWABLE.has(x.opcode) || isExtension(x) || isNarrowShift(x))
/** Made from 32 bits by an extension, or extended from its low 32 bits. */
const isExtension = (x: Expr): boolean =>
  x.opcode === CONVERT.extendU[2] || x.opcode === CONVERT.extendS[2] || x.opcode === UNARY.extend32S.i64
const isNarrowShift = (x: Expr): boolean =>
  x.opcode === BINARY.shl.i64 && x.args[1]!.isConstant && Number(x.args[1]!.immediate) < 32

/** The low 32 bits of an i64, as arithmetic on 32 bits where it is made of such. */
function low32(code: Code, x: Expr, depth = 4): Expr {
  if (x.isConstant) return code.i32(Number(BigInt.asIntN(32, BigInt(x.immediate))))
  if (x.kind === K.pure && depth > 0) {
    if (x.opcode === UNARY.extend32S.i64) return low32(code, x.args[0]!, depth - 1)
    if (x.opcode === CONVERT.extendU[2] || x.opcode === CONVERT.extendS[2]) return x.args[0]!
    const name = NARROWABLE.get(x.opcode)
    if (name) return code.binary(name, low32(code, x.args[0]!, depth - 1), low32(code, x.args[1]!, depth - 1))
    if (isNarrowShift(x)) return low32(code, x.args[0]!, depth - 1).shl(Number(x.args[1]!.immediate))
  }
  return code.pure('i32', CONVERT.wrap[2], [x])
}

/** Whether both can be compared, signed and unsigned, by their low 32 bits. */
function isSigned32(x: Expr): boolean {
  if (x.isConstant) return Number(x.immediate) === (Number(x.immediate) | 0)
  return x.kind === K.pure && (x.opcode === UNARY.extend32S.i64 || x.opcode === CONVERT.extendS[2])
}

/** How many low bits say all, by the extension that made a value. */
export function signBits(x: Expr): 8 | 16 | 32 | 64 {
  if (isSigned32(x)) return 32
  if (isPure(x, UNARY.extend16S.i64)) return 16
  return isPure(x, UNARY.extend8S.i64) ? 8 : 64
}
/** Whether `x` is seen to be the sign-extended low `bits` of `y`. */
export function isSignExtended(x: Expr, y: Expr, bits: 8 | 16 | 32 | 64): boolean {
  if (bits === 64) return isSame(x, y)
  if (x.kind !== K.pure || signBits(x) !== bits) return false
  return bits === 32 ? isSame(source32(x), source32(y)) : isSame(x.args[0]!, y)
}
/** What has the same low 32 bits. */
function source32(x: Expr): Expr {
  const isMasked =
    isPure(x, BINARY.and.i64) && x.args[1]!.isConstant && Number(x.args[1]!.immediate) === 0xffffffff
  return isMasked || isPure(x, CONVERT.wrap[2]) || (x.kind === K.pure && isExtension(x))
    ? source32(x.args[0]!)
    : x
}

function foldCompare(code: Code, name: keyof typeof COMPARE, a: Expr, b: Expr): Expr | undefined {
  if (!isInteger(a)) return undefined
  if (a.isConstant && b.isConstant) return compareConstants(code, name, a, b)
  if (b.isConstant && Number(b.immediate) === 0 && (name === 'ltU' || name === 'geU'))
    return code.i32(name === 'geU' ? 1 : 0)
  if (a.type !== 'i64' || !isSigned32(a) || !isSigned32(b)) return undefined
  return code.compare(name, low32(code, a), low32(code, b))
}

/** Extensions of constants, and of what was made from 32 bits. */
function foldExtension(code: Code, name: string, x: Expr): Expr | undefined {
  const bits = { extend8S: 8, extend16S: 16, extend32S: 32 }[name]
  if (bits === undefined) return undefined
  if (x.isConstant) return constant(code, x.type, BigInt.asIntN(bits, BigInt(x.immediate)))
  if (bits !== 32 || x.kind !== K.pure) return undefined
  if (x.opcode === CONVERT.extendU[2]) return x.args[0]!.extendS()
  return isExtension(x) || isNarrowable(x) ? low32(code, x).extendS() : undefined
}

function foldConversion(code: Code, name: keyof typeof CONVERT, x: Expr): Expr | undefined {
  const reinterpreted = REINTERPRET[name]
  if (reinterpreted) return reinterpret(x, ...reinterpreted)
  if (x.isConstant) {
    const value = BigInt.asIntN(64, BigInt(x.immediate as number))
    if (name === 'wrap') return code.i32(Number(BigInt.asIntN(32, value)))
    if (name === 'extendS') return code.i64(Number(value))
    if (name === 'extendU') return code.i64(Number(BigInt.asUintN(32, value)))
    return undefined
  }
  return name === 'wrap' && isNarrowable(x) ? low32(code, x) : undefined
}

// ---- lanes, and floats as integers ----

/** Conversions that keep the bits: the one back, and the lanes of the results. */
const REINTERPRET: Partial<Record<keyof typeof CONVERT, readonly [back: number, shape: LaneShape]>> = {
  f32ReinterpretI32: [CONVERT.i32ReinterpretF32[2], 'f32x4'],
  f64ReinterpretI64: [CONVERT.i64ReinterpretF64[2], 'f64x2'],
  i32ReinterpretF32: [CONVERT.f32ReinterpretI32[2], 'i32x4'],
  i64ReinterpretF64: [CONVERT.f64ReinterpretI64[2], 'i64x2'],
}
const TWIN: Partial<Record<LaneShape, LaneShape>> = {
  f32x4: 'i32x4',
  i32x4: 'f32x4',
  f64x2: 'i64x2',
  i64x2: 'f64x2',
}
const isPure = (x: Expr, opcode: number): boolean => x.kind === K.pure && x.opcode === opcode
const extractOf = (shape: LaneShape): number => 0xfd00 + SIMD_LANE[shape][1]

/** What was reinterpreted before comes back; a lane is read as what is wanted. */
function reinterpret(x: Expr, back: number, shape: LaneShape): Expr | undefined {
  if (isPure(x, back)) return x.args[0]!
  if (!isPure(x, extractOf(TWIN[shape]!)) || (shape === 'i64x2' && x.immediate === 0)) return undefined
  return x.args[0]!.lane(shape, Number(x.immediate))
}

/** A float whose bits an integer is, or of an f32 its low bits. */
function floatOf(x: Expr, type: 'f32' | 'f64'): Expr | undefined {
  if (type === 'f32' && (isPure(x, CONVERT.extendU[2]) || isPure(x, CONVERT.extendS[2])))
    return floatOf(x.args[0]!, type)
  const [name, shape] =
    type === 'f32' ? (['i32ReinterpretF32', 'i32x4'] as const) : (['i64ReinterpretF64', 'i64x2'] as const)
  if (isPure(x, CONVERT[name][2])) return x.args[0]!
  return isPure(x, extractOf(shape)) ? x.args[0]!.lane(TWIN[shape]!, Number(x.immediate)) : undefined
}
const FLOAT_STORE: Partial<Record<StoreKind, 'f32' | 'f64'>> = { i32: 'f32', i64_32: 'f32', i64: 'f64' }

/** Lanes by the opcode that replaces them, with their bytes. */
const REPLACED = new Map<number, { readonly bytes: number }>(
  (['i8x16', 'i16x8', 'i32x4', 'i64x2', 'f32x4', 'f64x2'] as const).map((shape) => [
    0xfd00 + SIMD_LANE[shape][2],
    { bytes: bytesOfLane(shape) },
  ]),
)
function bytesOfLane(shape: LaneShape): number {
  return 16 / Number(/x(\d+)/.exec(shape)![1])
}

/** A scalar as a lane's type, where it has its bits. */
function asType(x: Expr, type: ValueType): Expr | undefined {
  if (x.type === type) return x
  if (type === 'f64' && x.type === 'i64') return x.convert('f64ReinterpretI64')
  if (type === 'i64' && x.type === 'f64') return x.convert('i64ReinterpretF64')
  if (type === 'f32' && x.type === 'i32') return x.convert('f32ReinterpretI32')
  if (type === 'i32' && x.type === 'f32') return x.convert('i32ReinterpretF32')
  return undefined
}

/** A lane of a vector that was put together here. */
function foldLane(v: Expr, shape: LaneShape, index: number): Expr | undefined {
  const [type] = SIMD_LANE[shape]
  const bytes = bytesOfLane(shape)
  if (bytes < 4) return undefined
  const source = laneSource(v, index * bytes, bytes)
  if (source.scalar) return asType(source.scalar, type)
  if (source.vector !== v && source.vector) return source.vector.lane(shape, source.byte / bytes)
  return undefined
}

/** Where bytes of a vector come from: a scalar, or a lane of a vector as far back as that can be seen. */
export function laneSource(
  v: Expr,
  byte: number,
  bytes: number,
): { readonly scalar?: Expr; readonly vector?: Expr; readonly byte: number } {
  if (v.kind === K.constant) return constantLane(v, byte, bytes)
  if (v.kind !== K.pure) return { vector: v, byte }
  const replaced = REPLACED.get(v.opcode)
  if (replaced) {
    const at = Number(v.immediate) * replaced.bytes
    if (at + replaced.bytes <= byte || byte + bytes <= at) return laneSource(v.args[0]!, byte, bytes)
    return at === byte && replaced.bytes === bytes ? { scalar: v.args[1]!, byte } : { vector: v, byte }
  }
  if (v.opcode === SHUFFLE) {
    const lanes = v.extra as Uint8Array
    const from = lanes[byte]!
    for (let i = 1; i < bytes; i++) if (lanes[byte + i] !== from + i) return { vector: v, byte }
    if (from % bytes !== 0) return { vector: v, byte }
    return laneSource(v.args[from >> 4]!, from & 15, bytes)
  }
  return { vector: v, byte }
}
const SHUFFLE = 0xfd0d

function constantLane(v: Expr, byte: number, bytes: number): { scalar?: Expr; vector?: Expr; byte: number } {
  const { buffer, byteOffset } = v.extra as Uint8Array
  const view = new DataView(buffer, byteOffset)
  if (bytes === 8) return { scalar: v.code.i64(view.getBigInt64(byte, true)), byte }
  return { scalar: v.code.i32(view.getInt32(byte, true)), byte }
}

/** What was in the lane before is forgotten; floats stay floats. */
function foldWithLane(v: Expr, shape: LaneShape, index: number, value: Expr): Expr | undefined {
  const twin = shape === 'i32x4' || shape === 'i64x2' ? TWIN[shape] : undefined
  const float = twin && floatOf(value, shape === 'i32x4' ? 'f32' : 'f64')
  if (float) return v.withLane(twin, index, float)
  const bytes = bytesOfLane(shape)
  const [inner, at] = [v.args[0], Number(v.immediate)]
  const replaced = v.kind === K.pure ? REPLACED.get(v.opcode) : undefined
  if (!replaced || replaced.bytes !== bytes) return undefined
  if (at === index) return inner!.withLane(shape, index, value)
  // Both halves are new: nothing of what was there before.
  if (bytes !== 8 || inner!.kind === K.constant) return undefined
  const fresh = v.code.zero('v128')
  const other = v.args[1]!
  if (value.isConstant && Number(value.immediate) === 0 && shape === 'i64x2')
    return withHalf(fresh, at, other)
  return withHalf(fresh, at, other).withLane(shape, index, value)
}
const withHalf = (v: Expr, index: number, value: Expr): Expr =>
  v.withLane(value.type === 'f64' ? 'f64x2' : 'i64x2', index, value)

function compareConstants(code: Code, name: keyof typeof COMPARE, a: Expr, b: Expr): Expr {
  const bits = a.type === 'i32' ? 32 : 64
  const [x, y] = [BigInt.asIntN(bits, BigInt(a.immediate)), BigInt.asIntN(bits, BigInt(b.immediate))]
  const [ux, uy] = [BigInt.asUintN(bits, x), BigInt.asUintN(bits, y)]
  const [p, q] = name.endsWith('U') ? [ux, uy] : [x, y]
  const less = p < q
  const equal = p === q
  const truth = {
    eq: equal,
    ne: !equal,
    lt: less,
    gt: !less && !equal,
    le: less || equal,
    ge: !less,
  }[name.slice(0, 2) as 'eq']
  return code.i32(truth ? 1 : 0)
}

function use(expr: Expr): void {
  if ((expr.uses++ === 0 || expr.demanded) && (expr.kind === K.pure || expr.kind === K.select))
    for (const arg of expr.args) use(arg)
}

/** Counts the uses of every live expression, last statement first so that dead ones count nothing. */
function countUses(statements: readonly Statement[]): void {
  for (let i = statements.length - 1; i >= 0; i--) countStatement(statements[i]!)
}

function countStatement(s: Statement): void {
  switch (s.kind) {
    case 'let':
      if (s.expr.kind === K.call || (s.expr.kind === K.load && s.expr.uses > 0)) s.expr.args.forEach(use)
      return
    case 'set':
      return use(s.value)
    case 'store':
      use(s.address)
      return use(s.value)
    case 'op':
      return s.args.forEach(use)
    case 'if':
      if (s.otherwise) countUses(s.otherwise)
      countUses(s.body)
      return use(s.condition)
    case 'block':
    case 'loop':
      return countUses(s.body)
    case 'branch':
      if (s.condition) use(s.condition)
      return
    case 'switch':
      return use(s.index)
    case 'return':
      return s.values.forEach(use)
    case 'tail-call':
      return s.args.forEach(use)
    case 'tail-call-indirect':
      s.args.forEach(use)
      return use(s.index)
    case 'unreachable':
      return
    case 'group':
      return countUses(s.body)
  }
}

/** Writes the body of one function. */
class Emitter {
  readonly #out = new ByteWriter()
  readonly #params: readonly ValueType[]
  readonly #locals: ValueType[]
  readonly #free: Record<ValueType, number[]> = { i32: [], i64: [], f32: [], f64: [], v128: [] }
  readonly #remaining = new Map<Expr, number>()
  #depth = 0
  #loop = 0
  #loops = 0
  /** Where a `local.set` ends the code so far, so that a `local.get` of the same local can become a `local.tee`. */
  #lastSet = { start: -1, end: -1, local: -1 }
  readonly #hints: BranchHint[] = []

  constructor(params: readonly ValueType[], locals: readonly ValueType[]) {
    this.#params = params
    this.#locals = [...locals]
  }

  run(statements: readonly Statement[], hasResult: boolean): FunctionBody {
    this.#block(statements)
    const body = new ByteWriter()
    const runs: [number, ValueType][] = []
    for (const type of this.#locals) {
      const last = runs.at(-1)
      if (last && last[1] === type) last[0]++
      else runs.push([1, type])
    }
    body.u32(runs.length)
    for (const [count, type] of runs) {
      body.u32(count)
      body.u8(VALUE_TYPE_CODE[type])
    }
    const start = body.length
    body.bytes(this.#out.view())
    if (hasResult && !endsControl(statements)) body.u8(0x00)
    body.u8(0x0b)
    const hints = this.#hints.map(({ offset, taken }) => ({ offset: start + offset, taken }))
    return { bytes: body.view(), hints }
  }

  #hint({ expected }: Expr): void {
    if (expected !== undefined) this.#hints.push({ offset: this.#out.length, taken: expected })
  }

  #block(statements: readonly Statement[]): void {
    for (const statement of statements) this.#statement(statement)
  }

  #allocate(type: ValueType): number {
    const free = this.#free[type].pop()
    if (free !== undefined) return free
    this.#locals.push(type)
    return this.#params.length + this.#locals.length - 1
  }

  #set(local: number): void {
    const start = this.#out.length
    this.#out.u8(0x21)
    this.#out.u32(local)
    this.#lastSet = { start, end: this.#out.length, local }
  }

  /** `local.get`, or what is shorter after a `local.set` of the same local. */
  #get(local: number, last: boolean): void {
    const set = this.#lastSet
    if (set.local === local && set.end === this.#out.length) {
      if (last) this.#out.length = set.start
      else this.#out.patch(set.start, 0x22)
      this.#lastSet = { start: -1, end: -1, local: -1 }
      return
    }
    this.#out.u8(0x20)
    this.#out.u32(local)
  }

  #value(expr: Expr): void {
    if (expr.kind === K.constant || expr.kind === K.param) return this.#operation(expr)
    if (expr.local < 0) {
      if (expr.kind !== K.pure && expr.kind !== K.select) throw new Error('a value is used before it is made')
      return this.#operation(expr)
    }
    const remaining = this.#remaining.get(expr)! - 1
    this.#remaining.set(expr, remaining)
    const last = remaining === 0 && expr.loop === this.#loop
    this.#get(expr.local, last)
    if (last) this.#free[expr.type].push(expr.local)
  }

  #operation(expr: Expr): void {
    const out = this.#out
    for (const arg of expr.args) this.#value(arg)
    switch (expr.kind) {
      case K.constant:
        return this.#constant(expr)
      case K.param:
      case K.variable:
        out.u8(0x20)
        return out.u32(Number(expr.immediate))
      case K.call:
        return this.#call(expr)
      case K.load:
        this.#opcode(expr.opcode)
        return this.#memoryArgument(expr.extra as number, Number(expr.immediate))
      default:
        if (expr.opcode === CALL) return this.#call(expr)
        this.#opcode(expr.opcode)
        if (expr.extra instanceof Uint8Array) out.bytes(expr.extra)
        else if (isLaneOpcode(expr.opcode)) out.u8(Number(expr.immediate))
    }
  }

  #call({ extra }: Expr): void {
    this.#out.u8(CALL)
    this.#out.u32((extra as Callable).index)
  }

  #constant(expr: Expr): void {
    const out = this.#out
    const value = expr.immediate
    this.#opcode(expr.opcode)
    if (expr.type === 'i32') out.s53(Number(value))
    else if (expr.type === 'i64') {
      if (typeof value === 'number' && Number.isSafeInteger(value)) out.s53(value)
      else out.s64(BigInt(value))
    } else if (expr.type === 'f64') out.f64(Number(value))
    else if (expr.type === 'f32') out.f32(Number(value))
    else out.bytes(expr.extra as Uint8Array)
  }

  #opcode(opcode: number): void {
    if (opcode > 0xff) {
      this.#out.u8(opcode >> 8)
      this.#out.u32(opcode & 0xff)
    } else this.#out.u8(opcode)
  }

  #memoryArgument(memory: number, offset: number): void {
    // Alignment hint 0; bit 6 says that a memory index follows.
    if (memory === 0) this.#out.u8(0)
    else {
      this.#out.u8(0x40)
      this.#out.u32(memory)
    }
    this.#out.u32(offset)
  }

  #let(expr: Expr): void {
    if (expr.kind === K.call) {
      this.#operation(expr)
      if ((expr.extra as Callable).results.length === 0) return
      if (expr.uses === 0) return this.#out.u8(0x1a)
    } else {
      if (expr.uses === 0 || expr.demanded) return
      if (expr.uses === 1 && (expr.kind === K.pure || expr.kind === K.select)) return
      this.#operation(expr)
    }
    expr.local = this.#allocate(expr.type)
    expr.loop = this.#loop
    this.#remaining.set(expr, expr.uses)
    this.#set(expr.local)
  }

  #statement(s: Statement): void {
    const out = this.#out
    switch (s.kind) {
      case 'let':
        return this.#let(s.expr)
      case 'set':
        this.#value(s.value)
        out.u8(0x21)
        return out.u32(s.local)
      case 'store':
        this.#value(s.address)
        this.#value(s.value)
        this.#opcode(s.opcode)
        return this.#memoryArgument(s.memory, s.offset)
      case 'op':
        for (const arg of s.args) this.#value(arg)
        for (const byte of s.opcodes) out.u8(byte)
        return
      case 'if':
        return this.#if(s)
      case 'block':
        return this.#scope(0x02, s.label, s.body)
      case 'loop': {
        const outer = this.#loop
        this.#loop = ++this.#loops
        this.#scope(0x03, s.label, s.body)
        this.#loop = outer
        return
      }
      case 'branch':
        if (s.condition) {
          this.#value(s.condition)
          this.#hint(s.condition)
        }
        out.u8(s.condition ? 0x0d : 0x0c)
        return out.u32(this.#depth - s.label.depth)
      case 'switch':
        this.#value(s.index)
        out.u8(0x0e)
        out.u32(s.labels.length)
        for (const label of s.labels) out.u32(this.#depth - label.depth)
        return out.u32(this.#depth - s.fallback.depth)
      case 'return':
        for (const value of s.values) this.#value(value)
        return out.u8(0x0f)
      case 'tail-call':
        for (const arg of s.args) this.#value(arg)
        out.u8(0x12)
        return out.u32(s.callee.index)
      case 'tail-call-indirect':
        for (const arg of s.args) this.#value(arg)
        this.#value(s.index)
        out.u8(0x13)
        out.u32(s.typeIndex)
        return out.u32(s.table)
      case 'unreachable':
        return out.u8(0x00)
      case 'group':
        return this.#block(s.body)
    }
  }

  #if(s: Extract<Statement, { kind: 'if' }>): void {
    const out = this.#out
    this.#value(s.condition)
    this.#hint(s.condition)
    out.u8(0x04)
    out.u8(BLOCK_VOID)
    this.#depth++
    this.#block(s.body)
    if (s.otherwise && s.otherwise.length > 0) {
      out.u8(0x05)
      this.#block(s.otherwise)
    }
    this.#depth--
    out.u8(0x0b)
  }

  #scope(opcode: number, label: Label, body: readonly Statement[]): void {
    const out = this.#out
    out.u8(opcode)
    out.u8(BLOCK_VOID)
    this.#depth++
    label.depth = this.#depth
    this.#block(body)
    this.#depth--
    out.u8(0x0b)
  }
}

function endsControl(statements: readonly Statement[]): boolean {
  const last = statements.at(-1)
  return last?.kind === 'return' || last?.kind === 'tail-call' || last?.kind === 'tail-call-indirect'
}

/** Lane extracts, replaces: fd 15 to fd 22. */
function isLaneOpcode(opcode: number): boolean {
  return opcode >= 0xfd15 && opcode <= 0xfd22
}
