// VIRTIO 1.2, "Console Device", with VIRTIO_CONSOLE_F_MULTIPORT: consoles (hvc0) and named ports for programs.
//
// Data flows with backpressure both ways. What a sink does not take stays in the guest's buffers, and the transmit queue
// stands still until the port is resumed. What the guest has no buffers for is not taken from the host.

import { expectVersion } from '../../../snapshot/version.ts'
import { type Chain, eachPart } from '../queue/chain.ts'
import type { DriverLink, VirtioDevice } from '../virtio-device.ts'
import type { VirtioConsoleState } from './console.state.ts'

const VIRTIO_CONSOLE_F_SIZE = 0
const VIRTIO_CONSOLE_F_MULTIPORT = 1
const VIRTIO_CONSOLE_F_EMERG_WRITE = 2

const CONTROL_RECEIVE = 2
const CONTROL_TRANSMIT = 3
const QUEUE_SIZE = 128
const CONTROL_QUEUE_SIZE = 64
/** So that each queue has an MSI-X vector. */
const PORT_LIMIT = 31

/** "Device Operation": events of control messages. */
const EVENT = {
  DEVICE_READY: 0,
  DEVICE_ADD: 1,
  DEVICE_REMOVE: 2,
  PORT_READY: 3,
  CONSOLE_PORT: 4,
  RESIZE: 5,
  PORT_OPEN: 6,
  PORT_NAME: 7,
} as const
const CONTROL_SIZE = 8

const CONFIG = { COLUMNS: 0, ROWS: 2, MAXIMUM_PORTS: 4, EMERGENCY_WRITE: 8, SIZE: 12 } as const

export interface ConsolePortOptions {
  /** /dev/virtio-ports/NAME in a Linux guest; printable ASCII. */
  name?: string
  /** A console (hvc) and not a port for a program. */
  isConsole?: boolean
  /** Takes output of the guest, as views that are valid during the call; returns how many bytes it took. `resume` goes on. */
  output: (bytes: Uint8Array) => number
  /** A program in the guest opened its side, or closed it. */
  onGuestOpen?: (open: boolean) => void
  /** The guest has room again, after `send` took less than all. */
  onRoom?: () => void
}

/** The host's side of a port. */
export interface ConsolePort {
  /** Sends bytes to the guest; returns how many found room there. */
  send(bytes: Uint8Array): number
  /** The sink has room again. */
  resume(): void
  /** Whether the host listens: the guest sees a cable plugged in or pulled out. A port begins unplugged, a console plugged in. */
  hostOpen: boolean
  readonly guestOpen: boolean
}

export class VirtioConsole implements VirtioDevice<VirtioConsoleState> {
  readonly deviceId = 3
  readonly pciClass = 0x07_8000
  readonly features = [VIRTIO_CONSOLE_F_SIZE, VIRTIO_CONSOLE_F_MULTIPORT, VIRTIO_CONSOLE_F_EMERG_WRITE]
  readonly queueSizes: readonly number[]
  readonly config = new Uint8Array(CONFIG.SIZE)
  readonly ports: readonly ConsolePort[]
  readonly #ports: readonly Port[]
  readonly #emergency: (byte: number) => void
  #driver: DriverLink | undefined
  /** Messages for the guest that wait for buffers; none is there twice, so the ports bound them. */
  #pending: [port: number, event: number][] = []

  /** `emergency` takes bytes that a guest writes before it has queues. */
  constructor(options: {
    ports: readonly ConsolePortOptions[]
    columns?: number
    rows?: number
    emergency?: (byte: number) => void
  }) {
    const count = options.ports.length
    if (count < 1 || count > PORT_LIMIT)
      throw new RangeError(`a console device has from 1 to ${PORT_LIMIT} ports`)
    this.#emergency = options.emergency ?? (() => {})
    this.queueSizes = [
      ...[QUEUE_SIZE, QUEUE_SIZE, CONTROL_QUEUE_SIZE, CONTROL_QUEUE_SIZE],
      ...new Array(2 * (count - 1)).fill(QUEUE_SIZE),
    ]
    this.#ports = options.ports.map((port, index) => {
      const events = (event: number) => this.#post(index, event)
      return new Port(port, { receive: queueOf(index), driver: () => this.#driver, post: events })
    })
    this.ports = this.#ports
    const view = new DataView(this.config.buffer)
    view.setUint32(CONFIG.MAXIMUM_PORTS, count, true)
    this.#setSize(options.columns ?? 80, options.rows ?? 25)
  }

