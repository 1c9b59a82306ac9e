export { writeAcpiTables } from './boot/acpi/tables.ts'
export {
  type BzImage,
  type Compression,
  type Decompressor,
  type Decompressors,
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
