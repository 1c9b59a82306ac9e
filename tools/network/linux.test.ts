import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { connect as connectTo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { createHostNetwork } from '../../packages/host/src/net/host-network.ts'
import { answerWithAddresses, readQuestion, TYPE_A } from '../../packages/vmm/src/net/dns/message.ts'
import { connect } from '../../packages/vmm/src/net/frame.ts'
import { Nat } from '../../packages/vmm/src/net/nat/nat.ts'
import { readPolicy } from '../../packages/vmm/src/net/policy/policy.ts'
import { LinuxGuest, whyNoLinuxGuest } from './linux-guest.ts'
import { realTimeClock } from './real-time.ts'

const skip = whyNoLinuxGuest() ?? false
const BODY = randomBytes(8 * 2 ** 20)
const digest = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

/** What udhcpc says, as `ip` has it; standard scripts would write the host's /etc/resolv.conf. */
const DHCP_SCRIPT = `#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr add $ip/$mask dev $interface
ip route add default via $router
echo "lease $ip router $router dns $dns mtu $mtu"
`

describe("Linux's own TCP/IP as the guest", { skip }, () => {
  for (const offloads of [true, false]) {
    describe(offloads ? 'with offloads' : 'without offloads', () => {
      let guest: LinuxGuest
      let nat: Nat
      let server: Server
      let port: number
      let folder: string
      const clock = realTimeClock()
      let uploaded = ''

      before(async () => {
        folder = mkdtempSync(join(tmpdir(), 'typevisor-'))
        writeFileSync(join(folder, 'dhcp.sh'), DHCP_SCRIPT, { mode: 0o755 })
        writeFileSync(join(folder, 'body'), BODY)
        server = createServer(async (request, response) => {
          const chunks: Buffer[] = []
          for await (const chunk of request) chunks.push(chunk as Buffer)
          uploaded = digest(Buffer.concat(chunks))
          if (request.url === '/silence') return
          response.end(request.method === 'GET' ? BODY : 'thanks')
        })
        server.listen(0, '::')
        await once(server, 'listening')
        const address = server.address()
        port = typeof address === 'object' && address ? address.port : 0
        const host = {
          ...createHostNetwork(),
          resolve: async (query: Uint8Array) => {
            const question = readQuestion(query)!
            const addresses = question.type === TYPE_A ? [Uint8Array.of(192, 0, 2, 7)] : []
            return answerWithAddresses(query, question, addresses, 60)
          },
        }
        const policy = readPolicy({ allow: ['host-loopback', '*.example.org'] })
        nat = new Nat({ host, clock, random: () => randomBytes(4).readUInt32LE(), policy })
        guest = await LinuxGuest.create({ offloads })
        connect(guest, nat)
      })
      after(() => {
        guest[Symbol.dispose]()
        nat.close()
        clock.close()
        server.close()
        server.closeAllConnections()
        rmSync(folder, { recursive: true })
      })

      it('gets an address by DHCP, or is given one where there is no client', async () => {
        const lease = await guest
          .run(`busybox udhcpc -i tap0 -n -q -f -s ${folder}/dhcp.sh`)
          .catch(() => undefined)
        if (lease === undefined) {
          await guest.run('ip addr add 10.0.2.15/24 dev tap0; ip route add default via 10.0.2.2')
        } else assert.match(lease, /lease 10\.0\.2\.15 router 10\.0\.2\.2 dns 10\.0\.2\.3 mtu 1500/)
      })
      it('downloads', async () => {
        const out = await guest.run(`curl -s -m 15 http://10.0.2.2:${port}/ | sha256sum`)
        assert.equal(out.split(' ')[0], digest(BODY))
        if (offloads) assert.ok(guest.largestFrame > 30_000, `frames of ${guest.largestFrame} bytes`)
        else assert.ok(guest.largestFrame <= 1514, `frames of ${guest.largestFrame} bytes`)
      })
      it('uploads', async () => {
        assert.equal(await guest.run(`curl -s -m 15 -T ${folder}/body http://10.0.2.2:${port}/`), 'thanks')
        assert.equal(uploaded, digest(BODY))
      })
      it('does both over a link that loses frames', async () => {
        let seed = 99
        guest.loses = () => (seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0) / 2 ** 32 < 0.01
        const part = `curl -s -m 18 http://10.0.2.2:${port}/ | head -c 1000000 | sha256sum`
        assert.equal((await guest.run(part)).split(' ')[0], digest(BODY.subarray(0, 1_000_000)))
        guest.loses = () => false
      })
      it('finds itself an IPv6 address, and uses it', async () => {
        for (let tries = 0; tries < 60; tries++) {
          const addresses = await guest.run('ip -6 addr show dev tap0 scope global')
          if (addresses.includes('fd00:10:0:2:') && !addresses.includes('tentative')) break
          await sleep(100)
        }
        const out = await guest.run(`curl -s -m 15 'http://[fd00:10:0:2::2]:${port}/' | sha256sum`)
        assert.equal(out.split(' ')[0], digest(BODY))
      })
      it('hears echoes of the gateway', async (test) => {
        const out = await guest
          .run('ping -n -c 2 -i 0.2 -W 2 10.0.2.2')
          .catch((error: Error) => error.message)
        if (/not found/.test(out)) return test.skip('ping is not installed')
        assert.match(out, / 0% packet loss/)
        assert.match(await guest.run('ping -6 -n -c 2 -i 0.2 -s 4000 -W 2 fd00:10:0:2::2'), / 0% packet loss/)
      })
      it('is told at once what the policy does not allow', async () => {
        const begin = performance.now()
        await assert.rejects(guest.run('curl -s -m 10 http://192.0.2.9/'), { code: 7 })
        await assert.rejects(guest.run(`curl -s -m 10 http://10.0.2.2:1/`), { code: 7 })
        assert.ok(performance.now() - begin < 3000)
      })
      it('looks up names', async () => {
        const script = `import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5)
s.sendto(bytes.fromhex("abcd01000001000000000000") + b"\\3www\\7example\\3org\\0\\0\\1\\0\\1", ("10.0.2.3", 53))
print(s.recv(512).hex())`
        const out = await guest.run(`python3 -c '${script}'`)
        assert.match(out, /^abcd8180.*c0000207\n$/)
      })
      it('is reached by a forwarded port', async () => {
        const script = `import socket; s = socket.socket(); s.bind(("", 7777)); s.listen(); print("ready", flush=True)
c, _ = s.accept()
while True:
  d = c.recv(65536)
  if not d: break
  c.sendall(d)`
        const echo = guest.start(['python3', '-c', script])
        await once(echo.stdout, 'data')
        const listener = await nat.forward({ protocol: 'tcp', hostPort: 0, guestPort: 7777 })
        const socket = connectTo(listener.port, '127.0.0.1')
        socket.end(BODY.subarray(0, 1 << 20))
        const chunks: Buffer[] = []
        for await (const chunk of socket) chunks.push(chunk as Buffer)
        assert.equal(digest(Buffer.concat(chunks)), digest(BODY.subarray(0, 1 << 20)))
        listener.close()
        if (echo.exitCode === null) await once(echo, 'exit')
      })
      it('exchanges datagrams larger than a frame', async () => {
        const socket = createSocket('udp4', (bytes, { port: from }) => socket.send(bytes, from, '127.0.0.1'))
        socket.bind(0, '127.0.0.1')
        await once(socket, 'listening')
        const script = `import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5)
s.sendto(bytes(range(256)) * 30, ("10.0.2.2", ${socket.address().port}))
print(s.recv(65535) == bytes(range(256)) * 30)`
        assert.equal(await guest.run(`python3 -c '${script}'`), 'True\n')
        socket.close()
      })
      it('has its connections reset when the network is', async () => {
        const hold = guest.start(['curl', '-s', '-m', '10', `http://10.0.2.2:${port}/silence`])
        await sleep(500)
        nat.reset()
        const [code] = await once(hold, 'exit')
        assert.equal(code, 56, 'a connection that was reset')
        assert.deepEqual(
          guest.refused.filter((line) => line.startsWith('refused')),
          [],
        )
      })
    })
  }
})