  #setSize(columns: number, rows: number): void {
    const view = new DataView(this.config.buffer)
    view.setUint16(CONFIG.COLUMNS, columns, true)
    view.setUint16(CONFIG.ROWS, rows, true)
  }

  /** The terminal behind the consoles has another size. */
  resize(columns: number, rows: number): void {
    this.#setSize(columns, rows)
    this.#ports.forEach((port, index) => {
      if (port.isConsole) this.#post(index, EVENT.RESIZE)
    })
    this.#driver?.configChanged()
  }

  attach(driver: DriverLink): void {
    this.#driver = driver
  }

  get #isMultiport(): boolean {
    return this.#driver?.has(VIRTIO_CONSOLE_F_MULTIPORT) ?? false
  }

  start(): void {
    if (!this.#isMultiport) this.#ports[0].guestOpened(true)
    for (const port of this.#ports) port.transmit()
    this.#serveControl()
    this.#sendPending()
    for (const port of this.#ports) port.room()
  }

  notified(index: number): void {
    if (index === CONTROL_TRANSMIT) this.#serveControl()
    else if (index === CONTROL_RECEIVE) this.#sendPending()
    else {
      const port = this.#ports[index < 2 ? 0 : (index - 2) >> 1]
      if (index % 2) port.transmit()
      else port.room()
    }
  }

  reset(): void {
    this.#pending = []
    for (const port of this.#ports) port.reset()
  }

  resetQueue(index: number): void {
    const port = index === CONTROL_TRANSMIT || index % 2 === 0 ? undefined : this.#ports[(index - 1) >> 1]
    port?.dropTransmit()
  }

  writeConfig(offset: number, bytes: Uint8Array): void {
    if (offset === CONFIG.EMERGENCY_WRITE) this.#emergency(bytes[0])
  }

  // Control messages of the guest

  #serveControl(): void {
    this.#driver?.queue(CONTROL_TRANSMIT)?.serve((chain) => {
      const message = new Uint8Array(CONTROL_SIZE)
      const length = chain.read(message)
      chain.complete()
      if (length === CONTROL_SIZE) this.#control(new DataView(message.buffer))
      return true
    })
  }

  #control(message: DataView): void {
    const port = message.getUint32(0, true)
    const value = message.getUint16(6, true)
    switch (message.getUint16(4, true)) {
      case EVENT.DEVICE_READY:
        if (value === 1) this.#ports.forEach((_, index) => void this.#post(index, EVENT.DEVICE_ADD))
        return
      case EVENT.PORT_READY:
        if (value === 1) this.#introduce(port)
        return
      case EVENT.PORT_OPEN:
        this.#ports[port]?.guestOpened(value !== 0)
    }
  }

  /** What the guest has to know of a port that it made ready. */
  #introduce(index: number): void {
    const port = this.#ports[index]
    if (!port) return
    if (port.isConsole) {
      this.#post(index, EVENT.CONSOLE_PORT)
      this.#post(index, EVENT.RESIZE)
    }
    if (port.name !== '') this.#post(index, EVENT.PORT_NAME)
    if (port.hostOpen) this.#post(index, EVENT.PORT_OPEN)
  }

  // Control messages to the guest

  #post(port: number, event: number): void {
    if (!this.#driver?.isReady || !this.#isMultiport) return
    if (!this.#pending.some(([p, e]) => p === port && e === event)) this.#pending.push([port, event])
    this.#sendPending()
  }

  #sendPending(): void {
    const queue = this.#driver?.queue(CONTROL_RECEIVE)
    while (queue && this.#pending.length > 0) {
      const chain = queue.pop()
      if (!chain) break
      const [port, event] = this.#pending.shift()!
      chain.complete(chain.write(this.#message(port, event)))
    }
    queue?.wantKicks(this.#pending.length > 0)
    queue?.signal()
  }

  #message(index: number, event: number): Uint8Array {
    const port = this.#ports[index]
    const tail = event === EVENT.PORT_NAME ? port.nameBytes : event === EVENT.RESIZE ? this.#size : []
    const message = new Uint8Array(CONTROL_SIZE + tail.length)
    const view = new DataView(message.buffer)
    view.setUint32(0, index, true)
    view.setUint16(4, event, true)
    view.setUint16(6, event === EVENT.PORT_OPEN ? Number(port.hostOpen) : 1, true)
    message.set(tail, CONTROL_SIZE)
    return message
  }

  /** struct virtio_console_resize: "cols" and "rows", as in the configuration. */
  get #size(): Uint8Array {
    return this.config.subarray(CONFIG.COLUMNS, CONFIG.ROWS + 2)
  }

  save(): VirtioConsoleState {
    const view = new DataView(this.config.buffer)
    return {
      version: 1,
      columns: view.getUint16(CONFIG.COLUMNS, true),
      rows: view.getUint16(CONFIG.ROWS, true),
      ports: this.#ports.map(({ guestOpen, taken }) => ({ guestOpen, taken })),
      pending: this.#pending.map(([port, event]) => [port, event]),
    }
  }

  restore(state: VirtioConsoleState): void {
    expectVersion('virtio-console', state, 1)
    this.#setSize(state.columns, state.rows)
    this.#ports.forEach((port, index) => {
      const saved = state.ports[index]
      if (saved) port.restore(saved.guestOpen, saved.taken)
    })
    this.#pending = state.pending
      .filter(([port, event]) => this.#ports[port] !== undefined && event in EVENT_NAMES)
      .slice(0, this.#ports.length * EVENT_NAMES.length)
  }
}

