import assert from 'node:assert/strict'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { connect as connectTo, createServer, type Socket } from 'node:net'
import { describe, it } from 'node:test'
import { type ByteStream, dns, NetworkError, type StreamHandler } from '@typevisor/vmm/net'
import { createHostNetwork } from './host-network.ts'
import { resolve } from './resolver.ts'

const network = createHostNetwork()
const LOOPBACK = '127.0.0.1'

/** Writes down what a stream says, and lets a test wait for it. */
class Notes implements StreamHandler {
  readonly said: string[] = []
  text = ''
  #waiting: { word: string; resolve: () => void }[] = []

  #note(word: string): void {
    this.said.push(word)
    for (const { resolve } of this.#waiting.filter((one) => one.word === word)) resolve()
  }
  async heard(word: string): Promise<void> {
    if (this.said.includes(word)) return
    await new Promise<void>((resolve) => this.#waiting.push({ word, resolve }))
  }
  connected() {
    this.#note('connected')
  }
  data(bytes: Uint8Array) {
    this.text += Buffer.from(bytes).toString()
    this.#note('data')
  }
  ended() {
    this.#note('ended')
  }
  failed(reason: string) {
    this.#note(reason)
  }
  closed() {
    this.#note('closed')
  }
}

async function listening(onSocket: (socket: Socket) => void) {
  const server = createServer({ allowHalfOpen: true }, onSocket)
  server.listen(0, LOOPBACK)
  await once(server, 'listening')
  const address = server.address()
  return { server, port: typeof address === 'object' && address ? address.port : 0 }
}

describe("a stream of the host's", () => {
  it('carries bytes, gives buffers back, and ends one direction at a time', async () => {
    const { server, port } = await listening((socket) => {
      socket.on('end', () => socket.end('and goodbye'))
      socket.on('data', (bytes) => socket.write(`got ${bytes.toString()}, `))
    })
    const notes = new Notes()
    const stream = network.connectStream({ address: LOOPBACK, port }, notes)
    await notes.heard('connected')
    await new Promise<void>((released) => stream.write(Buffer.from('hello'), released))
    await notes.heard('data')
    stream.end()
    await notes.heard('closed')
    assert.equal(notes.text, 'got hello, and goodbye')
    assert.deepEqual(notes.said.slice(-2), ['ended', 'closed'])
    server.close()
  })
  it('says why there is none', async () => {
    const { server, port } = await listening(() => {})
    server.close()
    await once(server, 'close')
    const notes = new Notes()
    network.connectStream({ address: LOOPBACK, port }, notes)
    await notes.heard('refused')
    assert.deepEqual(notes.said, ['refused'])
  })
  it('is reset, and resets, so that the other side sees it', async () => {
    const { server, port } = await listening((socket) => {
      socket.on('error', () => {})
      socket.once('data', () => socket.resetAndDestroy())
    })
    const notes = new Notes()
    const stream = network.connectStream({ address: LOOPBACK, port }, notes)
    stream.write(Buffer.from('x'), () => {})
    await notes.heard('reset')
    assert.deepEqual(notes.said, ['connected', 'reset'])
    server.close()
  })
})

describe('a port that is opened', () => {
  it('gives streams that wait for their handler', async () => {
    const notes = new Notes()
    const { promise, resolve: accepted } = Promise.withResolvers<ByteStream>()
    const listener = await network.listenStreams({ address: LOOPBACK, port: 0 }, (_from, open) => {
      accepted(open(notes))
    })
    const client = connectTo(listener.port, LOOPBACK)
    client.end('visit')
    const stream = await promise
    assert.equal(notes.text, '')
    stream.resume()
    await notes.heard('ended')
    assert.equal(notes.text, 'visit')
    stream.reset()
    listener.close()
    client.destroy()
  })
  it('is refused when it is in use, or is not ours', async () => {
    const { server, port } = await listening(() => {})
    const code = (expected: string) => (error: NetworkError) =>
      error instanceof NetworkError && error.code === expected
    await assert.rejects(
      network.listenStreams({ address: LOOPBACK, port }, () => {}),
      code('TV_NETWORK_PORT_IN_USE'),
    )
    await assert.rejects(
      network.listenStreams({ address: '192.0.2.1', port: 0 }, () => {}),
      code('TV_NETWORK_ADDRESS'),
    )
    server.close()
    const udp = await network.listenDatagrams({ address: LOOPBACK, port: 0 }, () => {})
    await assert.rejects(
      network.listenDatagrams({ address: LOOPBACK, port: udp.port }, () => {}),
      code('TV_NETWORK_PORT_IN_USE'),
    )
    udp.close()
  })
  it('exchanges datagrams', async () => {
    const { promise, resolve: received } = Promise.withResolvers<string>()
    const server = await network.listenDatagrams({ address: LOOPBACK, port: 0 }, (bytes, from) => {
      server.send(Buffer.from(`${Buffer.from(bytes).toString()} back`), from)
    })
    const client = network.openDatagrams(
      4,
      (bytes) => received(Buffer.from(bytes).toString()),
      () => {},
    )
    client.send(Buffer.from('there'), { address: LOOPBACK, port: server.port })
    assert.equal(await promise, 'there back')
    client.close()
    server.close()
  })
})

describe('the resolver', () => {
  const query = dns.buildQuery(0x7777, 'www.example.org', dns.TYPE_A)
  const question = dns.readQuestion(query)!

  async function nameServer(answer: (query: Uint8Array) => Uint8Array | undefined) {
    const socket = createSocket('udp4', (bytes, { port }) => {
      const message = answer(bytes)
      if (message) socket.send(message, port, LOOPBACK)
    })
    socket.bind(0, LOOPBACK)
    await once(socket, 'listening')
    return {
      server: `${LOOPBACK}:${socket.address().port}`,
      port: socket.address().port,
      close: () => socket.close(),
    }
  }
  const address = Uint8Array.of(192, 0, 2, 5)

  it('asks the next server when one fails, under numbers of its own', async () => {
    const ids: number[] = []
    const broken = await nameServer((asked) => dns.answerWithCode(asked, question, dns.RCODE_FAILURE))
    const good = await nameServer((asked) => {
      ids.push(dns.messageId(asked))
      return dns.answerWithAddresses(asked, question, [address], 9)
    })
    const answer = await resolve(query, [broken.server, good.server])
    assert.equal(dns.messageId(answer), 0x7777)
    assert.equal(dns.readAddresses(answer, question).length, 1)
    await resolve(query, [good.server])
    assert.notEqual(ids[0], ids[1])
    broken.close()
    good.close()
  })
  it('asks by TCP for what does not fit', async () => {
    const many = Array.from({ length: 100 }, () => address)
    const short = await nameServer((asked) =>
      dns.truncate(dns.answerWithAddresses(asked, question, [], 9), question),
    )
    const server = createServer((socket) => {
      socket.once('data', (bytes) => {
        const answer = dns.answerWithAddresses(bytes.subarray(2), question, many, 9)
        socket.write(Buffer.concat([Buffer.from([answer.length >> 8, answer.length]), answer]))
      })
    })
    server.listen(short.port, LOOPBACK)
    await once(server, 'listening')
    const answer = await resolve(query, [short.server])
    assert.equal(dns.readAddresses(answer, question).length, 100)
    short.close()
    server.close()
  })
  it("knows what the host's own tables say", async () => {
    const localhost = dns.buildQuery(5, 'localhost', dns.TYPE_A)
    const none = await nameServer((asked) =>
      dns.answerWithCode(asked, dns.readQuestion(asked), dns.RCODE_NO_NAME),
    )
    const answer = await resolve(localhost, [none.server])
    assert.equal(dns.readAddresses(answer, dns.readQuestion(localhost)!).length, 1)
    none.close()
  })
})
