/** An entropy device: bytes that it may give at once, and the guest time in ns when that was so. */
export interface VirtioRngState {
  version: 1
  allowance: number
  updated: number
}
