/** What a machine in the worker is made of; URLs are absolute. */
export interface GuestOptions {
  kernel: string
  initrd: string | undefined
  commandLine: string
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

/** What the page tells the worker. */
export type Request =
  /** Make the machine; its files are still on the way. */
  | { kind: 'make'; guest: GuestOptions }
  | { kind: 'boot'; files: GuestFiles }
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
