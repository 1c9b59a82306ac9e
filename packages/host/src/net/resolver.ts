import { randomInt } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { getServers, promises } from 'node:dns'
import { connect, isIPv4, isIPv6 } from 'node:net'
import { addressBytes, dns, ipOf } from '@typevisor/vmm/net'

/** Milliseconds for one server; then the next is asked. */
const TIMEOUT = 3000
const DNS_PORT = 53
const ANSWER_LIMIT = 65_535
/** Seconds that an address of the host's own tables counts. */
const LOCAL_TTL = 60

interface Server {
  readonly host: string
  readonly port: number
}

/** `192.0.2.1`, `192.0.2.1:53`, `2001:db8::1`, `[2001:db8::1]:53`: as `dns.getServers` has them. */
function parseServer(text: string): Server {
  const [, host, port] = /^\[?(.*?)\]?(?::(\d+))?$/.exec(isIPv6(text) ? `[${text}]` : text) ?? []
  return { host, port: port === undefined ? DNS_PORT : Number(port) }
}

/**
 * Asks the DNS servers that the host is set up with, one after the other, by UDP, and by TCP when an answer does
 * not fit. Names that they do not know, but the host does (its hosts file, mDNS, a VPN's), come from its own resolver.
 */
export async function resolve(
  query: Uint8Array,
  servers: readonly string[] = getServers(),
): Promise<Uint8Array> {
  let answer: Uint8Array | undefined
  for (const text of servers) {
    answer = await askServer(query, parseServer(text)).catch(() => undefined)
    if (answer && dns.responseCode(answer) !== dns.RCODE_FAILURE) break
  }
  if (answer && dns.responseCode(answer) === 0) return answer
  const local = await askHost(query)
  if (local) return local
  if (answer) return answer
  throw new Error('No DNS server answered.')
}

async function askServer(query: Uint8Array, server: Server): Promise<Uint8Array> {
  // Answers from elsewhere must not be guessed: RFC 5452, "Query Matching Rules".
  const own = query.slice()
  const id = randomInt(0x1_0000)
  own.set([id >> 8, id])
  const first = await askByUdp(own, server)
  const answer = dns.isTruncated(first) ? await askByTcp(own, server) : first
  answer.set(query.subarray(0, 2))
  return answer
}

function askByUdp(query: Uint8Array, { host, port }: Server): Promise<Uint8Array> {
  const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>()
  const socket = createSocket(isIPv4(host) ? 'udp4' : 'udp6')
  const question = dns.readQuestion(query)
  const timer = setTimeout(() => reject(new Error('timeout')), TIMEOUT)
  socket.on('error', reject)
  socket.on('message', (bytes) => {
    if (question && dns.answers(bytes, query, question)) resolve(Uint8Array.from(bytes))
  })
  socket.connect(port, host, (error?: Error) => {
    if (error) reject(error)
    else socket.send(query)
  })
  return promise.finally(() => {
    clearTimeout(timer)
    socket.close()
  })
}

function askByTcp(query: Uint8Array, { host, port }: Server): Promise<Uint8Array> {
  const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>()
  const question = dns.readQuestion(query)
  const socket = connect({ host, port, timeout: TIMEOUT })
  const chunks: Buffer[] = []
  socket.on('error', reject)
  socket.on('timeout', () => reject(new Error('timeout')))
  socket.on('close', () => reject(new Error('closed')))
  socket.on('data', (chunk) => {
    chunks.push(chunk)
    const received = Buffer.concat(chunks)
    if (received.length > ANSWER_LIMIT + 2) return reject(new Error('too long'))
    if (received.length < 2 || received.length < 2 + received.readUInt16BE(0)) return
    const answer = Uint8Array.from(received.subarray(2, 2 + received.readUInt16BE(0)))
    if (question && dns.answers(answer, query, question)) resolve(answer)
    else reject(new Error('not an answer'))
  })
  const prefix = Buffer.alloc(2)
  prefix.writeUInt16BE(query.length)
  socket.write(Buffer.concat([prefix, query]))
  return promise.finally(() => socket.destroy())
}

async function askHost(query: Uint8Array): Promise<Uint8Array | undefined> {
  const question = dns.readQuestion(query)
  if (!question || (question.type !== dns.TYPE_A && question.type !== dns.TYPE_AAAA)) return undefined
  const family = question.type === dns.TYPE_A ? 4 : 6
  const found = await promises.lookup(question.name, { family, all: true }).catch(() => [])
  const addresses = found.filter(({ address }) => !address.includes('%')).map(({ address }) => ipOf(address))
  if (addresses.length === 0) return undefined
  return dns.answerWithAddresses(query, question, addresses.map(addressBytes), LOCAL_TTL)
}
