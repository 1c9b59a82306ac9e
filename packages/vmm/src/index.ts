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
export type { ByteStream } from './disk/nbd/byte-stream.ts'
export { NbdDisk } from './disk/nbd/nbd-disk.ts'
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
  SnapshotVersionError,
  TypevisorError,
} from './errors.ts'
export { type CreateCpu, type EmulatedCpu, emulated } from './hypervisor/emulated.ts'
export type { CpuRegisters, EngineName, Exit, Hypervisor, Vcpu, Vm } from './hypervisor/hypervisor.ts'
export type { MachineExit } from './machine/exit.ts'
export { Machine, type MachineHost, type MachineOptions, type MachineStatistics } from './machine/machine.ts'
export { Profile, type ProfilePlace } from './machine/profile.ts'
export { type InputSource, SerialInput } from './machine/serial-input.ts'
export { entropyFrom, sleepWith } from './machine/surroundings.ts'
export { allocateGuestMemory, type GuestMemory, GuestRam } from './memory/guest-memory.ts'
export { addressRanges, memoryMap } from './memory/memory-map.ts'
