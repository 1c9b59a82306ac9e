/** An MC146818 with its CMOS RAM. The time is kept as the distance from the wall clock. */
export interface Mc146818State {
  version: 1
  index: number
  ram: number[]
  offsetSeconds: number
  flags: number
  periodicSince: number
  updatedSecond: number
}
