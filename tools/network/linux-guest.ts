import { type ChildProcessWithoutNullStreams, execFile, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import {
  ALL_OFFLOADS,
  type Attachable,
  type Frame,
  frameOf,
  NO_OFFLOADS,
  type Offloads,
  type Port,
  UNPLUGGED,
} from '../../packages/vmm/src/net/frame.ts'

const HELPER = fileURLToPath(new URL('tap.py', import.meta.url))
const VNET_HEADER = 10
const NEEDS_CSUM = 1
const GSO_TCPV4 = 1
const GSO_TCPV6 = 4
const PENDING_LIMIT = 1 << 20

/** Why there can be no guest of this kind here. */
export function whyNoLinuxGuest(): string | undefined {
  if (process.getuid?.() !== 0) return 'it needs root'
  if (!existsSync('/dev/net/tun')) return 'there is no /dev/net/tun'
  for (const tool of ['unshare', 'nsenter', 'ip', 'python3', 'curl']) {
    if (spawnSync('sh', ['-c', `command -v ${tool}`]).status !== 0) return `${tool} is not installed`
  }
  if (spawnSync('unshare', ['-n', 'true']).status !== 0) return 'network namespaces cannot be made'
  return undefined
}

/** This host's own TCP/IP as the guest: a TAP device in a network namespace of its own, which ends with the process. */
export class LinuxGuest implements Attachable, Disposable {
  readonly offloads: Offloads
  readonly refused: string[] = []
  /** Frames are lost on their way, in either direction, while this says so. */
  loses: () => boolean = () => false
  largestFrame = 0
  readonly #helper: ChildProcessWithoutNullStreams
  #peer: Port = UNPLUGGED
  #input: Buffer = Buffer.alloc(0)
  #isFull = false

  constructor(helper: ChildProcessWithoutNullStreams, offloads: boolean) {
    this.#helper = helper
    this.offloads = offloads ? ALL_OFFLOADS : NO_OFFLOADS
    helper.stdout.on('data', (bytes: Buffer) => this.#receive(bytes))
    helper.stderr.on('data', (bytes: Buffer) => this.refused.push(bytes.toString()))
    helper.stdin.on('error', () => {})
    helper.stdin.on('drain', () => {
      this.#isFull = false
      this.#peer.resume()
    })
  }

  static async create({ offloads }: { offloads: boolean }): Promise<LinuxGuest> {
    const helper = spawn('unshare', ['-n', 'python3', HELPER, ...(offloads ? ['--offloads'] : [])])
    await Promise.race([
      once(helper.stderr, 'data'),
      once(helper, 'exit').then(() => Promise.reject(new Error('There is no TAP device.'))),
    ])
    const guest = new LinuxGuest(helper, offloads)
    await guest.run('ip link set lo up')
    await guest.run('ip link set tap0 up')
    return guest
  }

  [Symbol.dispose](): void {
    this.#helper.kill()
  }

  /** Runs a shell command within. */
  async run(command: string): Promise<string> {
    const args = ['-t', String(this.#helper.pid), '-n', 'sh', '-c', command]
    const { stdout } = await promisify(execFile)('nsenter', args, { timeout: 20_000, maxBuffer: 1 << 20 })
    return stdout
  }

  start(command: string[]): ChildProcessWithoutNullStreams {
    return spawn('nsenter', ['-t', String(this.#helper.pid), '-n', ...command])
  }

  attach(peer: Port): void {
    this.#peer = peer
  }

  resume(): void {
    this.#helper.stdout.resume()
    this.#receive(Buffer.alloc(0))
  }

  deliver(frame: Frame): boolean {
    if (this.#isFull) return false
    if (this.loses()) return true
    this.largestFrame = Math.max(this.largestFrame, frame.length)
    const head = Buffer.alloc(4 + VNET_HEADER)
    head.writeUInt32LE(VNET_HEADER + frame.length)
    if (frame.checksum) {
      head[4] = NEEDS_CSUM
      head.writeUInt16LE(frame.checksum.start, 10)
      head.writeUInt16LE(frame.checksum.offset, 12)
    }
    if (frame.segmentation) {
      head[5] = frame.segmentation.kind === 'tcp4' ? GSO_TCPV4 : GSO_TCPV6
      head.writeUInt16LE(frame.segmentation.headerLength, 6)
      head.writeUInt16LE(frame.segmentation.size, 8)
    }
    this.#helper.stdin.write(Buffer.concat([head, ...frame.parts]))
    this.#isFull = this.#helper.stdin.writableLength > PENDING_LIMIT
    return true
  }

  #receive(bytes: Buffer): void {
    this.#input = Buffer.concat([this.#input, bytes])
    while (this.#input.length >= 4) {
      const end = 4 + this.#input.readUInt32LE(0)
      if (this.#input.length < end) return
      const frame = this.#parse(this.#input.subarray(4, end))
      if (!this.loses() && !this.#peer.deliver(frame)) {
        this.#helper.stdout.pause()
        return
      }
      this.#input = this.#input.subarray(end)
    }
  }

  #parse(bytes: Buffer): Frame {
    const frame = frameOf(bytes.subarray(VNET_HEADER))
    this.largestFrame = Math.max(this.largestFrame, frame.length)
    const start = bytes.readUInt16LE(6)
    const type = bytes[1] & 0x7f
    return {
      ...frame,
      checksum: bytes[0] & NEEDS_CSUM ? { start, offset: bytes.readUInt16LE(8) } : undefined,
      segmentation:
        type === GSO_TCPV4 || type === GSO_TCPV6
          ? {
              kind: type === GSO_TCPV4 ? 'tcp4' : 'tcp6',
              size: bytes.readUInt16LE(4),
              headerLength: bytes.readUInt16LE(2),
            }
          : undefined,
    }
  }
}
