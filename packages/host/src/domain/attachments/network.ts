import { virtioPci } from '@typevisor/vmm'
import {
  ALLOW_ALL,
  connect,
  type EgressPolicy,
  type LayoutOptions,
  layoutOf,
  type Mac,
  Nat,
  NetworkError,
  type PortForward,
  parseMac,
  Wire,
} from '@typevisor/vmm/net'
import { VirtioNet } from '@typevisor/vmm/virtio'
import { createCapture } from '../../net/capture.ts'
import { createHostNetwork } from '../../net/host-network.ts'
import { type Attachment, type Tell, tellOnce } from './attachment.ts'

const DEFAULT_MAC = '52:54:00:12:34:56'

/** A network card behind a NAT of its own: needs no privileges. */
export interface DomainNetwork extends LayoutOptions {
  /** Of the guest's card. */
  readonly mac?: string
  readonly ipv6?: boolean
  /** What the guest may reach; all but the host itself, if absent. */
  readonly policy?: EgressPolicy
  /** Ports of the host's that lead to the guest. */
  readonly publish?: readonly PortForward[]
  /** A file for all frames, in pcap's format. */
  readonly capture?: string
}

export interface NetworkAttachment extends Attachment {
  /** With the ports of the host's that were found where any free one was asked for. */
  readonly published: readonly PortForward[]
}

export function attachNetwork(options: DomainNetwork, tell: Tell): NetworkAttachment {
  const mac = readMac(options.mac ?? DEFAULT_MAC)
  const layout = layoutOf(options)
  const file = options.capture === undefined ? undefined : createCapture(options.capture)
  const say = tellOnce(tell)
  const published: PortForward[] = []
  let nat: Nat | undefined
  let wire: Wire | undefined
  const part = virtioPci(
    ({ clock, random }) => {
      const { policy = ALLOW_ALL, ipv6 = true } = options
      const device = new VirtioNet({ mac, mtu: layout.mtu })
      nat = new Nat({ host: createHostNetwork(), clock, random, layout, policy, ipv6 })
      wire = new Wire({ clock, capture: file?.capture })
      connect(device.port, wire.a)
      connect(wire.b, nat)
      return device
    },
    { onFault: (reason) => say(`The guest's network driver broke the rules of virtio: ${reason}.`) },
  )
  const open = async () => {
    for (const forward of options.publish ?? []) {
      const listener = await nat?.forward(forward)
      if (listener) published.push({ ...forward, hostPort: listener.port })
    }
  }
  const close = async () => {
    nat?.close()
    wire?.close()
    file?.close()
  }
  return { part, published, open, close }
}

function readMac(text: string): Mac {
  const mac = parseMac(text)
  const isMulticast = mac !== undefined && (mac.charCodeAt(0) & 0x100) !== 0
  if (mac !== undefined && !isMulticast) return mac
  throw new NetworkError('TV_NETWORK_ADDRESS', `${text} is no address of a network card.`)
}
