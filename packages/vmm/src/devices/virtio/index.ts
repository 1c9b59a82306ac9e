export {
  type BalloonOptions,
  type BalloonStatistics,
  VirtioBalloon,
} from './balloon/balloon.ts'
export { type BlkOptions, VirtioBlk } from './blk/blk.ts'
export {
  type ConsolePort,
  type ConsolePortOptions,
  VirtioConsole,
} from './console/console.ts'
export { VirtioMmio } from './mmio/virtio-mmio.ts'
export { type NetOptions, VirtioNet } from './net/net.ts'
export type { Chain } from './queue/chain.ts'
export type { Segment } from './queue/segments.ts'
export { Virtqueue } from './queue/virtqueue.ts'
export { VirtioRng } from './rng/rng.ts'
export type { VirtioOptions } from './virtio-core.ts'
export type { DriverLink, VirtioDevice } from './virtio-device.ts'
