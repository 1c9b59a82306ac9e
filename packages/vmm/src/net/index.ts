export {
  addressBytes,
  formatIp,
  formatMac,
  type Ip,
  ipOf,
  type Mac,
  parseIp,
  parseMac,
} from './addresses.ts'
export * as dns from './dns/message.ts'
export { NetworkError, PolicyError } from './errors.ts'
export {
  ALL_OFFLOADS,
  type Attachable,
  connect,
  contiguous,
  copyFrame,
  type Frame,
  frameOf,
  NO_OFFLOADS,
  type Offloads,
  type PartialChecksum,
  type Port,
  type Segmentation,
  UNPLUGGED,
} from './frame.ts'
export type {
  AcceptStream,
  ByteStream,
  DatagramSocket,
  Endpoint,
  HostNetwork,
  Listener,
  StreamFailure,
  StreamHandler,
} from './host-network.ts'
export { DEFAULT_LAYOUT, type Layout, type LayoutOptions, layoutOf } from './nat/layout.ts'
export type { NatState } from './nat/nat.state.ts'
export { Nat, type NatLimits, type NatOptions, type PortForward } from './nat/nat.ts'
export { ALLOW_ALL, DENY_ALL, type EgressPolicy, readPolicy } from './policy/policy.ts'
export { StreamPort } from './switch/stream-port.ts'
export { type SwitchPort, type SwitchPortOptions, VirtualSwitch } from './switch/switch.ts'
export { Capture, type CaptureOptions } from './wire/capture.ts'
export type { Rate } from './wire/token-bucket.ts'
export { Wire, type WireOptions } from './wire/wire.ts'
