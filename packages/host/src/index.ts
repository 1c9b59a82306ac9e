export { decompressors } from './decompress/decompress.ts'
