import { execFile } from 'node:child_process'
import { isIPv6 } from 'node:net'

/** Seconds. */
const WAIT = 2

/**
 * Whether an address answers an echo. Node has no ICMP sockets, so the host's own `ping` asks, which has the privilege
 * or the kernel's permission; rejects when there is no such program, or the address cannot be reached.
 */
export function echo(address: string): Promise<boolean> {
  const { promise, resolve, reject } = Promise.withResolvers<boolean>()
  const family = isIPv6(address) ? '-6' : '-4'
  const args = [family, '-n', '-q', '-c', '1', '-W', String(WAIT), address]
  execFile('ping', args, { timeout: (WAIT + 1) * 1000 }, (error) => {
    if (!error) resolve(true)
    else if (error.code === 1) resolve(false)
    else reject(error)
  })
  return promise
}
