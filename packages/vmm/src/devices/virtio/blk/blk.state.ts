/** A block device; requests in flight are in the queues' states, and are carried out again. */
export interface VirtioBlkState {
  version: 1
  /** The driver's choice of a volatile cache. */
  writeback: boolean
}
