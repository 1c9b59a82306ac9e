/**
 * How fast the NAT is, in this process and between it and the kernel's loopback: a guest made of a few lines streams to
 * a server that counts, and is streamed to.
 *
 *   node tools/network/throughput.ts [--seconds N]
 *
 * With offloads frames are TCP segments of 64 KiB without checksums, as virtio-net has them; without, of 1460 bytes with
 * checksums on both sides.
 */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { Worker } from 'node:worker_threads'
import { createHostNetwork } from '../../packages/host/src/net/host-network.ts'
import { ipOf } from '../../packages/vmm/src/net/addresses.ts'
import { ALL_OFFLOADS, connect, NO_OFFLOADS } from '../../packages/vmm/src/net/frame.ts'
import { Nat } from '../../packages/vmm/src/net/nat/nat.ts'
import { readPolicy } from '../../packages/vmm/src/net/policy/policy.ts'
import { FakeGuest } from '../../packages/vmm/src/net/testing/fake-guest.ts'
import { realTimeClock } from './real-time.ts'

const WINDOW = 4 * 2 ** 20

export interface Throughput {
  readonly bytes: number
  readonly seconds: number
  /** Seconds of the processor's that the thread of guest and NAT took, which a busy host does not change. */
  readonly busy: number
}

/** A server in a thread of its own, so that what is measured is the NAT: it counts what comes, or sends without end. */
const SERVER = `
  const { createServer } = require('node:net')
  const { parentPort, workerData } = require('node:worker_threads')
  const block = Buffer.alloc(256 * 1024)
  let bytes = 0
  const server = createServer((socket) => {
    const push = () => { while (!socket.destroyed && socket.write(block)); }
    socket.on('error', () => {})
    if (workerData.sends) push(socket.on('drain', push))
    else socket.on('data', ({ length }) => (bytes += length))
  })
  server.listen(0, '127.0.0.1', () => parentPort.postMessage(server.address().port))
  parentPort.on('message', () => parentPort.postMessage(bytes))
`

async function listen(sends: boolean) {
  const worker = new Worker(SERVER, { eval: true, workerData: { sends } })
  const [port] = (await once(worker, 'message')) as [number]
  const bytes = async () => {
    worker.postMessage('bytes')
    const [count] = (await once(worker, 'message')) as [number]
    return count
  }
  return { port, bytes, close: () => worker.terminate() }
}

function network(offloads: boolean) {
  const clock = realTimeClock()
  const policy = readPolicy({ allow: ['host-loopback'] })
  const random = () => randomBytes(4).readUInt32LE()
  const nat = new Nat({ host: createHostNetwork(), clock, random, policy })
  const guest = new FakeGuest({ offloads: offloads ? ALL_OFFLOADS : NO_OFFLOADS })
  connect(guest, nat)
  const close = () => {
    nat.close()
    clock.close()
  }
  return { guest, close }
}

function busySince(begin: NodeJS.CpuUsage): number {
  const { user, system } = process.threadCpuUsage(begin)
  return (user + system) / 1e6
}

const sleep = (seconds: number) => new Promise<void>((resolve) => setTimeout(resolve, seconds * 1000))

export async function measureUp(offloads: boolean, seconds: number): Promise<Throughput> {
  const server = await listen(false)
  const { guest, close } = network(offloads)
  const options = { segment: offloads ? 44 * 1460 : 1460, window: WINDOW }
  const connection = guest.connect(ipOf('10.0.2.2'), server.port, options)
  while (connection.state !== 'open') await sleep(0)
  const begin = performance.now()
  const cpu = process.threadCpuUsage()
  connection.sendForever(new Uint8Array(44 * 1460))
  await sleep(seconds)
  const elapsed = (performance.now() - begin) / 1000
  const busy = busySince(cpu)
  const bytes = await server.bytes()
  close()
  await server.close()
  return { bytes, seconds: elapsed, busy }
}

export async function measureDown(offloads: boolean, seconds: number): Promise<Throughput> {
  const server = await listen(true)
  const { guest, close } = network(offloads)
  const connection = guest.connect(ipOf('10.0.2.2'), server.port, { window: WINDOW })
  connection.keeps = false
  const begin = performance.now()
  const cpu = process.threadCpuUsage()
  await sleep(seconds)
  const elapsed = (performance.now() - begin) / 1000
  const busy = busySince(cpu)
  const { received } = connection
  close()
  await server.close()
  return { bytes: received, seconds: elapsed, busy }
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { values } = parseArgs({ options: { seconds: { type: 'string', default: '3' } } })
  const seconds = Number(values.seconds)
  for (const offloads of [true, false]) {
    for (const [name, measure] of [
      ['guest to host', measureUp],
      ['host to guest', measureDown],
    ] as const) {
      const { bytes, seconds: elapsed, busy } = await measure(offloads, seconds)
      const rate = bytes / elapsed / 1e6
      console.log(
        `${name}, ${offloads ? 'with   ' : 'without'} offloads: ${rate.toFixed(0)} MB/s, ${(bytes / busy / 1e6).toFixed(0)} MB per CPU second`,
      )
    }
  }
}
