export {
  type EgressPolicy,
  type MachineStatistics,
  type PortForward,
  Profile,
  type ProfilePlace,
  readPolicy,
  SerialInput,
  TypevisorError,
} from '@typevisor/vmm'
export { type CpioEntry, writeCpio } from './cpio/cpio.ts'
export { decompressors } from './decompress/decompress.ts'
export { diskCodecs } from './disk/codecs.ts'
export { NodeFile, type NodeFileOptions } from './disk/node-file.ts'
export { createDisk, type DiskFormat, type OpenDiskOptions, openDisk } from './disk/open-disk.ts'
export { connectStream } from './disk/socket-stream.ts'
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
export { type DebianArchitecture, type DebianPackage, PrivateApt } from './images/apt.ts'
export { type BuildOptions, buildImage, imageRecipes, isKnownImage, requireImage } from './images/build.ts'
export { ImageError, type ImageErrorCode } from './images/errors.ts'
export { type Image, type ImageRecord, ImageStore, imagesDirectory } from './images/store.ts'
export { createCapture } from './net/capture.ts'
export { createHostNetwork } from './net/host-network.ts'
export { connectSwitch, type SwitchServer, serveSwitch } from './net/switch-socket.ts'
