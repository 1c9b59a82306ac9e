/** What a machine in the worker is made of. */
export interface MachineOptions {
  memoryBytes: number
  engine: string
  /** A CPU model by name; the engine's default when undefined. */
  cpu: string | undefined
}

export type FileKind = 'kernel' | 'initramfs'

export interface GuestFiles {
  kernel: Uint8Array<ArrayBuffer>
  initrd: Uint8Array<ArrayBuffer> | undefined
}

/** What a machine boots. */
export interface Guest {
  files: GuestFiles
  commandLine: string
}

/** What the page tells the worker. */
export type Request =
  /** Make the machine, with a file of the interpreter's code; its guest's files are still on the way. */
  | { kind: 'make'; machine: MachineOptions; code: ArrayBuffer | undefined }
  | { kind: 'boot'; guest: Guest }
  | { kind: 'input'; bytes: Uint8Array }
  /** So many bytes of output are on the screen. */
  | { kind: 'shown'; bytes: number }
  | { kind: 'power-button' }

/** What the worker tells the page. */
export type Report =
  | { kind: 'running' }
  | { kind: 'output'; bytes: Uint8Array<ArrayBuffer> }
  | { kind: 'time'; nanoseconds: number }
  /** The guest ended; `report` is of its processor, when that shut down. */
  | { kind: 'ended'; message: string; report?: string }
  | { kind: 'failed'; code: string; message: string }
