/**
 * What the operator is told: one sentence with a stable code. A guest's own faults are never errors of this kind,
 * and a bug of ours is an assertion instead.
 */
export class TypevisorError extends Error {
  readonly code: string
  constructor(code: string, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.name = new.target.name
    this.code = code
  }
}

/** A kernel or module that is not what it should be, or that is cut off. */
export class KernelError extends TypevisorError {
  constructor(
    code: 'TV_KERNEL_FORMAT' | 'TV_KERNEL_TRUNCATED' | 'TV_KERNEL_UNSUPPORTED' | 'TV_KERNEL_COMPRESSION',
    message: string,
    options?: { cause?: unknown },
  ) {
    super(code, message, options)
  }
}

/** The machine's RAM is smaller or larger than what it is asked to hold. */
export class MemorySizeError extends TypevisorError {
  constructor(code: 'TV_MEMORY_TOO_SMALL' | 'TV_MEMORY_SIZE', message: string) {
    super(code, message)
  }
}

/** A guest-physical range that is not RAM. */
export class GuestAddressError extends TypevisorError {
  constructor(gpa: number, length: number) {
    super(
      'TV_GUEST_ADDRESS',
      `Guest-physical range 0x${gpa.toString(16)}+0x${length.toString(16)} is not RAM.`,
    )
  }
}

/** A saved state that this version cannot read. */
export class SnapshotVersionError extends TypevisorError {
  constructor(part: string, found: unknown, known: number) {
    super(
      'TV_SNAPSHOT_VERSION',
      `The state of ${part} has version ${String(found)}; this version reads ${known}.`,
    )
  }
}

/** A saved state that no machine can have been in. */
export class SnapshotStateError extends TypevisorError {
  constructor(part: string, reason: string) {
    super('TV_SNAPSHOT_STATE', `The state of ${part} is damaged: ${reason}.`)
  }
}

/** Reports a bug of ours: `invariant` is a sentence that should have been true. */
export function assert(condition: boolean, invariant: string): asserts condition {
  if (!condition) throw new Error(`Invariant broken: ${invariant}`)
}

/** Ends a `switch` over a closed union: the compiler refuses it when a case is missing. */
export function unreachable(value: never): never {
  throw new Error(`Invariant broken: unexpected ${JSON.stringify(value)}`)
}
