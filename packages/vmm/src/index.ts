export { writeAcpiTables } from './boot/acpi/tables.ts'
export {
  type BzImage,
  type Compression,
  type Decompressors,
  extractVmlinux,
  isBzImage,
  parseBzImage,
} from './boot/bzimage.ts'
export type { BootModule } from './boot/context.ts'
export { initramfsFormat } from './boot/initramfs.ts'
export { type BootProtocol, type BootResult, type KernelImage, loadKernel } from './boot/kernel.ts'
export { unlz4Legacy } from './boot/lz4.ts'
export type { Clock, Timer, TimerClock, WallClock } from './clock/clock.ts'
export type { ByteSink } from './devices/pc/uart16550/uart16550.ts'
export {
  type BalloonOptions,
  type BalloonStatistics,
  VirtioBalloon,
} from './devices/virtio/balloon/balloon.ts'
export { type BlkOptions, VirtioBlk } from './devices/virtio/blk/blk.ts'
export {
  type ConsolePort,
  type ConsolePortOptions,
  VirtioConsole,
} from './devices/virtio/console/console.ts'
export { VirtioMmio } from './devices/virtio/mmio/virtio-mmio.ts'
export { type NetOptions, VirtioNet } from './devices/virtio/net/net.ts'
export type { Chain } from './devices/virtio/queue/chain.ts'
export type { Segment } from './devices/virtio/queue/segments.ts'
export { Virtqueue } from './devices/virtio/queue/virtqueue.ts'
export { VirtioRng } from './devices/virtio/rng/rng.ts'
export type { VirtioOptions } from './devices/virtio/virtio-core.ts'
export type { DriverLink, VirtioDevice } from './devices/virtio/virtio-device.ts'
export {
  type BlockBackend,
  type Buffers,
  type Completion,
  checkWritable,
  type RandomAccessFile,
} from './disk/block-backend.ts'
export { CachedDisk, type CacheOptions } from './disk/cached-disk.ts'
export { DiskError, type DiskErrorCode } from './disk/errors.ts'
export { MemoryFile } from './disk/memory-file.ts'
export { MemoryOverlay } from './disk/memory-overlay.ts'
export { NbdDisk } from './disk/nbd/nbd-disk.ts'
export type { NbdStream } from './disk/nbd/nbd-stream.ts'
export { type CompressionCodec, type CompressionCodecs, zstdFrameLength } from './disk/qcow2/compression.ts'
export { type CreateQcow2Options, createQcow2 } from './disk/qcow2/create.ts'
export { type BackingReference, isQcow2 } from './disk/qcow2/header.ts'
export { Qcow2Disk, type Qcow2Options } from './disk/qcow2/qcow2-disk.ts'
export type { Snapshot as DiskSnapshot } from './disk/qcow2/snapshot-table.ts'
export type { SnapshotOptions as DiskSnapshotOptions } from './disk/qcow2/snapshots.ts'
export { RawDisk } from './disk/raw.ts'
export { ReadOnlyDisk } from './disk/read-only.ts'
export { ThrottledDisk, type ThrottleOptions } from './disk/throttled-disk.ts'
export {
  GuestAddressError,
  KernelError,
  MemorySizeError,
  SnapshotStateError,
  SnapshotVersionError,
  TypevisorError,
} from './errors.ts'
export { type CreateCpu, type EmulatedCpu, emulated } from './hypervisor/emulated.ts'
export type { CpuRegisters, EngineName, Exit, Hypervisor, Vcpu, Vm } from './hypervisor/hypervisor.ts'
export type { MachineExit } from './machine/exit.ts'
export { Machine, type MachineHost, type MachineOptions, type MachineStatistics } from './machine/machine.ts'
export { type PciPart, type PciSurroundings, virtioPci } from './machine/pci.ts'
export { Profile, type ProfilePlace } from './machine/profile.ts'
export { type InputSource, SerialInput } from './machine/serial-input.ts'
export { entropyFrom, sleepWith } from './machine/surroundings.ts'
export { allocateGuestMemory, type GuestMemory, GuestRam } from './memory/guest-memory.ts'
export { addressRanges, memoryMap } from './memory/memory-map.ts'
export {
  addressBytes,
  formatIp,
  formatMac,
  type Ip,
  ipOf,
  type Mac,
  parseIp,
  parseMac,
} from './net/addresses.ts'
export * as dns from './net/dns/message.ts'
export { NetworkError, PolicyError } from './net/errors.ts'
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
} from './net/frame.ts'
export type {
  AcceptStream,
  ByteStream,
  DatagramSocket,
  Endpoint,
  HostNetwork,
  Listener,
  StreamFailure,
  StreamHandler,
} from './net/host-network.ts'
export { DEFAULT_LAYOUT, type Layout, type LayoutOptions, layoutOf } from './net/nat/layout.ts'
export type { NatState } from './net/nat/nat.state.ts'
export { Nat, type NatLimits, type NatOptions, type PortForward } from './net/nat/nat.ts'
export { ALLOW_ALL, DENY_ALL, type EgressPolicy, readPolicy } from './net/policy/policy.ts'
export { StreamPort } from './net/switch/stream-port.ts'
export { type SwitchPort, type SwitchPortOptions, VirtualSwitch } from './net/switch/switch.ts'
export { Capture, type CaptureOptions } from './net/wire/capture.ts'
export type { Rate } from './net/wire/token-bucket.ts'
export { Wire, type WireOptions } from './net/wire/wire.ts'
