export {
  type MachineStatistics,
  Profile,
  type ProfilePlace,
  SerialInput,
  TypevisorError,
} from '@typevisor/vmm'
export type { EgressPolicy, PortForward } from '@typevisor/vmm/net'
export { type CpioEntry, writeCpio } from './cpio/cpio.ts'
export { decompressors } from './decompress/decompress.ts'
export type { DomainDisk } from './domain/attachments/disk.ts'
export type { DomainNetwork } from './domain/attachments/network.ts'
export {
  createDomain,
  type Domain,
  type DomainOptions,
  describeExit,
  EXIT_STATUS,
} from './domain/domain.ts'
export { cpuModelNames, DEFAULT_ENGINE, engineNames, loadEngine } from './domain/engines.ts'
export { DomainError, type DomainErrorCode } from './domain/errors.ts'
export { readInput } from './domain/files.ts'
export { createMachineHost } from './domain/host.ts'
