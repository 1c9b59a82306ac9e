import type { CpuPins } from '../pins.ts'

const nothing = (): void => {}

/** A CPU's surroundings where nothing answers. */
export const INERT_PINS: CpuPins = {
  portRead: () => 0xffffffff,
  portWrite: nothing,
  mmioRead: () => 0xffffffff,
  mmioWrite: nothing,
  interruptPending: () => false,
  acknowledgeInterrupt: () => -1,
  readTaskPriority: () => 0,
  writeTaskPriority: nothing,
  readMsr: () => undefined,
  writeMsr: () => false,
  timeStampCounter: () => 0,
  random: () => 0,
}
