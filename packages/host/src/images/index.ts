export { type DebianArchitecture, type DebianPackage, PrivateApt } from './apt.ts'
export { type BuildOptions, buildImage, imageRecipes, isKnownImage, requireImage } from './build.ts'
export { ImageError, type ImageErrorCode } from './errors.ts'
export { type Image, type ImageRecord, ImageStore, imagesDirectory } from './store.ts'
