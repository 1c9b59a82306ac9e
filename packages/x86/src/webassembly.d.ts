// The part of the WebAssembly JavaScript API that this package uses; the ES library does not declare it.
declare namespace WebAssembly {
  class Module {
    constructor(bytes: Uint8Array)
  }
  class Instance {
    constructor(module: Module, imports?: Record<string, Record<string, unknown>>)
    readonly exports: Record<string, unknown>
  }
  class Memory {
    constructor(descriptor: { initial: number; maximum?: number; shared?: boolean })
    readonly buffer: ArrayBuffer
  }
  function compile(bytes: Uint8Array): Promise<Module>
  class Table {
    constructor(descriptor: { element: 'anyfunc'; initial: number; maximum?: number })
    get(index: number): unknown
    set(index: number, value: unknown): void
    readonly length: number
  }
}