const EVENT_NAMES = Object.keys(EVENT)

/** "Virtqueues": receive queue of a port; its transmit queue is the next one. */
function queueOf(port: number): number {
  return port === 0 ? 0 : 2 + 2 * port
}

class Port implements ConsolePort {
  readonly name: string
  readonly isConsole: boolean
  readonly #options: ConsolePortOptions
  readonly #receive: number
  readonly #driver: () => DriverLink | undefined
  readonly #post: (event: number) => void
  #hostOpen: boolean
  #guestOpen = false
  #wantsRoom = false
  /** The chain whose bytes the sink is taking, and how many it took. */
  #current: Chain | undefined
  #taken = 0

  constructor(
    options: ConsolePortOptions,
    device: { receive: number; driver: () => DriverLink | undefined; post: (event: number) => void },
  ) {
    this.#options = options
    this.name = options.name ?? ''
    this.isConsole = options.isConsole ?? false
    this.#receive = device.receive
    this.#driver = device.driver
    this.#post = device.post
    this.#hostOpen = this.isConsole
  }

  get nameBytes(): number[] {
    return [...this.name].map((letter) => letter.charCodeAt(0) & 0x7f)
  }

  get taken(): number {
    return this.#taken
  }

  get guestOpen(): boolean {
    return this.#guestOpen
  }

  get hostOpen(): boolean {
    return this.#hostOpen
  }

  set hostOpen(open: boolean) {
    if (open === this.#hostOpen) return
    this.#hostOpen = open
    this.#post(EVENT.PORT_OPEN)
  }

  guestOpened(open: boolean): void {
    if (open === this.#guestOpen) return
    this.#guestOpen = open
    this.#options.onGuestOpen?.(open)
    if (open) this.room()
  }

  send(bytes: Uint8Array): number {
    const queue = this.#guestOpen ? this.#driver()?.queue(this.#receive) : undefined
    let sent = 0
    while (queue && sent < bytes.length) {
      const chain = queue.pop()
      if (!chain) break
      const count = chain.write(bytes.subarray(sent))
      chain.complete(count)
      sent += count
    }
    this.#wantsRoom = sent < bytes.length
    queue?.wantKicks(this.#wantsRoom)
    queue?.signal()
    return sent
  }

  /** The guest gave buffers. */
  room(): void {
    if (!this.#wantsRoom || !this.#guestOpen || !this.#driver()?.queue(this.#receive)?.hasNext) return
    this.#wantsRoom = false
    this.#options.onRoom?.()
  }

  resume(): void {
    this.transmit()
  }

  /** Gives the sink what it takes. */
  transmit(): void {
    const queue = this.#driver()?.queue(this.#receive + 1)
    if (!queue) return
    if (this.#current && !this.#drain(this.#current)) return
    queue.serve((chain) => this.#drain(chain))
    if (this.#current) queue.wantKicks(false)
  }

  #drain(chain: Chain): boolean {
    let full = false
    eachPart(chain.readable, this.#taken, chain.readableBytes - this.#taken, (part) => {
      if (full) return
      const count = Math.min(Math.max(this.#options.output(part), 0), part.length)
      this.#taken += count
      full = count < part.length
    })
    this.#current = full ? chain : undefined
    if (full) return false
    this.#taken = 0
    chain.complete()
    return true
  }

  dropTransmit(): void {
    this.#current = undefined
    this.#taken = 0
  }

  reset(): void {
    this.dropTransmit()
    this.#wantsRoom = false
    this.guestOpened(false)
  }

  restore(guestOpen: boolean, taken: number): void {
    this.#guestOpen = guestOpen
    this.#taken = Math.max(Math.floor(taken) || 0, 0)
  }
}
