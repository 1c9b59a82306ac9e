/** For tests and benchmarks of the page: it is built, served, and opened in Chromium. */

export { imageDirectory } from '../tools/image.ts'
export { type BuiltPage, buildPage } from './built-page.ts'
export { startChromium, whyNoChromium } from './chromium.ts'
export { type PlainChromium, startPlainChromium } from './plain-chromium.ts'
export { screen, waitForLine } from './screen.ts'
export { type Content, type StaticServer, serve } from './static-server.ts'
