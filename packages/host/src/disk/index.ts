export { diskCodecs } from './codecs.ts'
export { NodeFile, type NodeFileOptions } from './node-file.ts'
export { createDisk, type DiskFormat, type OpenDiskOptions, openDisk } from './open-disk.ts'
export { connectStream } from './socket-stream.ts'
