import { ManualClock } from '../../clock/manual-clock.ts'
import { connect } from '../frame.ts'
import { Nat, type NatOptions } from '../nat/nat.ts'
import { FakeGuest } from './fake-guest.ts'
import { FakeHost } from './fake-host.ts'

/** A guest at a NAT at a host, all of them fake but the NAT. */
export function fakeNetwork(
  options: Partial<NatOptions> = {},
  guestOptions: ConstructorParameters<typeof FakeGuest>[0] = {},
) {
  const clock = new ManualClock()
  const host = new FakeHost()
  let seed = 0x1234_5678
  const random = () => {
    seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0
    return seed
  }
  const nat = new Nat({ host, clock: clock.queue, random, ...options })
  const guest = new FakeGuest(guestOptions)
  connect(guest, nat)
  return { clock, host, nat, guest }
}

/** Lets everything that waits for the end of a burst happen. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 10; turn++) await Promise.resolve()
}
